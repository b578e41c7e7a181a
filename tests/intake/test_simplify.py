"""The normal form of graphs."""

import subprocess
import sys
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from compress.errors import ConditionError
from compress.intake.simplify import _check, simplify
from compress.model import Model
from compress.runtimes.onnxruntime import open_graph

Array = NDArray[np.float32]


def constant(name: str, values: object) -> TensorProto:
    return numpy_helper.from_array(np.array(values, np.float32), name)


def make_graph(
    nodes: list[onnx.NodeProto], initializers: list[TensorProto], shape: tuple[int | str, ...], outputs: str = "y"
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch"] + [None] * (len(shape) - 1))
            for name in outputs
        ],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def simplified(model: onnx.ModelProto) -> ir.Model:
    graph = ir.from_proto(model)
    simplify(graph)
    return graph


def run(model: bytes, feed: Array) -> list[Array]:
    with open_graph(model, threads=1) as session:
        return [value.astype(np.float32) for value in session.run({"x": feed}).values()]


def normalized(
    op: str, weight: Array, bias: bool, shape: tuple[int | str, ...], seed: int, **attributes: Any
) -> onnx.ModelProto:
    """Return a model of one weighted operator and a BatchNormalization with random statistics."""
    rng = np.random.default_rng(seed)
    axis = {"Conv": 0, "ConvTranspose": 1, "Gemm": 0 if attributes.get("transB") else 1}[op]
    channels = weight.shape[axis] * (int(str(attributes.get("group", 1))) if op == "ConvTranspose" else 1)
    constants = [constant("w", weight), *([constant("b", rng.normal(size=channels))] if bias else [])]
    constants += [constant(name, rng.normal(size=channels)) for name in ("gamma", "beta", "mean")]
    constants.append(constant("var", rng.uniform(0.1, 2, channels)))
    nodes = [
        helper.make_node(op, ["x", "w", *(["b"] if bias else [])], ["c"], **attributes),
        helper.make_node("BatchNormalization", ["c", "gamma", "beta", "mean", "var"], ["y"], epsilon=1e-3),
    ]
    return make_graph(nodes, constants, shape)


CASES = st.sampled_from(
    [
        ("Conv", (6, 4, 3, 3), ("batch", 4, 5, 5), {}),
        ("Conv", (6, 1, 3, 3), ("batch", 6, 5, 5), {"group": 6, "pads": [1, 1, 1, 1]}),
        ("Conv", (4, 2, 3), ("batch", 4, 7), {"group": 2}),
        ("ConvTranspose", (4, 3, 2, 2), ("batch", 4, 3, 3), {"strides": [2, 2]}),
        ("ConvTranspose", (4, 3, 2, 2), ("batch", 4, 3, 3), {"group": 2}),
        ("Gemm", (4, 3), ("batch", 4), {}),
        ("Gemm", (3, 4), ("batch", 4), {"transB": 1, "alpha": 0.5, "beta": 2.0}),
    ]
)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(CASES, st.booleans(), st.integers(0, 2**16))
def test_batch_normalization_goes_into_the_weights_before_it(
    case: tuple[str, tuple[int, ...], tuple[int | str, ...], dict[str, object]], bias: bool, seed: int
) -> None:
    op, weight, shape, attributes = case
    rng = np.random.default_rng(seed)
    model = normalized(op, rng.normal(size=weight).astype(np.float32), bias, shape, seed, **attributes)
    feed = rng.normal(size=[3, *(size for size in shape if isinstance(size, int))]).astype(np.float32)
    graph = simplified(model)
    assert [node.op_type for node in graph.graph] == [op]
    [wanted], [found] = run(model.SerializeToString(), feed), run(Model.from_ir(graph).to_bytes(), feed)
    np.testing.assert_allclose(found, wanted, atol=1e-5, rtol=1e-5)


