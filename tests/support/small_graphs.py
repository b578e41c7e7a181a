"""Small graphs with real structure."""

from typing import Any

import numpy as np
import onnx_ir as ir
from onnx import NodeProto, TensorProto, checker, helper, numpy_helper, shape_inference

from compress.model import Model


def normal(*shape: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return random weights whose products keep the size of what they multiply."""
    fan_in = float(np.prod(shape[1:]))
    values = np.random.default_rng(seed).standard_normal(shape) / np.sqrt(max(fan_in, 1.0))
    return np.asarray(values, np.float32)


def build(nodes: list[NodeProto], initializers: dict[str, Any], shape: list[int | str], outputs: list[str]) -> Model:
    """Return a checked model with one input `x` and the named outputs."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in initializers.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    proto = shape_inference.infer_shapes(proto, strict_mode=True)
    del proto.graph.value_info[:]
    checker.check_model(proto)
    return Model.from_ir(ir.from_proto(proto))


def build_residual() -> Model:
    """Return Conv-Clip, depthwise Conv-Relu, Conv, residual Add-Relu, mean, Gemm: x [batch, 3, 8, 8] → y [batch, 5]."""

    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["c0"], "conv0", pads=[1, 1, 1, 1]),
        helper.make_node("Clip", ["c0", "zero", "six"], ["r0"], "clip0"),
        helper.make_node("Conv", ["r0", "w1", "b1"], ["c1"], "conv1", pads=[1, 1, 1, 1], group=8),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], "conv2"),
        helper.make_node("Add", ["r0", "c2"], ["a"], "add"),
        helper.make_node("Relu", ["a"], ["r2"], "relu2"),
        helper.make_node("ReduceMean", ["r2", "axes"], ["m"], "mean", keepdims=0),
        helper.make_node("Gemm", ["m", "wf", "bf"], ["y"], "gemm", transB=1),
    ]
    constants = {
        "w0": 3 * normal(8, 3, 3, 3, seed=2), "b0": normal(8, seed=1), "w1": normal(8, 1, 3, 3, seed=5),
        "b1": normal(8), "w2": normal(8, 8, 1, 1, seed=4), "b2": normal(8), "wf": normal(5, 8, seed=3), "bf": normal(5),
        "zero": np.array(0, np.float32), "six": np.array(6, np.float32), "axes": np.array([2, 3], np.int64),
    }  # fmt: skip
    return build(nodes, constants, ["batch", 3, 8, 8], ["y"])
