"""Small graphs in Q/DQ form, written by hand so that they do not depend on the quantizer."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, checker, helper, numpy_helper

from compress.model import Model

Array = np.ndarray[Any, np.dtype[Any]]

# Powers of two: every product and sum below 2**24 steps is exact in float32, so the order of a sum does not matter.
ACTIVATION_SCALE = 2.0**-5
WEIGHT_SCALE = 2.0**-7


class Sketch:
    """A graph under construction; each method returns the name of the tensor it made."""

    def __init__(self, shape: Sequence[int | str], *, seed: int = 0, dtype: int = TensorProto.FLOAT) -> None:
        self.input = helper.make_tensor_value_info("x", dtype, shape)
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, Array] = {}
        self.random = np.random.default_rng(seed)

    def constant(self, value: object, dtype: str = "float32") -> str:
        name = f"constant_{len(self.constants)}"
        self.constants[name] = np.asarray(value, dtype)
        return name

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name, **attributes))
        return name

    def qdq(self, x: str, *, zero_point: int = 0, dtype: str = "int8", scale: float = ACTIVATION_SCALE) -> str:
        parameters = self.constant(scale), self.constant(zero_point, dtype)
        return self.node("DequantizeLinear", self.node("QuantizeLinear", x, *parameters), *parameters)

    def weight(self, *shape: int, axis: int = 0) -> str:
        stored = self.constant(self.random.integers(-127, 128, shape), "int8")
        scales = self.constant(WEIGHT_SCALE * 2.0 ** self.random.integers(-1, 2, shape[axis]))
        return self.node("DequantizeLinear", stored, scales, axis=axis)

    def bias(self, size: int) -> str:
        return self.constant(self.random.integers(-8, 9, size) / 8)

    def finish(self, y: str, shape: Sequence[int | str], *, opset: int = 20, dtype: int = TensorProto.FLOAT) -> Model:
        self.nodes.append(helper.make_node("Identity", [y], ["y"], "last"))
        graph = helper.make_graph(
            self.nodes,
            "sketch",
            [self.input],
            [helper.make_tensor_value_info("y", dtype, shape)],
            [numpy_helper.from_array(value, name) for name, value in self.constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
        checker.check_model(model, full_check=True)
        return Model.from_bytes(model.SerializeToString())


def residual_net(*, dtype: str = "int8", zero_point: int = 0) -> Model:
    """Return three convolutions, a residual Add, a mean and a Gemm, all quantized: x [batch, 2, 8, 8] → [batch, 5]."""
    s = Sketch(["batch", 2, 8, 8])

    def qdq(name: str) -> str:
        return s.qdq(name, dtype=dtype, zero_point=zero_point)

    stem = qdq(s.node("Relu", s.node("Conv", qdq("x"), s.weight(8, 2, 3, 3), s.bias(8), pads=[1, 1, 1, 1])))
    deep = qdq(s.node("Relu", s.node("Conv", stem, s.weight(8, 1, 3, 3), s.bias(8), pads=[1, 1, 1, 1], group=8)))
    thin = qdq(s.node("Conv", deep, s.weight(8, 8, 1, 1), s.bias(8)))
    total = qdq(s.node("Relu", s.node("Add", thin, stem)))
    mean = qdq(s.node("Flatten", s.node("GlobalAveragePool", total), axis=1))
    return s.finish(s.node("Gemm", mean, s.weight(5, 8), s.bias(5), transB=1), ["batch", 5])


def sparse_net() -> Model:
    """Return two quantized convolutions, the second with 2:4 weights: x [batch, 8, 8, 8] → [batch, 16, 8, 8]."""
    s = Sketch(["batch", 8, 8, 8])
    dense = s.qdq(s.node("Relu", s.node("Conv", s.qdq("x"), s.weight(16, 8, 1, 1), s.bias(16))))
    kept = np.tile(np.array([1, 0, 0, 1], np.int8), 4).reshape(1, 16, 1, 1)
    stored = s.constant(s.random.integers(1, 128, (16, 16, 3, 3)) * kept, "int8")
    weight = s.node("DequantizeLinear", stored, s.constant(np.full(16, WEIGHT_SCALE)), axis=0)
    return s.finish(s.node("Conv", dense, weight, s.bias(16), pads=[1, 1, 1, 1]), ["batch", 16, 8, 8])


def attention_net() -> Model:
    """Return one attention head with quantized products: x [batch, 4, 16] → [batch, 4, 16]."""
    s = Sketch(["batch", 4, 16])
    q, k, v = (s.node("MatMul", s.qdq("x"), s.weight(16, 16, axis=1)) for _ in range(3))
    scores = s.node("MatMul", s.qdq(q), s.qdq(s.node("Transpose", k, perm=[0, 2, 1])))
    return s.finish(s.node("MatMul", s.qdq(s.node("Softmax", scores)), s.qdq(v)), ["batch", 4, 16])


def samples(count: int, *shape: int, seed: int = 0) -> Array:
    """Return random samples on the activations' grid, so that quantizing the input loses nothing."""
    steps = np.random.default_rng(seed).integers(-100, 101, (count, *shape))
    return (steps * ACTIVATION_SCALE).astype(np.float32)
