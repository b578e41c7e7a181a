import numpy as np
import pytest
from fake_engines import FakeSamples
from onnx import helper
from small_graphs import build, build_residual, normal

from compress.data.binding import bind_samples
from compress.data.samples import SampleSet
from compress.model import Model
from compress.prune import reconstruct
from compress.prune.least_squares import Change
from compress.prune.sparse_update import Choice, SparseUpdate, update_sparse
from compress.prune.sparsity import apply_masks, choose_masks, find_eligible, read_pattern, zero_shares
from compress.runtimes import open_graph
from compress.weight_matrices import find_matrices, follows

Array = np.ndarray


def vectors(count: int, seed: int = 3) -> Array:
    """Return vectors x [count, 16] of rank 6, of several sizes, and a little noise."""
    random = np.random.default_rng(seed)
    sizes = np.exp(np.random.default_rng(0).standard_normal(16))
    mixed = np.random.default_rng(1).standard_normal((6, 16)) * sizes
    return (random.standard_normal((count, 6)) @ mixed + 0.2 * random.standard_normal((count, 16))).astype(np.float32)


def images(count: int, seed: int = 3) -> Array:
    """Return images x [count, 3, 8, 8] whose places have something in common."""
    random = np.random.default_rng(seed)
    coarse = random.standard_normal((count, 3, 4, 4)).repeat(2, 2).repeat(2, 3)
    return np.asarray(coarse + 0.3 * random.standard_normal((count, 3, 8, 8)), np.float32)


def products() -> Model:
    """Return two products with a bias each, and a Gemm with factors: x [batch, 16] -> y [batch, 4]."""
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["a"], "first"),
        helper.make_node("Add", ["a", "b0"], ["b"], "add0"),
        helper.make_node("Relu", ["b"], ["c"], "relu0"),
        helper.make_node("Gemm", ["c", "w1", "b1"], ["d"], "second", alpha=0.5, beta=2.0),
        helper.make_node("Relu", ["d"], ["e"], "relu1"),
        helper.make_node("Gemm", ["e", "w2"], ["y"], "third", transB=1),
    ]
    constants = {
        "w0": normal(16, 24), "b0": normal(24), "w1": 2 * normal(24, 32, seed=1), "b1": normal(32),
        "w2": normal(4, 32, seed=2),
    }  # fmt: skip
    return build(nodes, constants, ["batch", 16], ["y"])


def convolutions() -> Model:
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], "relu0"),
        helper.make_node("Conv", ["b", "w1"], ["c"], "second", pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["d"], "relu1"),
        helper.make_node("Conv", ["d", "w2"], ["y"], "third"),
    ]
    weights = {"w0": 2 * normal(16, 3, 3, 3), "w1": normal(16, 16, 3, 3, seed=1), "w2": normal(8, 16, 2, 2, seed=2)}
    return build(nodes, weights, ["batch", 3, 8, 8], ["y"])


NETS = {"products": (products, vectors), "convolutions": (convolutions, images)}


def samples(model: Model, x: Array) -> SampleSet:
    return bind_samples(FakeSamples(x, None), model.inputs)


def make_sparse(
    model: Model, x: Array, text: str, choice: Choice = "error", ratio: float = 0.5
) -> tuple[Model, SparseUpdate]:
    """Return a model with zeros by magnitude alone, and with the update."""
    pattern = read_pattern(text)
    matrices = find_eligible(model, pattern, exclude=(), min_elements=0).matrices
    masks = choose_masks(model, matrices, pattern, ratio=ratio, allocation="uniform")
    found = update_sparse(model, matrices, masks, pattern, samples(model, x), threads=1, choice=choice)
    return apply_masks(model, masks), found


def distance(model: Model, other: Model, x: Array) -> float:
    found: list[Array] = []
    for each in (model, other):
        with open_graph(each.to_bytes(), threads=1) as session:
            found.append(next(iter(session.run({"x": x}).values())))
    return float(np.square(found[0] - found[1]).sum())


def constant(model: Model, name: str) -> Array:
    value = model.graph.graph.initializers[name].const_value
    assert value is not None
    return value.numpy()


