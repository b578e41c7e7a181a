"""TensorRT's explicit quantization: what it does not take of Q/DQ.

The rules hold for TensorRT 10.3 to 11 and TensorRT-RTX 1.7; each was tried on TensorRT-RTX 1.7.1:

1. Zero points are int8 or int4, constant and all zero. The parser takes uint8 with zero point 0 for int8 with a mere
   warning: that is another function than the one that was calibrated, so it is refused here.
2. A QuantizeLinear without zero point and without ``output_dtype`` is uint8 by ONNX's definition: refused as in 1.
3. Scales are constant, positive and finite. (TensorRT-RTX takes computed and infinite ones; TensorRT 10.3 wants
   constants, and behind an infinite scale there is nothing but zero.)
4. No int32 bias behind a DequantizeLinear: the bias stays float.
5. int4 only where the GPU has it (8.0).
6. Both operands of a product are quantized to one type; of others it is computed in float, or not at all.
"""

import math
from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from compress.runtimes.tensorrt_checks.problem import Place, Problem, name_node, read_constant, read_type

_MIND = "quantize with the dialect s8s8-symmetric"
_INTEGERS = frozenset({ir.DataType.INT8, ir.DataType.INT4, ir.DataType.INT32})
_REFUSED = frozenset({ir.DataType.UINT8, ir.DataType.INT16, ir.DataType.UINT16, ir.DataType.UINT4})


def check_pair(node: ir.Node, place: Place) -> Iterator[Problem]:
    """Yield what breaks a rule above at one node."""
    if node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        yield from _check_operands(node)
    if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or node.domain not in ("", "ai.onnx"):
        return
    yield from _check_scale(node)
    zero_point = node.inputs[2] if len(node.inputs) > 2 else None
    if zero_point is not None:
        yield from _check_zero_point(node, zero_point)
    else:
        yield from _check_type(node)
    if node.op_type == "DequantizeLinear" and read_type(node.inputs[0]) is ir.DataType.INT32:
        yield Problem(name_node(node), "dequantizes int32 (a quantized bias)", "keep biases in float")
    if place.is_older_than(8, 0) and _works_in_int4(node):
        yield Problem(name_node(node), "works in int4, which this GPU does not have", "quantize to 8 bits")


def _works_in_int4(node: ir.Node) -> bool:
    kinds = {read_type(value) for value in (*node.inputs, *node.outputs)}
    return ir.DataType.INT4 in kinds or node.attributes.get_int("output_dtype", 0) == ir.DataType.INT4


def _check_type(node: ir.Node) -> Iterator[Problem]:
    """Find integer types that no zero point tells of: ``output_dtype``, its default, and stored constants."""
    if node.op_type == "QuantizeLinear":
        kind = ir.DataType(node.attributes.get_int("output_dtype", 0) or ir.DataType.UINT8)
        verb = "makes"
    else:
        kind = read_type(node.inputs[0]) or ir.DataType.UNDEFINED
        verb = "takes"
    if kind in _REFUSED and (verb == "makes" or read_constant(node.inputs[0]) is not None):
        reason = f"without zero point it {verb} {kind.name.lower()}"
        fix = f"give it an int8 zero point of 0: {_MIND}"
        yield Problem(name_node(node), reason, fix, mistreated=kind is ir.DataType.UINT8)


def _check_scale(node: ir.Node) -> Iterator[Problem]:
    scale = read_constant(node.inputs[1])
    if scale is None:
        fix = f"calibrate the ranges: {_MIND}"
        yield Problem(name_node(node), "its scale is computed, not constant", fix, mistreated=True)
    elif not np.all(np.isfinite(scale)) or not np.all(scale > 0):
        worst = math.inf if np.any(np.isposinf(scale)) else float(np.min(scale))
        reason = f"its scale is not {'finite' if worst == math.inf else 'positive'} ({worst:g})"
        fix = "calibrate on samples that reach that node"
        yield Problem(name_node(node), reason, fix, mistreated=worst == math.inf)


def _check_zero_point(node: ir.Node, zero_point: ir.Value) -> Iterator[Problem]:
    kind = read_type(zero_point)
    value = read_constant(zero_point)
    if value is None:
        yield Problem(name_node(node), "its zero point is computed, not constant", f"calibrate the ranges: {_MIND}")
    elif kind in _REFUSED:
        reason = f"its zero point is {kind.name.lower()}, not int8"
        yield Problem(name_node(node), reason, _MIND, mistreated=kind is ir.DataType.UINT8)
    elif np.any(value != 0):
        first = value.reshape(-1)[np.flatnonzero(value)[0]]
        reason, fix = f"its zero point is {first}, not 0", f"symmetric ranges are needed: {_MIND}"
        # In float8 the compiler ignores it.
        yield Problem(name_node(node), reason, fix, mistreated=kind not in _INTEGERS)


def _check_operands(node: ir.Node) -> Iterator[Problem]:
    """Find products of integers of two types."""
    kinds = {
        kind
        for value in node.inputs[:2]
        if value is not None and (pair := value.producer()) is not None and pair.op_type == "DequantizeLinear"
        if (kind := read_type(pair.inputs[0])) is not None
    }
    if len(kinds) > 1 and not kinds & _REFUSED:
        told = " and ".join(sorted(kind.name.lower() for kind in kinds))
        reason = f"its operands are quantized to {told}"
        yield Problem(name_node(node), reason, "quantize both to int8, or the weight alone", mistreated=True)
