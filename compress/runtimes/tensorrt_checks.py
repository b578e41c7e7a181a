"""What TensorRT's explicit quantization does not take, found before any build and named node by node.

The rules hold for TensorRT 10.3 to 11 and TensorRT-RTX 1.7; each was tried on TensorRT-RTX 1.7.1:

1. Zero points are int8, constant and all zero. The parser takes uint8 with zero point 0 for int8 with a mere warning:
   that is another function than the one that was calibrated, so it is refused here.
2. A QuantizeLinear without zero point and without ``output_dtype`` is uint8 by ONNX's definition: refused as in 1.
3. Scales are constant, positive and finite.
4. No int32 bias behind a DequantizeLinear: the bias stays float.
5. No operators of the QOperator form and no DynamicQuantizeLinear.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from compress.errors import TargetError
from compress.model import Model

_MIND = "quantize with the dialect s8s8-symmetric"
_REFUSED = frozenset({ir.DataType.UINT8, ir.DataType.INT16, ir.DataType.UINT16})
_INTEGER_FORM = frozenset(
    {
        "ConvInteger",
        "DynamicQuantizeLinear",
        "MatMulInteger",
        "QLinearAdd",
        "QLinearAveragePool",
        "QLinearConcat",
        "QLinearConv",
        "QLinearGlobalAveragePool",
        "QLinearLeakyRelu",
        "QLinearMatMul",
        "QLinearMul",
        "QLinearSigmoid",
        "QLinearSoftmax",
        "QGemm",
    }
)


@dataclass(frozen=True, slots=True)
class Problem:
    """A node that TensorRT does not take, why, and what to do about it."""

    node: str
    reason: str
    fix: str

    def __str__(self) -> str:
        return f"node `{self.node}`: {self.reason}"


def check_graph(model: Model) -> tuple[Problem, ...]:
    """Return everything in the graph that breaks one of the rules above, in the order of the nodes."""
    return tuple(problem for node in model.graph.graph.all_nodes() for problem in _check_node(node))


def require_accepted(model: Model, target: str) -> None:
    """Raise if the graph breaks a rule.

    Raises:
        TargetError: Names the first node, why, how many more there are, and the fix.
    """
    problems = check_graph(model)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise TargetError(f"target {target}: {problems[0]}{more}", hint=problems[0].fix)


def _check_node(node: ir.Node) -> Iterator[Problem]:
    if node.op_type in _INTEGER_FORM:
        yield Problem(_name(node), f"{node.op_type} is not an operator of TensorRT", f"write Q/DQ nodes: {_MIND}")
    if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or node.domain not in ("", "ai.onnx"):
        return
    yield from _check_scale(node)
    zero_point = node.inputs[2] if len(node.inputs) > 2 else None
    if zero_point is not None:
        yield from _check_zero_point(node, zero_point)
    else:
        yield from _check_type(node)
    if node.op_type == "DequantizeLinear" and _type(node.inputs[0]) is ir.DataType.INT32:
        yield Problem(_name(node), "dequantizes int32 (a quantized bias)", "keep biases in float")


def _check_type(node: ir.Node) -> Iterator[Problem]:
    """Find integer types that no zero point tells of: ``output_dtype``, its default, and stored constants."""
    if node.op_type == "QuantizeLinear":
        kind = ir.DataType(node.attributes.get_int("output_dtype", 0) or ir.DataType.UINT8)
        verb = "makes"
    else:
        kind = _type(node.inputs[0]) or ir.DataType.UNDEFINED
        verb = "takes"
    if kind in _REFUSED and (verb == "makes" or _constant(node.inputs[0]) is not None):
        reason = f"without zero point it {verb} {kind.name.lower()}"
        yield Problem(_name(node), reason, f"give it an int8 zero point of 0: {_MIND}")


def _check_scale(node: ir.Node) -> Iterator[Problem]:
    scale = _constant(node.inputs[1])
    if scale is None:
        yield Problem(_name(node), "its scale is computed, not constant", f"calibrate the ranges: {_MIND}")
    elif not np.all(np.isfinite(scale)) or not np.all(scale > 0):
        worst = float(np.min(scale))
        yield Problem(
            _name(node), f"its scale is not positive ({worst:g})", "calibrate on samples that reach that node"
        )


def _check_zero_point(node: ir.Node, zero_point: ir.Value) -> Iterator[Problem]:
    kind = _type(zero_point)
    value = _constant(zero_point)
    if kind in _REFUSED:
        yield Problem(_name(node), f"its zero point is {kind.name.lower()}, not int8", _MIND)
    elif value is None:
        yield Problem(_name(node), "its zero point is computed, not constant", f"calibrate the ranges: {_MIND}")
    elif np.any(value != 0):
        first = value.reshape(-1)[np.flatnonzero(value)[0]]
        yield Problem(_name(node), f"its zero point is {first}, not 0", f"symmetric ranges are needed: {_MIND}")


def _constant(value: ir.Value | None) -> np.ndarray | None:
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def _type(value: ir.Value | None) -> ir.DataType | None:
    if value is None:
        return None
    tensor = ir.convenience.get_const_tensor(value)
    return value.dtype if tensor is None else tensor.dtype


def _name(node: ir.Node) -> str:
    return node.name or f"{node.op_type} → {node.outputs[0].name}"
