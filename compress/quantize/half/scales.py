"""Scales in float16: those of int8 weights that float16 has few digits for are moved, and the codes follow them."""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compress.quantize.layers import is_constant

_TINIEST = float(np.finfo(np.float16).smallest_subnormal)


def scale_errors(scale: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return by how much of itself each positive scale moves when it is rounded to float16."""
    exact = scale.astype(np.float64)
    errors: NDArray[np.float64] = np.abs(scale.astype(np.float16).astype(np.float64) - exact) / exact
    return errors


def has_int8_codes(node: ir.Node) -> bool:
    """Return whether a node dequantizes an int8 constant with zero points of 0, scales along one axis or none."""
    stored = node.inputs[0]
    zero = node.inputs[2] if len(node.inputs) > 2 else None
    if node.op_type != "DequantizeLinear" or stored is None or not is_constant(stored):
        return False
    centred = zero is None or (zero.const_value is not None and not zero.const_value.numpy().any())
    return stored.dtype is ir.DataType.INT8 and centred and node.attributes.get_int("block_size", 0) == 0


def follow_scale(
    codes: NDArray[np.int8], scale: NDArray[np.float32], axis: int
) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """Return int8 codes and scales in float16 for weights that were codes · scale.

    The new scale is the next float16 that is not smaller, so no code leaves its range; each weight moves by half of a
    step at most.

    Args:
        codes: Of any shape.
        scale: [] or [codes.shape[axis]], positive.
        axis: Along which scales run.
    """
    rounded = np.maximum(scale.astype(np.float16), np.float16(_TINIEST))
    larger = np.where(rounded.astype(np.float32) < scale, np.nextafter(rounded, np.float16(np.inf)), rounded)
    shape = [-1 if scale.ndim and place == axis % codes.ndim else 1 for place in range(codes.ndim)]
    ratio = (scale / larger.astype(np.float32)).reshape(shape)
    moved = np.clip(np.rint(codes * ratio), -127, 127).astype(np.int8)
    return moved, larger.astype(np.float16)
