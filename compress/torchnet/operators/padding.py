"""Operators that extend or crop axes at their ends."""

import torch
from torch import Tensor
from torch.nn import functional

from compress.torchnet.operators import Factory, Kernel, Node, OperatorError
from compress.torchnet.operators.reading import axis_of, integers, number, optional_integers

_MODES = ("constant", "reflect", "edge", "wrap")


def _pad(node: Node) -> Kernel:
    mode = node.attributes.text("mode", "constant")
    if mode not in _MODES:
        raise OperatorError(f"Pad `{node.name}` has the mode `{mode}`", hint=f"one of {', '.join(_MODES)}")
    fixed = node.attributes.integers("pads")
    fixed_value = node.attributes.number("value", 0.0)

    def pad(x: Tensor, pads: Tensor | None = None, value: Tensor | None = None, axes: Tensor | None = None) -> Tensor:
        amounts = list(fixed or ()) if pads is None else integers(pads)
        dims = list(range(x.dim())) if axes is None else [axis_of(axis, x.dim()) for axis in integers(axes)]
        ends = {dim: (amounts[i], amounts[i + len(dims)]) for i, dim in enumerate(dims)}
        if mode == "constant":
            fill = number(value) if value is not None and value.numel() else fixed_value
            return _pad_constant(x, ends, fill)
        for dim, (before, after) in ends.items():
            if before or after:
                x = x.index_select(dim, _source(mode, x.shape[dim], before, after).to(x.device))
        return x

    return pad


def _pad_constant(x: Tensor, ends: dict[int, tuple[int, int]], value: float) -> Tensor:
    """Return a tensor with each of some axes extended, or cropped where an amount is negative."""
    flat: list[int] = []
    for dim in range(x.dim() - 1, -1, -1):
        flat += ends.get(dim, (0, 0))
    return functional.pad(x, flat, value=value) if any(flat) else x


def _source(mode: str, size: int, before: int, after: int) -> Tensor:
    """Return, for each position of a padded axis, which position of the original it repeats."""
    positions = torch.arange(-before, size + after)
    if mode == "edge":
        return positions.clamp(0, size - 1)
    if mode == "wrap":
        return positions.remainder(size)
    period = max(1, 2 * (size - 1))
    positions = positions.remainder(period)
    return torch.minimum(positions, period - positions)


def _center_crop_pad(node: Node) -> Kernel:
    fixed = node.attributes.integers("axes")

    def center_crop_pad(x: Tensor, shape: Tensor) -> Tensor:
        dims = range(x.dim()) if fixed is None else [axis_of(axis, x.dim()) for axis in fixed]
        ends: dict[int, tuple[int, int]] = {}
        for dim, size in zip(dims, optional_integers(shape) or (), strict=True):
            missing = size - x.shape[dim]
            before = missing // 2 if missing > 0 else -(-missing // 2)
            ends[dim] = (before, missing - before)
        return _pad_constant(x, ends, 0)

    return center_crop_pad


OPERATORS: dict[str, Factory] = {
    "CenterCropPad": _center_crop_pad,
    "Pad": _pad,
}
