"""Models of one weighted operator and the BatchNormalization behind it."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from small_graphs import build

from compress.model import Model

Array = NDArray[np.float32]


def constant(name: str, values: object) -> TensorProto:
    return numpy_helper.from_array(np.array(values, np.float32), name)


def make_graph(
    nodes: list[onnx.NodeProto], initializers: list[TensorProto], shape: tuple[int | str, ...], outputs: str = "y"
) -> onnx.ModelProto:
    """Return a model with the input ``x`` and outputs of one letter each, of the same rank."""
    made = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch"] + [None] * (len(shape) - 1))
        for name in outputs
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)], made, initializers
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def normalized_layer(
    op: str, weight: Array, shape: tuple[int | str, ...], *, bias: bool = True, seed: int = 0, **attributes: Any
) -> onnx.ModelProto:
    """Return a model of one weighted operator and a BatchNormalization with random statistics."""
    rng = np.random.default_rng(seed)
    axis = {"Conv": 0, "ConvTranspose": 1, "Gemm": 0 if attributes.get("transB") else 1}[op]
    channels = weight.shape[axis] * (int(str(attributes.get("group", 1))) if op == "ConvTranspose" else 1)
    constants = [constant("w", weight), *([constant("b", rng.normal(size=channels))] if bias else [])]
    constants += [constant(name, rng.normal(size=channels)) for name in ("gamma", "beta", "mean")]
    constants.append(constant("var", rng.uniform(0.1, 2, channels)))
    nodes = [
        helper.make_node(op, ["x", "w", *(["b"] if bias else [])], ["c"], name="layer", **attributes),
        helper.make_node("BatchNormalization", ["c", "gamma", "beta", "mean", "var"], ["y"], name="n", epsilon=1e-3),
    ]
    return make_graph(nodes, constants, shape)


def normalized_network(batch: int | str = "batch") -> Model:
    """Return a classifier x [batch, 3, 8, 8] → y [batch, 10] of three convolutions, each with BatchNormalization."""
    nodes, constants = [], dict[str, Array]()
    rng, source, width = np.random.default_rng(0), "x", 3
    for index, channels in enumerate((16, 24, 16)):
        constants[f"w{index}"] = (rng.normal(size=(channels, width, 3, 3)) / np.sqrt(9 * width)).astype(np.float32)
        for name in ("gain", "shift", "mean", "var"):
            low, high = (0.5, 1.5) if name in ("gain", "var") else (-0.2, 0.2)
            constants[f"{name}{index}"] = rng.uniform(low, high, channels).astype(np.float32)
        norm = [f"c{index}", *(f"{name}{index}" for name in ("gain", "shift", "mean", "var"))]
        nodes += [
            helper.make_node("Conv", [source, f"w{index}"], [f"c{index}"], f"conv{index}", pads=[1, 1, 1, 1]),
            helper.make_node("BatchNormalization", norm, [f"n{index}"], f"norm{index}"),
            helper.make_node("Relu", [f"n{index}"], [f"r{index}"], f"relu{index}"),
        ]
        source, width = f"r{index}", channels
    nodes.append(helper.make_node("GlobalAveragePool", [source], ["pooled"], "pool"))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"], "flatten"))
    nodes.append(helper.make_node("Gemm", ["flat", "head", "bias"], ["y"], "head"))
    constants["head"] = rng.normal(size=(16, 10)).astype(np.float32)
    constants["bias"] = np.zeros(10, np.float32)
    return build(nodes, constants, [batch, 3, 8, 8], ["y"])
