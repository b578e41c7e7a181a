"""Where each position of a resized axis lies on the original axis, and how it mixes its neighbours."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

COORDINATES = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_half_pixel_for_nn",
    "tf_crop_and_resize",
)
"""How positions of a resized axis lie on the original one; the first is ONNX's default."""


@dataclass(frozen=True, slots=True)
class Interpolation:
    """Attributes of Resize in ONNX's own words; ``outside`` is what tf_crop_and_resize puts beyond the original."""

    mode: str
    coordinates: str
    nearest: str
    cubic: float
    exclude_outside: bool
    antialias: bool
    outside: float


@lru_cache(maxsize=256)
def nearest_positions(
    source: int, result: int, scale: float, region: tuple[float, float], how: Interpolation
) -> tuple[Tensor, Tensor | None]:
    """Return the position to copy for each of the result's, and which of them lie inside (None where all do)."""
    x = _coordinates(source, result, scale, region, how.coordinates)
    if how.nearest == "round_prefer_floor":
        positions = torch.ceil(x - 0.5)
    elif how.nearest == "round_prefer_ceil":
        positions = torch.floor(x + 0.5)
    else:
        positions = torch.floor(x) if how.nearest == "floor" else torch.ceil(x)
    return positions.clamp(0, source - 1).to(torch.int64), _inside(x, source, how)


@lru_cache(maxsize=256)
def weights(
    source: int, result: int, scale: float, region: tuple[float, float], how: Interpolation
) -> tuple[Tensor, Tensor | None]:
    """Return the matrix [result, source] (float64) of an interpolation, and which positions lie inside.

    Source: linear, and cubic convolution of Keys, "Cubic Convolution Interpolation for Digital Image Processing"
    (1981), eq. 4, with coefficient a; with antialias both stretched by 1 / scale when an axis shrinks.
    """
    x = _coordinates(source, result, scale, region, how.coordinates)
    stretch = min(scale, 1.0) if how.antialias else 1.0
    reach = 2.0 if how.mode == "cubic" else 1.0
    first = torch.floor(x)
    steps = int(reach / stretch) + 1
    taps = first.unsqueeze(1) + torch.arange(-steps, steps + 2, dtype=torch.float64)
    distance = (taps - x.unsqueeze(1)).abs() * stretch
    share = _cubic(distance, how.cubic) if how.mode == "cubic" else (1.0 - distance).clamp(min=0.0)
    if how.exclude_outside:
        share = torch.where((taps < 0) | (taps > source - 1), 0.0, share)
    if how.exclude_outside or how.antialias:
        share = share / share.sum(1, keepdim=True)
    matrix = torch.zeros(result, source, dtype=torch.float64)
    matrix.scatter_add_(1, taps.clamp(0, source - 1).to(torch.int64), share)
    return matrix, _inside(x, source, how)


def _cubic(distance: Tensor, a: float) -> Tensor:
    near = ((a + 2) * distance - (a + 3)) * distance * distance + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return torch.where(distance <= 1, near, torch.where(distance < 2, far, 0.0))


def _inside(x: Tensor, source: int, how: Interpolation) -> Tensor | None:
    if how.coordinates != "tf_crop_and_resize":
        return None
    inside = (x >= 0) & (x <= source - 1)
    return None if bool(inside.all()) else inside


def _coordinates(source: int, result: int, scale: float, region: tuple[float, float], mode: str) -> Tensor:
    """Return, for each position of the result, where it lies on the original axis (float64)."""
    x = torch.arange(result, dtype=torch.float64)
    if mode == "tf_crop_and_resize":
        start, end = region
        if result == 1:
            return x + 0.5 * (start + end) * (source - 1)
        return start * (source - 1) + x * ((end - start) * (source - 1) / (result - 1))
    length = scale * source
    rules: dict[str, Callable[[], Tensor]] = {
        "half_pixel": lambda: (x + 0.5) / scale - 0.5,
        "pytorch_half_pixel": lambda: (x + 0.5) / scale - 0.5 if result > 1 else x,
        "half_pixel_symmetric": lambda: (x + 0.5) / scale - 0.5 + source / 2 * (1 - result / length),
        "asymmetric": lambda: x / scale,
        "align_corners": lambda: x * ((source - 1) / (length - 1)) if length != 1 else x * 0,
        "tf_half_pixel_for_nn": lambda: (x + 0.5) / scale,
    }
    return rules[mode]()