def test_weights_that_two_convolutions_share_are_not_changed_for_one_of_them() -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(4, 4, 1, 1)).astype(np.float32)
    model = normalized("Conv", weight, False, ("batch", 4, 3, 3), 0)
    model.graph.node.append(helper.make_node("Conv", ["y", "w"], ["z"]))
    model.graph.output[0].name = "z"
    feed = rng.normal(size=(2, 4, 3, 3)).astype(np.float32)
    [wanted], [found] = run(model.SerializeToString(), feed), run(Model.from_ir(simplified(model)).to_bytes(), feed)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def messy_model() -> onnx.ModelProto:
    """Dead nodes, foldable constants, doubled and missing names, an output that is an input, doc strings."""
    nodes = [
        helper.make_node("Add", ["one", "one"], ["two"], name="same", doc_string="at /somewhere"),
        helper.make_node("Mul", ["x", "two"], ["m"], name="same"),
        helper.make_node("Relu", ["m"], ["unused"]),
        helper.make_node("Relu", ["m"], ["y"]),
        helper.make_node("Identity", ["x"], ["z"]),
    ]
    model = make_graph(nodes, [constant("one", [1.0]), constant("dead", [3.0])], ("batch", 3), "yz")
    model.metadata_props.add(key="path", value="/somewhere")
    model.producer_name = "someone"
    return model


def test_a_messy_graph_comes_out_clean_with_the_same_outputs() -> None:
    graph = simplified(messy_model())
    assert sorted(node.op_type for node in graph.graph) == ["Identity", "Mul", "Relu"]
    names = [node.name for node in graph.graph]
    assert len(set(names)) == 3
    assert all(names)
    assert [value.name for value in (*graph.graph.inputs, *graph.graph.outputs)] == ["x", "y", "z"]
    assert len(graph.graph.initializers) == 1
    serialized = Model.from_ir(graph).to_bytes()
    assert b"somewhere" not in serialized
    assert b"someone" not in serialized
    feed = np.array([[-1, 0, 2]], np.float32)
    assert [value.tolist() for value in run(serialized, feed)] == [[[0, 0, 4]], [[-1, 0, 2]]]
    assert graph.ir_version == 10


def test_quantized_weights_stay_integers() -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s", "zp"], ["d"]),
        helper.make_node("MatMul", ["x", "d"], ["y"]),
    ]
    weight = numpy_helper.from_array(np.arange(-6, 6, dtype=np.int8).reshape(3, 4), "w")
    zero = numpy_helper.from_array(np.array(0, np.int8), "zp")
    graph = simplified(make_graph(nodes, [weight, constant("s", 0.5), zero], ("batch", 3)))
    assert [node.op_type for node in graph.graph] == ["DequantizeLinear", "MatMul"]
    assert {value.dtype for value in graph.graph.initializers.values()} == {ir.DataType.INT8, ir.DataType.FLOAT}


def test_nodes_are_named_after_the_weights_they_hold() -> None:
    model = normalized("Gemm", np.ones((4, 3), np.float32), True, ("batch", 4), 0)
    for initializer in model.graph.initializer:
        initializer.name = "head.weight" if initializer.name == "w" else initializer.name
    model.graph.node[0].input[1] = "head.weight"
    assert [node.name for node in simplified(model).graph] == ["head"]


def test_bytes_are_the_same_in_another_process() -> None:
    code = (
        "import sys, onnx, onnx_ir as ir, hashlib\n"
        "from compress.intake.simplify import simplify\n"
        "from compress.model import Model\n"
        "graph = ir.from_proto(onnx.ModelProto.FromString(sys.stdin.buffer.read()))\n"
        "simplify(graph)\n"
        "print(Model.from_ir(graph).digest())\n"
    )
    model = messy_model()
    found = subprocess.run(
        [sys.executable, "-c", code], input=model.SerializeToString(), capture_output=True, check=True
    )
    assert found.stdout.decode().strip() == Model.from_ir(simplified(model)).digest()


def test_a_graph_that_came_out_invalid_is_our_own_bug() -> None:
    graph = ir.from_proto(messy_model())
    next(iter(graph.graph)).op_type = "Nonsense"
    with pytest.raises(ConditionError, match="not valid ONNX"):
        _check(graph)


@pytest.mark.parametrize("op", ["Conv", "Gemm"])
def test_a_model_that_is_still_to_be_trained_keeps_its_normalisation_and_folds_to_the_same_later(op: str) -> None:
    weight = np.ones((3, 2, 1, 1) if op == "Conv" else (2, 3), np.float32)
    model = normalized(op, weight, True, ("batch", 2, 4, 4) if op == "Conv" else ("batch", 2), 0)
    kept = ir.from_proto(model)
    simplify(kept, fold_batch_norm=False)
    assert [node.op_type for node in kept.graph] == [op, "BatchNormalization"]
    assert {node.domain for node in kept.graph} == {""}
    simplify(kept)
    assert Model.from_ir(kept).to_bytes() == Model.from_ir(simplified(model)).to_bytes()
