from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from small_graphs import build, build_residual, normal

from compress.errors import ConfigError
from compress.model import Model
from compress.prune.sparsity import (
    Allocation,
    Pattern,
    apply_masks,
    choose_masks,
    find_eligible,
    read_pattern,
    zero_shares,
)
from compress.weight_matrices import WeightMatrix, find_matrices, follows, two_of_four

Array = np.ndarray


def products(weights: Mapping[str, Array]) -> Model:
    """Return a chain of products of x [batch, 16] with weights [16, 16]."""
    names = list(weights)
    values = ["x", *(f"h{index}" for index in range(len(names) - 1)), "y"]
    nodes = [
        helper.make_node("MatMul", [values[index], name], [values[index + 1]], f"of_{name}")
        for index, name in enumerate(names)
    ]
    return build(nodes, dict(weights), ["batch", 16], ["y"])


def weight(model: Model, name: str) -> Array:
    constant = model.graph.graph.initializers[name].const_value
    assert constant is not None
    return constant.numpy()


def make_sparse(model: Model, pattern: str, ratio: float = 0.5, allocation: Allocation = "uniform") -> Model:
    read = read_pattern(pattern)
    eligible = find_eligible(model, read, exclude=(), min_elements=0)
    return apply_masks(model, choose_masks(model, eligible.matrices, read, ratio=ratio, allocation=allocation))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("unstructured", Pattern("block", 1, 1)),
        ("2:4", Pattern("of", 1, 4, 2)),
        ("1:8", Pattern("of", 1, 8, 1)),
        ("16x1", Pattern("block", 16, 1)),
    ],
)
def test_a_pattern_is_read_as_it_is_written(text: str, expected: Pattern) -> None:
    assert read_pattern(text) == expected


@pytest.mark.parametrize("text", ["", "4:2", "4:4", "0x1", "2:4:8", "dense", "-1x4"])
def test_what_is_no_pattern_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ConfigError, match=f"`{text}` is no sparsity pattern") as caught:
        read_pattern(text)
    assert '"2:4"' in str(caught.value.hint)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(seed=st.integers(0, 2**20), kept=st.integers(1, 3), shape=st.sampled_from([(8, 16), (4, 8, 3, 3), (6, 12, 5)]))
