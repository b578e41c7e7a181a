"""Ranges that a Relu or Clip in front of a quantizer gives, and the scales that stay within them."""

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir


@dataclass(frozen=True, slots=True)
class Bounds:
    """Lowest and highest value that can arrive."""

    low: float = -math.inf
    high: float = math.inf


def bounds_of(node: ir.Node | None) -> Bounds:
    """Return what a Relu or a Clip with constant bounds lets through; everything, for any other node or none."""
    if node is None or node.domain not in ("", "ai.onnx"):
        return Bounds()
    if node.op_type == "Relu":
        return Bounds(low=0.0)
    if node.op_type != "Clip":
        return Bounds()
    ends = [-math.inf, math.inf]
    for index, value in enumerate(node.inputs[1:3]):
        if value is None:
            continue
        if value.const_value is None:
            return Bounds()
        ends[index] = float(value.const_value.numpy())
    return Bounds(*ends)


def largest_scale(bounds: Bounds, zero_point: int, low: int, high: int) -> float:
    """Return the largest float32 scale with which codes ``low`` to ``high`` stay within the bounds.

    Infinity where nothing bounds them; 0 where no scale does, because a code lies on the far side of a bound.

    >>> round(largest_scale(Bounds(0.0, 6.0), 0, 0, 255) * 255, 6)
    6.0
    """
    below = _largest_step(-bounds.low, zero_point - low)
    above = _largest_step(bounds.high, high - zero_point)
    return min(below, above)


def _largest_step(reach: float, codes: int) -> float:
    """Return the largest float32 scale such that ``codes`` steps, computed in float32, do not pass ``reach``."""
    if reach < 0:
        return 0.0
    if codes == 0 or math.isinf(reach):
        return math.inf
    scale = np.float32(reach / codes)
    while np.float32(codes) * scale > np.float32(reach):
        scale = np.nextafter(scale, np.float32(0.0))
    return float(scale)
