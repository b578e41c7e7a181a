"""The forms of Q/DQ that TensorRT takes or refuses: types × zero points × scales × axes × opsets, and biases."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, checker, helper
from tensorrt_corpus import Case

from compress.model import Model

T = TensorProto
INTEGERS = {
    "int8": (T.INT8, 10),
    "uint8": (T.UINT8, 10),
    "int16": (T.INT16, 21),
    "uint16": (T.UINT16, 21),
    "int4": (T.INT4, 21),
    "uint4": (T.UINT4, 21),
    "float8": (T.FLOAT8E4M3FN, 19),
}
"""Type and the first opset that has it."""
SCALES = {"0.5": 0.5, "zero": 0.0, "negative": -0.5, "nan": float("nan"), "infinite": float("inf")}


class _Net:
    """A graph under construction with one input, x [batch, 4, 8, 8] or [batch, 4]."""

    def __init__(self, opset: int, shape: tuple[Any, ...] = ("batch", 4, 8, 8), kind: int = T.FLOAT) -> None:
        self.opset, self.shape, self.kind = opset, shape, kind
        self.constants: list[TensorProto] = []
        self.nodes: list[NodeProto] = []

    def constant(self, value: Any, kind: int) -> str:
        array = np.asarray(value, np.float32)
        name = f"c{len(self.constants)}"
        self.constants.append(helper.make_tensor(name, kind, array.shape, array.reshape(-1).tolist()))
        return name

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name, **attributes))
        return name

    def finish(self, made: str, shape: tuple[Any, ...], output: int = T.FLOAT) -> Model | None:
        """Return the graph, None where it is not ONNX."""
        graph = helper.make_graph(
            [*self.nodes, helper.make_node("Identity", [made], ["y"], "last")],
            "case",
            [helper.make_tensor_value_info("x", self.kind, self.shape)],
            [helper.make_tensor_value_info("y", output, shape)],
            self.constants,
        )
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=10)
        try:
            checker.check_model(proto, full_check=True)
        except Exception:  # noqa: BLE001 - the checker and shape inference have an error class each
            return None
        return Model.from_bytes(proto.SerializeToString())


def activations() -> Iterator[Case]:
    """Yield Q → DQ of an activation: every type, zero point, scale and granularity."""
    for (name, (kind, first)), opset in product(INTEGERS.items(), (13, 19, 21)):
        if opset < first:
            continue
        forms = (*product(("none", "0", "3"), ("0.5",)), *product(("0",), SCALES), ("0", "computed"))
        for zero, scale in dict.fromkeys(forms):
            for axis in (None, 1) if (zero, scale) == ("0", "0.5") else (None,):
                net = _Net(opset)
                made = _pair(net, "x", kind, zero, scale, axis)
                model = net.finish(net.node("Relu", made), net.shape)
                if model is not None:
                    yield Case(f"activation {name} zero {zero} scale {scale} axis {axis} opset {opset}", model)


def _pair(net: _Net, x: str, kind: int, zero: str, scale: str, axis: int | None) -> str:
    size = () if axis is None else (4,)
    if scale == "computed":
        scales = net.node("ReduceMax", net.node("Abs", x), keepdims=0)
    else:
        scales = net.constant(np.full(size, SCALES[scale]), T.FLOAT)
    zeros = () if zero == "none" else (net.constant(np.full(size, float(zero)), kind),)
    attributes = {} if axis is None else {"axis": axis}
    if zero == "none" and kind != T.UINT8:
        made = net.node("QuantizeLinear", x, scales, output_dtype=kind, **attributes)
    else:
        made = net.node("QuantizeLinear", x, scales, *zeros, **attributes)
    return net.node("DequantizeLinear", made, scales, *zeros, **attributes)


def weights() -> Iterator[Case]:
    """Yield convolutions and Gemms whose weight is stored in integers."""
    for (name, (kind, first)), axis, zero, opset in product(
        INTEGERS.items(), (None, 0, 1), ("none", "0", "3"), (13, 21)
    ):
        if opset < first:
            continue
        for operator, shape in (("Conv", (4, 4, 1, 1)), ("Gemm", (4, 4))):
            net = _Net(opset, ("batch", 4, 8, 8) if operator == "Conv" else ("batch", 4))
            stored = net.constant(np.ones(shape), kind)
            size = () if axis is None else (4,)
            scales = net.constant(np.full(size, 0.5), T.FLOAT)
            zeros = () if zero == "none" else (net.constant(np.full(size, float(zero)), kind),)
            weight = net.node("DequantizeLinear", stored, scales, *zeros, **({} if axis is None else {"axis": axis}))
            data = _pair(net, "x", T.INT8, "0", "0.5", None)
            model = net.finish(net.node(operator, data, weight), net.shape)
            if model is not None:
                yield Case(f"weight {operator} {name} zero {zero} axis {axis} opset {opset}", model)


def blocks() -> Iterator[Case]:
    """Yield matrix products with weights in blocks (opset 21)."""
    for name, block, zero in product(("int4", "uint4", "int8", "uint8"), (16, 32), ("none", "0", "3")):
        kind = INTEGERS[name][0]
        net = _Net(21, ("batch", 64))
        stored = net.constant(np.ones((64, 8)), kind)
        scales = net.constant(np.full((64 // block, 8), 0.5), T.FLOAT)
        zeros = () if zero == "none" else (net.constant(np.full((64 // block, 8), float(zero)), kind),)
        weight = net.node("DequantizeLinear", stored, scales, *zeros, axis=0, block_size=block)
        model = net.finish(net.node("MatMul", "x", weight), ("batch", 8))
        if model is not None:
            yield Case(f"blocks {name} of {block} zero {zero}", model)


def biases() -> Iterator[Case]:
    """Yield convolutions and Gemms with every form of bias."""
    for operator, form, opset in product(
        ("Conv", "Gemm"), ("none", "float", "int32", "int32 per channel", "int8"), (13, 19, 21)
    ):
        net = _Net(opset, ("batch", 4, 8, 8) if operator == "Conv" else ("batch", 4))
        data = _pair(net, "x", T.INT8, "0", "0.5", None)
        shape = (4, 4, 1, 1) if operator == "Conv" else (4, 4)
        weight = net.node(
            "DequantizeLinear", net.constant(np.ones(shape), T.INT8), net.constant(np.full(4, 0.5), T.FLOAT), axis=0
        )
        model = net.finish(net.node(operator, data, weight, *_bias(net, form)), net.shape)
        if model is not None:
            yield Case(f"bias {operator} {form} opset {opset}", model)


def _bias(net: _Net, form: str) -> tuple[str, ...]:
    if form == "none":
        return ()
    if form == "float":
        return (net.constant(np.ones(4), T.FLOAT),)
    kind = T.INT8 if form == "int8" else T.INT32
    stored = net.constant(np.ones(4), kind)
    if form == "int32 per channel":
        return (net.node("DequantizeLinear", stored, net.constant(np.full(4, 0.5), T.FLOAT), axis=0),)
    return (net.node("DequantizeLinear", stored, net.constant(0.5, T.FLOAT)),)


def halves() -> Iterator[Case]:
    """Yield Q/DQ around float16: scales in either type, products of either type."""
    for operator, kind, scale in product(
        ("Conv", "Gemm", "MatMul", "Relu"), (T.FLOAT, T.FLOAT16), (T.FLOAT, T.FLOAT16)
    ):
        net = _Net(19, ("batch", 4, 8, 8) if operator in ("Conv", "Relu") else ("batch", 4), kind)
        zero, scales = net.constant(0, T.INT8), net.constant(0.5, scale)
        made = net.node("DequantizeLinear", net.node("QuantizeLinear", "x", scales, zero), scales, zero)
        shape = {"Conv": (4, 4, 1, 1), "Gemm": (4, 4), "MatMul": (4, 4)}.get(operator)
        if shape is not None:
            stored = net.constant(np.ones(shape), T.INT8)
            made = net.node(operator, made, net.node("DequantizeLinear", stored, scales, zero))
        else:
            made = net.node(operator, made)
        model = net.finish(made, net.shape, scale)
        if model is not None:
            yield Case(f"half {operator} input {kind} scale {scale}", model)


def bodies() -> Iterator[Case]:
    """Yield branches of an If that hold what may be refused."""
    for operator in ("MatMul", "Mul", "Det", "BitShift"):
        branches = []
        for side, inside in (("then", operator), ("else", "Mul")):
            net = _Net(20, ("batch", 4))
            made = net.node(inside, "x", "w") if inside != "Det" else net.node(inside, "x")
            branches.append(
                helper.make_graph(
                    [helper.make_node("Identity", [made], [f"{side}_y"], f"{side}_last"), *net.nodes][::-1],
                    side,
                    [],
                    [helper.make_tensor_value_info(f"{side}_y", T.FLOAT, ("batch", 4))],
                )
            )
        outer = _Net(20, ("batch", 4))
        outer.constants.append(helper.make_tensor("w", T.FLOAT, (4, 4), [1.0] * 16))
        condition = outer.node("Greater", outer.node("ReduceSum", "x", keepdims=0), outer.constant(0, T.FLOAT))
        model = outer.finish(outer.node("If", condition, then_branch=branches[0], else_branch=branches[1]), outer.shape)
        if model is not None:
            yield Case(f"{operator} in a branch", model)


def qdq_forms() -> Iterator[Case]:
    """Yield all of them."""
    yield from activations()
    yield from weights()
    yield from blocks()
    yield from biases()
    yield from halves()
