"""Operators that pick elements by position, or put them there."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from compress.torchnet.operators import Factory, Kernel, Node, OperatorError
from compress.torchnet.operators.elementwise import plain
from compress.torchnet.operators.reading import axis_of, integers, on_host, optional_integers, wrapped

_LEAST = -(2**62)  # PyTorch warns of the least 64-bit integer, which ONNX uses for "from the start"
_REDUCTIONS: dict[str, str] = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _slice(x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None) -> Tensor:
    first, last = integers(starts), integers(ends)
    dims = optional_integers(axes) or list(range(len(first)))
    strides = optional_integers(steps) or [1] * len(first)
    index: list[slice] = [slice(None)] * x.dim()
    flipped: list[int] = []
    for dim, start, end, step in zip(dims, first, last, strides, strict=True):
        axis = axis_of(dim, x.dim())
        if step > 0:
            index[axis] = slice(max(start, _LEAST), max(end, _LEAST), step)
            continue
        # PyTorch steps forwards only: take the same positions in ascending order, then turn them round.
        positions = range(*slice(start, end, step).indices(x.shape[axis]))
        index[axis] = slice(positions[-1], positions[0] + 1, -step) if positions else slice(0, 0)
        flipped.append(axis)
    x = x[tuple(index)]
    return x.flip(flipped) if flipped else x


def _gather(node: Node) -> Kernel:
    axis = node.attributes.integer("axis", 0)

    def gather(x: Tensor, indices: Tensor) -> Tensor:
        if indices.dim() == 0 and on_host(indices):
            return x.select(axis, integers(indices)[0])
        dim = axis_of(axis, x.dim())
        positions = wrapped(indices, x.shape[dim]).to(x.device)
        if dim == 0 and x.dim() == 2 and x.is_floating_point():
            return functional.embedding(positions, x)
        picked = x.index_select(dim, positions.reshape(-1))
        return picked if indices.dim() == 1 else picked.reshape(x.shape[:dim] + indices.shape + x.shape[dim + 1 :])

    return gather


def _gather_elements(node: Node) -> Kernel:
    axis = node.attributes.integer("axis", 0)
    return lambda x, indices: torch.gather(x, axis, wrapped(indices, x.shape[axis]))


def _gather_nd(node: Node) -> Kernel:
    batched = node.attributes.integer("batch_dims", 0)

    def gather_nd(x: Tensor, indices: Tensor) -> Tensor:
        depth = indices.shape[-1]
        batch = indices.shape[:batched]
        count = math.prod(batch)
        rows = torch.arange(count, device=x.device).reshape(count, *[1] * (indices.dim() - batched - 1))
        flat = indices.reshape(count, *indices.shape[batched:]).to(torch.int64)
        picked = x.reshape(count, *x.shape[batched:])[(rows, *flat.unbind(-1))]
        return picked.reshape(*indices.shape[:-1], *x.shape[batched + depth :])

    return gather_nd


def _reduction(node: Node) -> str | None:
    """Return how a scatter combines values, in PyTorch's word, or None where it overwrites."""
    name = node.attributes.text("reduction", "none")
    if name != "none" and name not in _REDUCTIONS:
        raise OperatorError(f"{node.op_type} `{node.name}` has the reduction `{name}`", hint="add, mul, max or min")
    return _REDUCTIONS.get(name)


def _scatter_elements(node: Node) -> Kernel:
    axis, reduction = node.attributes.integer("axis", 0), _reduction(node)

    def scatter(x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        positions = wrapped(indices, x.shape[axis])
        if reduction is None:
            return x.scatter(axis, positions, updates)
        return x.scatter_reduce(axis, positions, updates, reduction)

    return scatter


def _scatter_nd(node: Node) -> Kernel:
    reduction = _reduction(node)

    def scatter(x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        index = indices.to(torch.int64).unbind(-1)
        if reduction in (None, "sum"):
            return x.index_put(index, updates, accumulate=reduction == "sum")
        sizes = x.shape[: len(index)]
        rows = torch.zeros_like(index[0])
        for positions, size in zip(index, sizes, strict=True):
            rows = rows * size + wrapped(positions, size)
        flat, added = x.reshape(math.prod(sizes), -1), updates.reshape(rows.numel(), -1)
        return flat.scatter_reduce(0, rows.reshape(-1, 1).expand_as(added), added, reduction or "").reshape(x.shape)

    return scatter


def _one_hot(node: Node) -> Kernel:
    axis = node.attributes.integer("axis", -1)

    def one_hot(indices: Tensor, depth: Tensor, values: Tensor) -> Tensor:
        size = int(depth)
        dim = axis_of(axis, indices.dim() + 1)
        classes = torch.arange(size, device=indices.device).reshape(-1, *[1] * (indices.dim() - dim))
        off, on = values.to(indices.device).unbind()
        return torch.where(wrapped(indices, size).unsqueeze(dim) == classes, on, off)

    return one_hot


def _nonzero(x: Tensor) -> Tensor:
    return torch.nonzero(x).t()


def _compress(node: Node) -> Kernel:
    axis = node.attributes.optional_integer("axis")

    def compress(x: Tensor, condition: Tensor) -> Tensor:
        kept = torch.nonzero(condition).reshape(-1)
        return x.reshape(-1).index_select(0, kept) if axis is None else x.index_select(axis, kept)

    return compress


def _reverse_sequence(node: Node) -> Kernel:
    time, batch = node.attributes.integer("time_axis", 0), node.attributes.integer("batch_axis", 1)

    def reverse(x: Tensor, lengths: Tensor) -> Tensor:
        steps = torch.arange(x.shape[time], device=x.device)
        lengths = lengths.to(x.device).unsqueeze(1)
        source = torch.where(steps < lengths, lengths - 1 - steps, steps)
        rows = source if batch < time else source.t()
        return x.gather(time, rows.reshape(*rows.shape, *[1] * (x.dim() - 2)).expand_as(x))

    return reverse


def _triangle(node: Node) -> Kernel:
    upper = bool(node.attributes.integer("upper", 1))

    def triangle(x: Tensor, k: Tensor | None = None) -> Tensor:
        diagonal = 0 if k is None else int(k)
        return torch.triu(x, diagonal) if upper else torch.tril(x, diagonal)

    return triangle


OPERATORS: dict[str, Factory] = {
    "Compress": _compress,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "NonZero": plain(_nonzero),
    "OneHot": _one_hot,
    "ReverseSequence": _reverse_sequence,
    "Scatter": _scatter_elements,
    "ScatterElements": _scatter_elements,
    "ScatterND": _scatter_nd,
    "Slice": plain(_slice),
    "Trilu": _triangle,
}
