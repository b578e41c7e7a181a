"""Integer weights and biases: one scale for each output channel."""

import numpy as np
from numpy.typing import NDArray

from compress.quantize.dialects import Grid

_Floats = NDArray[np.float32]

_INT32_MAX = 2**31 - 1
_BIAS_CODES = 2**30
"""Codes that a bias may use: half of int32, so that the accumulator has room for the sum of products."""


def weight_scale(weight: _Floats, axis: int, grid: Grid) -> _Floats:
    """Return the scale of each slice along ``axis``: weight [O, I, kh, kw], axis 0 → scale [O].

    A slice of zeros takes the mean of the other scales: any scale holds zeros, and the scale of its bias hangs on it.
    """
    others = tuple(i for i in range(weight.ndim) if i != axis)
    largest = np.abs(weight).max(axis=others, initial=0.0)
    scale = largest / np.float32(grid.high)
    usable = scale >= np.finfo(np.float32).tiny
    filler = scale[usable].mean() if usable.any() else np.float32(1.0)
    return np.where(usable, scale, filler).astype(np.float32)


def safe_weight_scale(scale: _Floats, bias: _Floats, input_scale: np.float32) -> _Floats:
    """Return the scales [O], raised where the int32 bias [O] = code · input scale · weight scale would overflow."""
    needed = np.abs(bias) / (np.float32(input_scale) * np.float32(_BIAS_CODES))
    return np.maximum(scale, needed).astype(np.float32)


def quantize_weight(weight: _Floats, scale: _Floats, axis: int, grid: Grid) -> NDArray[np.int8]:
    """Return the codes of a weight, rounded to nearest even and clipped to the grid; same shape as the weight."""
    shape = [1] * weight.ndim
    shape[axis] = -1
    codes: NDArray[np.int8] = np.clip(np.rint(weight / scale.reshape(shape)), grid.low, grid.high).astype(np.int8)
    return codes


def quantize_bias(bias: _Floats, scale: _Floats) -> NDArray[np.int32]:
    """Return the int32 codes of a bias [O] with scale [O]."""
    codes = np.rint(bias.astype(np.float64) / scale.astype(np.float64))
    return np.clip(codes, -_INT32_MAX, _INT32_MAX).astype(np.int32)
