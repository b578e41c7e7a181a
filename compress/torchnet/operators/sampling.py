"""Operators that gather from, or add to, positions of an image."""

import itertools
import math

import torch
from torch import Tensor
from torch.nn import functional

from compress.torchnet.operators import Factory, Kernel, Node
from compress.torchnet.operators.reading import integers

_MODES = {"linear": "bilinear", "cubic": "bicubic"}


def _grid_sample(node: Node) -> Kernel:
    mode = node.attributes.text("mode", "linear")
    padding = node.attributes.text("padding_mode", "zeros")
    align = bool(node.attributes.integer("align_corners", 0))
    mode = _MODES.get(mode, mode)
    return lambda x, grid: functional.grid_sample(x, grid, mode, padding, align)


def _affine_grid(node: Node) -> Kernel:
    align = bool(node.attributes.integer("align_corners", 0))
    return lambda theta, size: functional.affine_grid(theta, integers(size), align)


def _column_to_image(node: Node) -> Kernel:
    strides, dilations = node.attributes.integers("strides"), node.attributes.integers("dilations")
    pads = node.attributes.integers("pads")

    def column_to_image(x: Tensor, image_shape: Tensor, block_shape: Tensor) -> Tensor:
        image, block = integers(image_shape), integers(block_shape)
        rank = len(image)
        steps, spread, ends = strides or (1,) * rank, dilations or (1,) * rank, pads or (0,) * 2 * rank
        padded = [size + ends[axis] + ends[axis + rank] for axis, size in enumerate(image)]
        target = torch.zeros((), dtype=torch.int64)
        for axis in range(rank):
            offsets = torch.arange(block[axis]) * spread[axis]
            count = (padded[axis] - offsets[-1] - 1).div(steps[axis], rounding_mode="floor") + 1
            along = offsets.unsqueeze(1) + torch.arange(int(count)) * steps[axis]
            # Block offsets of all axes come first, then block positions of all axes.
            shape = [*_one_at(axis, rank, block[axis]), *_one_at(axis, rank, int(count))]
            target = target * padded[axis] + along.reshape(shape)
        columns = x.reshape(x.shape[0], -1, target.numel())
        flat = columns.new_zeros(*columns.shape[:2], math.prod(padded))
        summed = flat.index_add(2, target.reshape(-1).to(x.device), columns)
        inner = tuple(slice(ends[axis], ends[axis] + image[axis]) for axis in range(rank))
        return summed.reshape(*columns.shape[:2], *padded)[(slice(None), slice(None), *inner)]

    return column_to_image


def _one_at(axis: int, rank: int, size: int) -> list[int]:
    return list(itertools.chain([1] * axis, [size], [1] * (rank - axis - 1)))


OPERATORS: dict[str, Factory] = {
    "AffineGrid": _affine_grid,
    "Col2Im": _column_to_image,
    "GridSample": _grid_sample,
}
