"""Operators that change how elements are laid out and leave their values alone."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from compress.torchnet.operators import Factory, Kernel, Node
from compress.torchnet.operators.elementwise import plain
from compress.torchnet.operators.reading import axis_of, integers, optional_integers


def _reshape(node: Node) -> Kernel:
    zero_is_zero = bool(node.attributes.integer("allowzero", 0))

    def reshape(x: Tensor, shape: Tensor) -> Tensor:
        sizes = integers(shape)
        if 0 in sizes and not zero_is_zero:
            sizes = [x.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
        return x.reshape(sizes)

    return reshape


def _flatten(node: Node) -> Kernel:
    axis = node.attributes.integer("axis", 1)

    def flatten(x: Tensor) -> Tensor:
        first = axis_of(axis, x.dim())
        return x.reshape(math.prod(x.shape[:first]), math.prod(x.shape[first:]))

    return flatten


def _squeeze(node: Node) -> Kernel:
    fixed = node.attributes.integers("axes")

    def squeeze(x: Tensor, axes: Tensor | None = None) -> Tensor:
        dims = optional_integers(axes) or fixed
        return x.squeeze() if dims is None else x.squeeze(tuple(dims))

    return squeeze


def _unsqueeze(node: Node) -> Kernel:
    fixed = node.attributes.integers("axes")

    def unsqueeze(x: Tensor, axes: Tensor | None = None) -> Tensor:
        dims: Sequence[int] = integers(axes) if axes is not None else fixed or ()
        rank = x.dim() + len(dims)
        for dim in sorted(axis_of(dim, rank) for dim in dims):
            x = x.unsqueeze(dim)
        return x

    return unsqueeze


def _expand(x: Tensor, shape: Tensor) -> Tensor:
    sizes = integers(shape)
    return x.expand(torch.broadcast_shapes(x.shape, sizes))  # type: ignore[no-untyped-call]


def _tile(x: Tensor, repeats: Tensor) -> Tensor:
    return x.tile(tuple(integers(repeats)))


def _concatenate(node: Node) -> Kernel:
    axis = node.attributes.integer("axis")
    return lambda *tensors: torch.cat(tensors, axis)


def _split(node: Node) -> Kernel:
    axis = node.attributes.integer("axis", 0)
    fixed = node.attributes.integers("split")
    count = node.attributes.integer("num_outputs", len(node.outputs))

    def split(x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
        given = optional_integers(sizes) or fixed
        return torch.split(x, list(given) if given is not None else equal_parts(x.shape[axis], count), axis)

    return split


def equal_parts(size: int, count: int) -> list[int]:
    """Return the sizes of a number of equal parts; the last ones are smaller where it does not divide."""
    part = -(-size // count)
    return [max(0, min(part, size - index * part)) for index in range(count)]


def _transpose(node: Node) -> Kernel:
    order = node.attributes.integers("perm")
    if order is None:
        return lambda x: x.permute(*range(x.dim() - 1, -1, -1))
    return lambda x: x.permute(order)


def _shape(node: Node) -> Kernel:
    start, end = node.attributes.integer("start", 0), node.attributes.optional_integer("end")
    return lambda x: torch.tensor(x.shape[start:end], dtype=torch.int64)


def _size(x: Tensor) -> Tensor:
    return torch.tensor(x.numel(), dtype=torch.int64)


def _depth_to_space(node: Node) -> Kernel:
    block = node.attributes.integer("blocksize")
    if node.attributes.text("mode", "DCR") == "CRD":
        return lambda x: functional.pixel_shuffle(x, block)

    def depth_to_space(x: Tensor) -> Tensor:
        batch, depth, height, width = x.shape
        depth //= block * block
        blocks = x.reshape(batch, block, block, depth, height, width).permute(0, 3, 4, 1, 5, 2)
        return blocks.reshape(batch, depth, height * block, width * block)

    return depth_to_space


def _space_to_depth(node: Node) -> Kernel:
    block = node.attributes.integer("blocksize")

    def space_to_depth(x: Tensor) -> Tensor:
        batch, depth, height, width = x.shape
        blocks = x.reshape(batch, depth, height // block, block, width // block, block).permute(0, 3, 5, 1, 2, 4)
        return blocks.reshape(batch, depth * block * block, height // block, width // block)

    return space_to_depth


OPERATORS: dict[str, Factory] = {
    "Concat": _concatenate,
    "DepthToSpace": _depth_to_space,
    "Expand": plain(_expand),
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Shape": _shape,
    "Size": plain(_size),
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": plain(_tile),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
