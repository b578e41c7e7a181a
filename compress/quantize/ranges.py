"""From a histogram to the range that is quantized: min-max, percentile, MSE, entropy, or the best of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from compress.quantize.dialects import Grid
from compress.quantize.histogram import Histogram

Method = Literal["minmax", "percentile", "mse", "entropy", "auto"]
Range = tuple[float, float]
"""Lowest and highest value that the grid must reach; always contains zero."""

_Floats = NDArray[np.float64]
_SHRINK = np.linspace(0.2, 1.0, 81)


@dataclass(frozen=True, slots=True)
class Quantization:
    """Scale and zero point of one tensor: value = (q − zero_point)·scale."""

    scale: np.float32
    zero_point: int


def choose_range(histogram: Histogram, grid: Grid, method: Method, percentile: float) -> Range:
    """Return the range by one of the methods; ``percentile`` in percent, used by that method only."""
    return _closed(RANGES[method](histogram, grid, percentile), grid)


def _closed(bounds: Range, grid: Grid) -> Range:
    """Return a range that contains zero, and is symmetric where the grid is."""
    low, high = bounds
    low, high = min(low, 0.0), max(high, 0.0)
    return (-max(-low, high), max(-low, high)) if grid.symmetric else (low, high)


def fit_grid(bounds: Range, grid: Grid) -> Quantization:
    """Return scale and zero point such that the grid covers the range and holds zero exactly.

    The scale is rounded so that the highest code never passes the range's high end: a runtime drops a Clip in front of
    a quantizer only if the quantizer cannot pass the Clip's bound.
    """
    low, high = bounds
    if high - low < np.finfo(np.float32).tiny * grid.steps:
        return Quantization(np.float32(1.0), 0 if grid.symmetric else grid.low)
    if grid.symmetric:
        return Quantization(np.float32(high / grid.high), 0)
    scale = np.float32((high - low) / grid.steps)
    zero_point = int(np.clip(np.rint(grid.low - low / scale), grid.low, grid.high))
    while low == 0.0 and np.float32(grid.high - zero_point) * scale > np.float32(high):
        scale = np.nextafter(scale, np.float32(0.0))
    return Quantization(scale, zero_point)


def _minmax(histogram: Histogram, grid: Grid, percentile: float) -> Range:  # noqa: ARG001 - all methods look alike
    return histogram.low, histogram.high


def _percentile(histogram: Histogram, grid: Grid, percentile: float) -> Range:
    values, counts = histogram.bins()
    share = percentile / 100
    if grid.symmetric:
        order = np.argsort(np.abs(values), kind="stable")
        end = _quantile(np.abs(values)[order], counts[order], share)
        return -end, end
    return _quantile(values, counts, 1 - share), _quantile(values, counts, share)


def _quantile(values: _Floats, counts: NDArray[np.int64], share: float) -> float:
    cumulative = np.cumsum(counts)
    return float(np.interp(share * cumulative[-1], cumulative, values))


def _mse(histogram: Histogram, grid: Grid, percentile: float) -> Range:  # noqa: ARG001
    """Return the range with the least expected squared error, each end searched in turn."""
    values, counts = histogram.bins()
    if grid.symmetric:
        end = max(-histogram.low, histogram.high)
        errors = [_expected_error(values, counts, -end * s, end * s, grid) for s in _SHRINK]
        best = float(end * _SHRINK[int(np.argmin(errors))])
        return -best, best
    low, high = min(histogram.low, 0.0), max(histogram.high, 0.0)
    for _ in range(2):
        errors = [_expected_error(values, counts, low, histogram.high * s, grid) for s in _SHRINK]
        high = max(float(histogram.high * _SHRINK[int(np.argmin(errors))]), 0.0)
        if histogram.low >= 0:
            break
        errors = [_expected_error(values, counts, histogram.low * s, high, grid) for s in _SHRINK]
        low = float(histogram.low * _SHRINK[int(np.argmin(errors))])
    return low, high


def _expected_error(values: _Floats, counts: NDArray[np.int64], low: float, high: float, grid: Grid) -> float:
    """Return the expected sum of squared errors of a uniform quantizer.

    Values outside are clipped; values nearer to zero than half a step become zero, which the grid holds exactly; the
    rest errs by step²/12 on average.

    Source: Widrow, Kollár: Quantization Noise (2008), chapter 5 (the uniform noise model).
    """
    step = (high - low) / grid.steps
    if step <= 0:
        return float(counts @ values**2)
    clipped = values - np.clip(values, low, high)
    inside = np.where(np.abs(values) < step / 2, values**2, step**2 / 12)
    return float(counts @ np.where(clipped != 0, clipped**2, inside))


def _entropy(histogram: Histogram, grid: Grid, percentile: float) -> Range:  # noqa: ARG001
    """Return the range whose quantized distribution of magnitudes is nearest to the original by KL divergence.

    Source: Migacz: 8-bit Inference with TensorRT, GTC 2017, slides 38–42 (2048 bins, 128 levels).
    """
    values, counts = histogram.bins()
    magnitudes = np.abs(values)
    top = float(magnitudes.max(initial=0.0))
    if top == 0.0:
        return 0.0, 0.0
    one_sided = histogram.low >= 0 or histogram.high <= 0
    levels = grid.steps + 1 if one_sided and not grid.symmetric else (grid.steps + 1) // 2
    bins = 2048
    index = np.minimum((magnitudes / top * bins).astype(np.int64), bins - 1)
    linear = np.bincount(index, weights=counts, minlength=bins).astype(np.float64)
    linear[0] = 0.0  # the zeros after a Relu are exact in every grid: they must not decide
    ends = np.arange(levels, bins + 1, max(levels // 8, 1))
    ends[-1] = bins
    divergences = [_divergence(linear, int(end), levels) for end in ends]
    limit = top * int(ends[int(np.argmin(divergences))]) / bins
    return max(histogram.low, -limit), min(histogram.high, limit)


def _divergence(linear: _Floats, end: int, levels: int) -> float:
    """Return KL(P‖Q): P the bins below ``end`` with the tail added to the last, Q the same on ``levels`` levels."""
    reference = linear[:end].copy()
    reference[-1] += linear[end:].sum()
    group = np.arange(end) * levels // end
    filled = (linear[:end] > 0).astype(np.float64)
    share = np.bincount(group, weights=linear[:end], minlength=levels) / np.maximum(
        np.bincount(group, weights=filled, minlength=levels), 1
    )
    candidate = share[group] * filled
    if reference.sum() == 0 or candidate.sum() == 0:
        return np.inf
    p, q = reference / reference.sum(), candidate / candidate.sum()
    # A bin that the tail fills but the candidate leaves empty costs as if it held one value in a million.
    return float(np.sum(p[p > 0] * np.log(p[p > 0] / np.maximum(q[p > 0], 1e-6))))


def _auto(histogram: Histogram, grid: Grid, percentile: float) -> Range:
    """Return the range of the method whose grid gives the values back with the least squared error."""
    values, counts = histogram.bins()

    def error(bounds: Range) -> float:
        found = fit_grid(bounds, grid)
        codes = np.clip(np.rint(values / found.scale) + found.zero_point, grid.low, grid.high)
        return float(counts @ np.square((codes - found.zero_point) * float(found.scale) - values))

    methods = (method for name, method in RANGES.items() if name != "auto")
    return min((_closed(method(histogram, grid, percentile), grid) for method in methods), key=error)


RANGES: dict[Method, Callable[[Histogram, Grid, float], Range]] = {
    "minmax": _minmax,
    "percentile": _percentile,
    "mse": _mse,
    "entropy": _entropy,
    "auto": _auto,
}
