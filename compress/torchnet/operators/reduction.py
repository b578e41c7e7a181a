"""Reductions over axes, and sums and orders along one."""

import math
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor

from compress.torchnet.operators import Factory, Kernel, Node
from compress.torchnet.operators.reading import axis_of, integers, optional_integers

Reduction = Callable[[Tensor, tuple[int, ...], bool], Tensor]
"""Reduces a tensor over axes (at least one), keeping them with length 1 or not."""


def _reducing(reduction: Reduction) -> Factory:
    """Return the factory of a reduction; its axes are an attribute in old opsets and an input in new ones."""

    def factory(node: Node) -> Kernel:
        keep = bool(node.attributes.integer("keepdims", 1))
        fixed = node.attributes.integers("axes")
        nothing_without_axes = bool(node.attributes.integer("noop_with_empty_axes", 0))

        def reduce(x: Tensor, axes: Tensor | None = None) -> Tensor:
            dims: Sequence[int] | None = optional_integers(axes) or fixed
            if dims:
                return reduction(x, tuple(dims), keep)
            if nothing_without_axes or x.dim() == 0:
                # The operations before and after the reduction still happen: over an axis of length 1.
                return reduction(x.unsqueeze(0), (0,), False)
            return reduction(x, tuple(range(x.dim())), keep)

        return reduce

    return factory


def _sum(x: Tensor, dims: tuple[int, ...], keep: bool) -> Tensor:
    return torch.sum(x, dims, keep, dtype=x.dtype)


def _mean(x: Tensor, dims: tuple[int, ...], keep: bool) -> Tensor:
    if x.is_floating_point():
        return torch.mean(x, dims, keep)
    return (torch.sum(x, dims, keep) / math.prod(x.shape[dim] for dim in dims)).to(x.dtype)


def _product(x: Tensor, dims: tuple[int, ...], keep: bool) -> Tensor:
    for dim in sorted((axis_of(dim, x.dim()) for dim in dims), reverse=True):
        x = torch.prod(x, dim, keep, dtype=x.dtype)
    return x


def _extreme(function: Callable[[Tensor, tuple[int, ...], bool], Tensor], largest: bool) -> Reduction:
    def reduce(x: Tensor, dims: tuple[int, ...], keep: bool) -> Tensor:
        if x.numel():
            return function(x, dims, keep)
        return torch.full_like(torch.sum(x, dims, keep, dtype=x.dtype), _neutral(x.dtype, largest))

    return reduce


def _neutral(dtype: torch.dtype, largest: bool) -> float:
    """Return the extreme of no values at all: what any value replaces."""
    if dtype == torch.bool:
        return not largest
    if dtype.is_floating_point:
        return -torch.inf if largest else torch.inf
    return torch.iinfo(dtype).min if largest else torch.iinfo(dtype).max


def _l1(x: Tensor, dims: tuple[int, ...], keep: bool) -> Tensor:
    return torch.sum(torch.abs(x), dims, keep, dtype=x.dtype)


def _l2(x: Tensor, dims: tuple[int, ...], keep: bool) -> Tensor:
    if x.is_floating_point():
        norm: Tensor = torch.linalg.vector_norm(x, 2, dims, keep)
        return norm
    return torch.sqrt(torch.sum(x * x, dims, keep).to(torch.float64)).to(x.dtype)


def _sum_of_squares(x: Tensor, dims: tuple[int, ...], keep: bool) -> Tensor:
    return torch.sum(x * x, dims, keep, dtype=x.dtype)


def _log_of_sum(x: Tensor, dims: tuple[int, ...], keep: bool) -> Tensor:
    return torch.log(torch.sum(x, dims, keep, dtype=x.dtype))


def _log_of_sum_of_exponentials(x: Tensor, dims: tuple[int, ...], keep: bool) -> Tensor:
    return torch.logsumexp(x, dims, keep)


def _position_of(largest: bool) -> Factory:
    find = torch.argmax if largest else torch.argmin

    def factory(node: Node) -> Kernel:
        axis, keep = node.attributes.integer("axis", 0), bool(node.attributes.integer("keepdims", 1))
        if not node.attributes.integer("select_last_index", 0):
            return lambda x: find(x, axis, keep)
        return lambda x: x.shape[axis] - 1 - find(x.flip(axis), axis, keep)

    return factory


def _cumulative_sum(node: Node) -> Kernel:
    exclusive = bool(node.attributes.integer("exclusive", 0))
    reverse = bool(node.attributes.integer("reverse", 0))

    def cumulate(x: Tensor, axis: Tensor) -> Tensor:
        dim = int(axis)
        values = x.flip(dim) if reverse else x
        if exclusive:
            first = torch.zeros_like(values.narrow(dim, 0, 1))
            values = torch.cat([first, values.narrow(dim, 0, values.shape[dim] - 1)], dim)
        total = torch.cumsum(values, dim, dtype=x.dtype)
        return total.flip(dim) if reverse else total

    return cumulate


def _top_k(node: Node) -> Kernel:
    axis, largest = node.attributes.integer("axis", -1), bool(node.attributes.integer("largest", 1))
    node.attributes.skip("sorted")  # where the order does not matter, the sorted one is as good

    def top_k(x: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        # Of equal values ONNX takes the one that comes first, which torch.topk does not promise.
        values, positions = torch.sort(x, dim=axis, descending=largest, stable=True)
        count = integers(k)[0]
        return values.narrow(axis, 0, count), positions.narrow(axis, 0, count)

    return top_k


def _unique(node: Node) -> Kernel:
    axis = node.attributes.optional_integer("axis")
    ascending = bool(node.attributes.integer("sorted", 1))

    def unique(x: Tensor) -> tuple[Tensor, ...]:
        dim = 0 if axis is None else axis
        source = x.reshape(-1) if axis is None else x
        values, inverse, counts = cast(
            "tuple[Tensor, Tensor, Tensor]",
            torch.unique(source, return_inverse=True, return_counts=True, dim=None if axis is None else axis),
        )
        positions = torch.arange(inverse.numel(), device=x.device)
        first = torch.full_like(counts, inverse.numel()).scatter_reduce(0, inverse, positions, "amin")
        if not ascending:
            order = torch.argsort(first)
            values, first, counts = values.index_select(dim, order), first[order], counts[order]
            inverse = torch.argsort(order)[inverse]
        return values, first, inverse, counts

    return unique


def _einsum(node: Node) -> Kernel:
    equation = node.attributes.text("equation")
    return lambda *tensors: torch.einsum(equation, *tensors)


OPERATORS: dict[str, Factory] = {
    "ArgMax": _position_of(largest=True),
    "ArgMin": _position_of(largest=False),
    "CumSum": _cumulative_sum,
    "Einsum": _einsum,
    "ReduceL1": _reducing(_l1),
    "ReduceL2": _reducing(_l2),
    "ReduceLogSum": _reducing(_log_of_sum),
    "ReduceLogSumExp": _reducing(_log_of_sum_of_exponentials),
    "ReduceMax": _reducing(_extreme(torch.amax, largest=True)),
    "ReduceMean": _reducing(_mean),
    "ReduceMin": _reducing(_extreme(torch.amin, largest=False)),
    "ReduceProd": _reducing(_product),
    "ReduceSum": _reducing(_sum),
    "ReduceSumSquare": _reducing(_sum_of_squares),
    "TopK": _top_k,
    "Unique": _unique,
}
