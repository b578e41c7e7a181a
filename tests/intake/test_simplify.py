"""The normal form of graphs."""

import subprocess
import sys

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from normalized_layers import Array, constant, make_graph, normalized_layer
from onnx import helper, numpy_helper

from compress.errors import ConditionError
from compress.intake.simplify import _check, simplify
from compress.model import Model
from compress.runtimes.onnxruntime import open_graph


def simplified(model: onnx.ModelProto) -> ir.Model:
    graph = ir.from_proto(model)
    simplify(graph)
    return graph


def run(model: bytes, feed: Array) -> list[Array]:
    with open_graph(model, threads=1) as session:
        return [value.astype(np.float32) for value in session.run({"x": feed}).values()]


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
    model = normalized_layer("Gemm", np.ones((4, 3), np.float32), ("batch", 4))
    for initializer in model.graph.initializer:
        initializer.name = "head.weight" if initializer.name == "w" else initializer.name
    model.graph.node[0].input[1] = "head.weight"
    assert [node.name for node in simplified(model).graph] == ["head", "BatchNormalization"]


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
def test_normalisation_stays_an_operator_of_its_own(op: str) -> None:
    weight = np.ones((3, 2, 1, 1) if op == "Conv" else (2, 3), np.float32)
    graph = simplified(normalized_layer(op, weight, ("batch", 2, 4, 4) if op == "Conv" else ("batch", 2)))
    assert [node.op_type for node in graph.graph] == [op, "BatchNormalization"]
    assert {node.domain for node in graph.graph} == {""}