@pytest.mark.parametrize("text", ["2:4", "unstructured", "4x1", "1x4"])
@pytest.mark.parametrize("net", list(NETS))
def test_outputs_of_unseen_samples_are_nearer_with_as_many_zeros(net: str, text: str) -> None:
    make, draw = NETS[net]
    model, x = make(), draw(600)
    plain, found = make_sparse(model, x[:400], text)
    assert found.layers
    assert all(layer.missing_after <= layer.missing_before for layer in found.layers)
    assert distance(model, found.model, x[400:]) < 0.5 * distance(model, plain, x[400:])
    matrices = find_matrices(model.graph.graph)
    expected = zero_shares(plain, matrices)
    assert zero_shares(found.model, matrices) == pytest.approx(expected)
    if text == "2:4":
        sparse = [matrix for matrix in matrices if expected[matrix.node]]
        assert sparse
        assert all(follows(constant(found.model, each.initializer), each, 2, 4) for each in sparse)


def test_the_choice_by_error_beats_the_smallest_weights() -> None:
    model, x = products(), vectors(600)
    far = {choice: make_sparse(model, x[:400], "2:4", choice)[1].model for choice in ("error", "magnitude")}
    assert distance(model, far["error"], x[400:]) < 0.8 * distance(model, far["magnitude"], x[400:])
    plain, found = make_sparse(model, x[:400], "2:4", "magnitude")
    for name in ("w0", "w1", "w2"):
        assert np.array_equal(constant(found.model, name) == 0, constant(plain, name) == 0)


def test_one_layer_gets_the_least_squares_of_numpy() -> None:
    model = build(
        [helper.make_node("Gemm", ["x", "w"], ["y"], "only", transB=1)], {"w": normal(6, 16)}, ["b", 16], ["y"]
    )
    x = vectors(256)
    _, found = make_sparse(model, x, "unstructured", "magnitude", ratio=0.6)
    wanted, updated = x @ constant(model, "w").T, constant(found.model, "w")
    for output in range(6):
        kept = updated[output] != 0
        inputs = np.hstack([x[:, kept], np.ones((len(x), 1), np.float32)])
        best = np.linalg.lstsq(inputs, wanted[:, output], rcond=None)[0]
        least = np.square(inputs @ best - wanted[:, output]).sum()
        bias = constant(found.model, "only_updated_2")[output]
        reached = np.square(x @ updated[output] + bias - wanted[:, output]).sum()
        assert least <= reached * (1 + 1e-4)
        # The penalty costs next to nothing of what is gained.
        assert reached < 1.05 * least


def test_grouped_and_shared_weights_get_their_zeros_alone() -> None:
    model = build_residual()
    plain, found = make_sparse(model, images(200), "1x1")
    nodes = [layer.node for layer in found.layers]
    assert "conv1" not in nodes
    assert "conv2" in nodes
    grouped = next(matrix for matrix in find_matrices(model.graph.graph) if matrix.node == "conv1")
    assert np.array_equal(constant(found.model, grouped.initializer), constant(plain, grouped.initializer))


def test_equal_runs_give_equal_bytes_and_say_how_far_they_are() -> None:
    model, x = products(), vectors(100)
    before = model.digest()
    pattern = read_pattern("2:4")
    matrices = find_eligible(model, pattern, exclude=(), min_elements=0).matrices
    masks = choose_masks(model, matrices, pattern, ratio=0.5, allocation="uniform")
    done: list[tuple[int, int]] = []
    digests = [
        update_sparse(
            model, matrices, masks, pattern, samples(model, x), threads=1, progress=lambda *at: done.append(at)
        ).model.digest()
        for _ in range(2)
    ]
    assert digests[0] == digests[1]
    assert model.digest() == before
    assert done == 2 * [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_where_outputs_would_be_further_away_zeros_are_those_of_magnitude(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(training: object, checking: object, *, with_bias: bool, kept: Array) -> Change:
        return Change(np.where(kept, 5.0, 0.0), np.zeros(len(kept)))

    monkeypatch.setattr(reconstruct, "fit", spoil)
    plain, found = make_sparse(products(), vectors(64), "2:4")
    assert found.layers == ()
    assert found.model.digest() == plain.digest()