def test_of_each_run_of_input_channels_the_largest_stay(seed: int, kept: int, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    convolution = helper.make_node("Conv", ["x", "w"], ["y"], "n")
    product = helper.make_node("Gemm", ["x", "w"], ["y"], "n", transB=1)
    x: list[int | str] = ["batch", shape[1], *[9] * (array.ndim - 2)]
    model = build([convolution if array.ndim > 2 else product], {"w": array}, x, ["y"])
    sparse = weight(make_sparse(model, f"{kept}:4"), "w")
    runs = np.moveaxis(array, 1, -1).reshape(-1, 4)
    found = np.moveaxis(sparse, 1, -1).reshape(-1, 4)
    assert np.all(np.count_nonzero(found, axis=1) == kept)
    assert np.array_equal(found[found != 0], runs[found != 0])
    smallest_kept = np.where(found != 0, np.abs(runs), np.inf).min(axis=1)
    largest_dropped = np.where(found == 0, np.abs(runs), 0).max(axis=1)
    assert np.all(smallest_kept >= largest_dropped)
    assert follows(sparse, find_matrices(model.graph.graph)[0], kept, 4)


def test_the_input_channels_of_a_product_lie_along_its_first_axis() -> None:
    sparse = make_sparse(products({"w": normal(16, 16)}), "2:4")
    (matrix,) = two_of_four(sparse)
    assert matrix == WeightMatrix("of_w", "MatMul", "w", outputs=1, inputs=0)
    assert np.all(np.count_nonzero(weight(sparse, "w").T.reshape(16, 4, 4), axis=2) == 2)


@settings(deadline=None, max_examples=20, derandomize=True)
@given(
    seed=st.integers(0, 2**20),
    ratio=st.floats(0.1, 0.9),
    pattern=st.sampled_from(["unstructured", "1x4", "4x1", "16x1", "2x2"]),
    allocation=st.sampled_from(["uniform", "global", "lamp"]),
)
def test_the_share_of_zeros_is_the_one_asked_for_in_whole_blocks(
    seed: int, ratio: float, pattern: str, allocation: Allocation
) -> None:
    model = products({"a": normal(16, 16, seed=seed), "b": 5 * normal(16, 16, seed=seed + 1)})
    sparse = make_sparse(model, pattern, ratio, allocation)
    read = read_pattern(pattern)
    found = {name: weight(sparse, name) for name in ("a", "b")}
    blocks = 512 // (read.rows * read.columns)
    zeros = sum(int((array == 0).sum()) for array in found.values())
    slack = 2 if allocation == "uniform" else 1
    assert abs(zeros / (read.rows * read.columns) - ratio * blocks) <= slack
    for name, array in found.items():
        by_block = array.T.reshape(16 // read.rows, read.rows, 16 // read.columns, read.columns) == 0
        assert np.array_equal(by_block.all(axis=(1, 3)), by_block.any(axis=(1, 3)))
        assert np.array_equal(array[array != 0], weight(model, name)[array != 0])
        assert array.any()


def test_globally_the_smaller_weights_go_and_lamp_and_uniform_spare_them() -> None:
    model = products({"small": 0.01 * normal(16, 16, seed=1), "large": normal(16, 16, seed=2)})
    allocations: tuple[Allocation, ...] = ("global", "lamp", "uniform")
    shares = {}
    for allocation in allocations:
        sparse = make_sparse(model, "unstructured", 0.5, allocation)
        shares[allocation] = zero_shares(sparse, find_matrices(sparse.graph.graph))["of_small"]
    assert shares["global"] == pytest.approx(1, abs=0.01)
    assert shares["lamp"] == pytest.approx(0.5, abs=0.1)
    assert shares["uniform"] == 0.5


def test_the_score_of_lamp_is_the_papers() -> None:
    model = products({"a": np.zeros((16, 16), np.float32), "b": np.zeros((16, 16), np.float32)})
    graph = model.copy_graph()
    for name, values in {"a": [1.0, 2.0, 3.0], "b": [1.0, 0.9]}.items():
        array = np.zeros((16, 16), np.float32)
        array[0, : len(values)] = values
        graph.graph.initializers[name].const_value = ir.tensor(array, name=name)
    model = Model.from_ir(graph)
    sparse = make_sparse(model, "unstructured", 1 - 3 / 512, "lamp")
    # Scores: a: .071, .308, inf; b: .9²/(.9² + 1) = .448, inf. Three stay.
    assert sorted(weight(sparse, "a")[weight(sparse, "a") != 0]) == [3.0]
    assert sorted(weight(sparse, "b")[weight(sparse, "b") != 0]) == pytest.approx([0.9, 1.0])


def test_what_does_not_fit_stays_dense_and_says_why() -> None:
    found = find_eligible(build_residual(), read_pattern("2:4"), exclude=["gem*"], min_elements=50)
    assert [matrix.node for matrix in found.matrices] == ["conv2"]
    assert found.skipped == {
        "conv0": "3 input channels are no multiple of 4",
        "conv1": "each output reads one channel (depthwise)",
        "gemm": "excluded by name",
    }
    found = find_eligible(build_residual(), read_pattern("16x1"), exclude=(), min_elements=50)
    assert found.matrices == ()
    assert found.skipped["conv2"] == "8 outputs are no multiple of 16"
    assert found.skipped["gemm"] == "has 40 elements only"


def test_a_weight_that_is_read_in_two_ways_is_left_alone() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "tied"], ["h"], "first"),
        helper.make_node("Gemm", ["h", "tied"], ["i"], "second", transB=1),
        helper.make_node("MatMul", ["i", "same"], ["j"], "third"),
        helper.make_node("Gemm", ["j", "same"], ["k"], "fourth"),
        helper.make_node("Gather", ["table", "rows"], ["l"], "look_up"),
        helper.make_node("MatMul", ["k", "table"], ["m"], "fifth"),
        helper.make_node("Add", ["m", "l"], ["y"], "add"),
    ]
    weights = {name: normal(16, 16) for name in ("tied", "same", "table")}
    model = build(nodes, {**weights, "rows": np.array([0], np.int64)}, ["batch", 16], ["y"])
    assert [(m.initializer, m.node) for m in find_matrices(model.graph.graph)] == [("same", "third")]


def test_half_precision_keeps_its_type() -> None:
    graph = products({"w": normal(16, 16)}).copy_graph()
    half = ir.Tensor(normal(16, 16).astype(np.float16), name="w")
    graph.graph.initializers["w"].const_value = half
    model = Model.from_ir(graph)
    sparse = make_sparse(model, "2:4")
    assert weight(sparse, "w").dtype == np.float16
    assert len(two_of_four(sparse)) == 1
    assert two_of_four(model) == ()
    assert weight(model, "w").all()


def test_zeros_alone_are_no_pattern_worth_a_sparse_kernel() -> None:
    model = products({"w": np.zeros((16, 16), np.float32)})
    assert two_of_four(model) == ()
    odd = build([helper.make_node("MatMul", ["x", "w"], ["y"], "n")], {"w": np.eye(6, dtype=np.float32)}, [1, 6], ["y"])
    assert two_of_four(odd) == ()
