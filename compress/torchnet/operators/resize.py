"""Resize and Upsample: each axis is one matrix of interpolation weights, or one list of nearest positions.

Source: ONNX operator Resize, and its reference implementation. What PyTorch's own ``interpolate`` computes in the same
way is left to it, because it is faster.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from compress.torchnet.operators import Factory, Kernel, Node, OperatorError
from compress.torchnet.operators.interpolation import COORDINATES, Interpolation, nearest_positions, weights
from compress.torchnet.operators.reading import axis_of, integers, numbers

# The first of each is ONNX's default.
_KNOWN_MODES = ("nearest", "linear", "cubic")
_NEAREST_MODES = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
_POLICIES = ("stretch", "not_larger", "not_smaller")


@dataclass(frozen=True, slots=True)
class Extent:
    """How one axis is resized; ``region`` are the normalized ends of the part to crop."""

    axis: int
    source: int
    result: int
    scale: float
    region: tuple[float, float]


def _resize(node: Node) -> Kernel:
    attributes = node.attributes
    if node.opset < 11:
        raise OperatorError(f"Resize `{node.name}` is of opset {node.opset}", hint="convert the model to opset 13")
    how = Interpolation(
        mode=_word(node, "mode", _KNOWN_MODES),
        coordinates=_word(node, "coordinate_transformation_mode", COORDINATES),
        nearest=_word(node, "nearest_mode", _NEAREST_MODES),
        cubic=attributes.number("cubic_coeff_a", -0.75),
        exclude_outside=bool(attributes.integer("exclude_outside", 0)),
        antialias=bool(attributes.integer("antialias", 0)),
        outside=attributes.number("extrapolation_value", 0.0),
    )
    axes = attributes.integers("axes")
    policy = _word(node, "keep_aspect_ratio_policy", _POLICIES)

    def resize(
        x: Tensor, roi: Tensor | None = None, scales: Tensor | None = None, sizes: Tensor | None = None
    ) -> Tensor:
        dims = list(range(x.dim())) if axes is None else [axis_of(axis, x.dim()) for axis in axes]
        regions = _regions(roi, len(dims))
        if sizes is not None and sizes.numel():
            ratios, results = _fit(policy, [x.shape[dim] for dim in dims], integers(sizes))
        else:
            ratios = [] if scales is None else numbers(scales)
            results = [int(x.shape[dim] * ratio) for dim, ratio in zip(dims, ratios, strict=True)]
        extents = [
            Extent(dim, x.shape[dim], result, ratio, region)
            for dim, result, ratio, region in zip(dims, results, ratios, regions, strict=True)
        ]
        cropped = how.coordinates == "tf_crop_and_resize"
        return resize_axes(x, [e for e in extents if cropped or e.source != e.result or e.scale != 1.0], how)

    return resize


def _word(node: Node, attribute: str, known: Sequence[str]) -> str:
    word = node.attributes.text(attribute, known[0])
    if word not in known:
        raise OperatorError(
            f"{node.op_type} `{node.name}` has {attribute} `{word}`", hint=f"ONNX knows {', '.join(known)}."
        )
    return word


def _regions(roi: Tensor | None, count: int) -> list[tuple[float, float]]:
    if roi is None or not roi.numel():
        return [(0.0, 1.0)] * count
    ends = numbers(roi)
    return list(zip(ends[:count], ends[count:], strict=True))


def _fit(policy: str, sources: Sequence[int], sizes: Sequence[int]) -> tuple[list[float], list[int]]:
    """Return the scale and the resulting size of each axis."""
    ratios = [size / source for size, source in zip(sizes, sources, strict=True)]
    if policy == "stretch":
        return ratios, list(sizes)
    ratio = min(ratios) if policy == "not_larger" else max(ratios)
    return [ratio] * len(sizes), [int(ratio * source + 0.5) for source in sources]


def resize_axes(x: Tensor, extents: Sequence[Extent], how: Interpolation) -> Tensor:
    """Return a tensor with some axes resized, one after the other."""
    if _is_plain(x, extents, how):
        return _interpolate(x, extents, how)
    for extent in extents:
        if how.mode == "nearest":
            positions, inside = nearest_positions(extent.source, extent.result, extent.scale, extent.region, how)
            x = x.index_select(extent.axis, positions.to(x.device))
        else:
            matrix, inside = weights(extent.source, extent.result, extent.scale, extent.region, how)
            x = torch.matmul(x.movedim(extent.axis, -1), matrix.to(x).t()).movedim(-1, extent.axis)
        if inside is not None:
            shape = [-1 if axis == extent.axis else 1 for axis in range(x.dim())]
            x = torch.where(inside.to(x.device).reshape(shape), x, how.outside)
    return x


_MODES = {
    (1, "linear"): "linear",
    (2, "linear"): "bilinear",
    (3, "linear"): "trilinear",
    (2, "cubic"): "bicubic",
}


def _is_plain(x: Tensor, extents: Sequence[Extent], how: Interpolation) -> bool:
    """Return whether PyTorch's ``interpolate`` gives the same, with the scale that it computes from the sizes."""
    rank = x.dim() - 2
    if not x.is_floating_point() or {e.axis for e in extents} != set(range(2, x.dim())) or how.antialias:
        return False
    if any(e.scale * e.source != e.result for e in extents):
        return False
    if how.mode == "nearest":
        return rank <= 3 and (how.coordinates, how.nearest) == ("asymmetric", "floor")
    if (rank, how.mode) not in _MODES or how.exclude_outside or how.cubic != -0.75:
        return False
    one_pixel = any(e.result == 1 for e in extents)
    return how.coordinates == "half_pixel" or (
        how.coordinates in ("pytorch_half_pixel", "align_corners") and not one_pixel
    )


def _interpolate(x: Tensor, extents: Sequence[Extent], how: Interpolation) -> Tensor:
    size = [extent.result for extent in sorted(extents, key=lambda extent: extent.axis)]
    if how.mode == "nearest":
        return functional.interpolate(x, size, mode="nearest")
    mode = _MODES[x.dim() - 2, how.mode]
    return functional.interpolate(x, size, mode=mode, align_corners=how.coordinates == "align_corners")


def _upsample(node: Node) -> Kernel:
    mode = _word(node, "mode", _KNOWN_MODES[:2])
    how = Interpolation(mode, "asymmetric", "floor", -0.75, exclude_outside=False, antialias=False, outside=0.0)
    fixed = node.attributes.numbers("scales")

    def upsample(x: Tensor, scales: Tensor | None = None) -> Tensor:
        ratios = (fixed or ()) if scales is None else numbers(scales)
        sizes = zip(x.shape, ratios, strict=True)
        extents = [Extent(axis, size, int(size * r), r, (0.0, 1.0)) for axis, (size, r) in enumerate(sizes) if r != 1]
        return resize_axes(x, extents, how)

    return upsample


OPERATORS: dict[str, Factory] = {
    "Resize": _resize,
    "Upsample": _upsample,
}
