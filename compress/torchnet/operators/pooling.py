"""Pooling over windows and over whole planes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from compress.torchnet.operators import Factory, Kernel, Node
from compress.torchnet.operators.reading import integers
from compress.torchnet.windows import Padding, output_size, read_padding, windows

_MAX = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_MAX_WITH_INDICES = {
    1: functional.max_pool1d_with_indices,
    2: functional.max_pool2d_with_indices,
    3: functional.max_pool3d_with_indices,
}
_AVERAGE = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


@dataclass(frozen=True, slots=True)
class _Windows:
    """Which windows a pooling sees."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: Padding
    ceil: bool

    @property
    def spans(self) -> tuple[int, ...]:
        """How many elements a window reaches over, along each axis."""
        return tuple((width - 1) * gap + 1 for width, gap in zip(self.kernel, self.dilation, strict=True))

    def pads(self, x: Tensor) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the pads before and after each axis, as the node states them."""
        return self.padding.resolve(x.shape[2:], self.kernel, self.stride, self.dilation)

    def reach(self, x: Tensor) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the pads before and after each axis that just hold the last window."""
        before, after = self.pads(x)
        ends = []
        for length, first, last, span, step in zip(x.shape[2:], before, after, self.spans, self.stride, strict=True):
            count = output_size(length, first, last, span, step, ceil=self.ceil)
            ends.append((count - 1) * step + span - length - first)
        return before, tuple(ends)

    def is_simple(self, x: Tensor) -> bool:
        """Return whether PyTorch's pooling can pad by itself: symmetric, at most half a window, no rounding up."""
        before, after = self.pads(x)
        return (
            not self.ceil
            and before == after
            and all(2 * pad <= width for pad, width in zip(before, self.kernel, strict=True))
        )


def _read_windows(node: Node) -> _Windows:
    kernel = node.attributes.integers("kernel_shape") or ()
    ones = (1,) * len(kernel)
    return _Windows(
        kernel,
        node.attributes.integers("strides") or ones,
        node.attributes.integers("dilations") or ones,
        read_padding(node),
        bool(node.attributes.integer("ceil_mode", 0)),
    )


def _pad(x: Tensor, ends: tuple[tuple[int, ...], tuple[int, ...]], value: float) -> Tensor:
    both = [pad for pair in zip(reversed(ends[0]), reversed(ends[1]), strict=True) for pad in pair]
    return functional.pad(x, both, value=value) if any(both) else x


def _max_pool(node: Node) -> Kernel:
    """[N, C, …] → maxima [N, C, …] and, where somebody reads them, their positions in the flattened input."""
    seen, rows_first = _read_windows(node), not node.attributes.integer("storage_order", 0)
    rank = len(seen.kernel)

    def pool(x: Tensor) -> Tensor:
        wide = x if x.is_floating_point() else x.to(torch.float64)
        if seen.is_simple(x):
            y = _MAX[rank](wide, seen.kernel, seen.stride, seen.pads(x)[0], seen.dilation)
        else:
            y = _MAX[rank](_pad(wide, seen.reach(x), -math.inf), seen.kernel, seen.stride, 0, seen.dilation)
        return y.to(x.dtype)

    def pool_with_indices(x: Tensor) -> tuple[Tensor, Tensor]:
        wide, ends = x if x.is_floating_point() else x.to(torch.float64), seen.reach(x)
        padded = _pad(wide, ends, -math.inf)
        y, found = _MAX_WITH_INDICES[rank](padded, seen.kernel, seen.stride, (0,) * rank, seen.dilation)
        places = _unravel(found, padded.shape[2:])
        inside = [place - first for place, first in zip(places, ends[0], strict=True)]
        return y.to(x.dtype), _ravel(inside, x.shape, rows_first=rows_first)

    return pool_with_indices if any(node.outputs[1:]) else pool


def _unravel(flat: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """Return the position along each axis of flat positions in a plane."""
    places = []
    for size in reversed(sizes):
        places.append(flat % size)
        flat = torch.div(flat, size, rounding_mode="floor")
    return places[::-1]


def _ravel(places: Sequence[Tensor], shape: Sequence[int], *, rows_first: bool) -> Tensor:
    """Return flat positions in a whole tensor [N, C, …] of positions in each of its planes."""
    sizes, order = shape[2:], range(len(places))
    flat = torch.zeros_like(places[0])
    for axis in order if rows_first else reversed(order):
        flat = flat * sizes[axis] + places[axis]
    planes = torch.arange(shape[0] * shape[1], device=flat.device).reshape(shape[0], shape[1], *[1] * len(places))
    return flat + planes * math.prod(sizes)


def _average_pool(node: Node) -> Kernel:
    """[N, C, …] → means [N, C, …]; padding counts where ``count_include_pad`` says so."""
    seen, counts_pads = _read_windows(node), bool(node.attributes.integer("count_include_pad", 0))
    rank, plain = len(seen.kernel), set(seen.dilation) <= {1}

    def pool(x: Tensor) -> Tensor:
        if plain and seen.is_simple(x):
            return _AVERAGE[rank](x, seen.kernel, seen.stride, seen.pads(x)[0], count_include_pad=counts_pads)
        ends, axes = seen.reach(x), tuple(range(-rank, 0))
        sums = windows(_pad(x, ends, 0), seen.kernel, seen.stride, seen.dilation).sum(axes)
        counted = torch.ones_like(x[:1, :1])
        if counts_pads:
            stated = seen.pads(x)
            counted = _pad(counted, stated, 1)
            ends = tuple(0 for _ in ends[0]), tuple(end - last for end, last in zip(ends[1], stated[1], strict=True))
        counts = windows(_pad(counted, ends, 0), seen.kernel, seen.stride, seen.dilation).sum(axes)
        return torch.div(sums, counts)

    return pool


def _lp_pool(node: Node) -> Kernel:
    """[N, C, …] → ‖window‖ₚ [N, C, …]."""
    seen, order = _read_windows(node), node.attributes.integer("p", 2)
    axes = tuple(range(-len(seen.kernel), 0))

    def pool(x: Tensor) -> Tensor:
        views = windows(_pad(x, seen.reach(x), 0), seen.kernel, seen.stride, seen.dilation)
        norms: Tensor = torch.linalg.vector_norm(views, order, axes)
        return norms

    return pool


def _planes(x: Tensor) -> tuple[int, ...]:
    return tuple(range(2, x.dim()))


def _global_lp_pool(node: Node) -> Kernel:
    order = node.attributes.integer("p", 2)
    return lambda x: torch.linalg.vector_norm(x, order, _planes(x), keepdim=True)


def _max_unpool(node: Node) -> Kernel:
    """Maxima and their flat positions → a tensor of the size before the pooling, zero elsewhere."""
    kernel = node.attributes.integers("kernel_shape") or ()
    stride = node.attributes.integers("strides") or (1,) * len(kernel)
    pads = node.attributes.integers("pads") or (0,) * (2 * len(kernel))

    def unpool(x: Tensor, indices: Tensor, shape: Tensor | None = None) -> Tensor:
        sizes = [
            (length - 1) * step - pads[axis] - pads[axis + len(kernel)] + width
            for axis, (length, step, width) in enumerate(zip(x.shape[2:], stride, kernel, strict=True))
        ]
        flat = x.new_zeros(math.prod([*x.shape[:2], *sizes])).scatter(0, indices.reshape(-1), x.reshape(-1))
        y = flat.reshape(*x.shape[:2], *sizes)
        if shape is None:
            return y
        larger = integers(shape)[2:]
        return _pad(y, ((0,) * len(sizes), tuple(new - old for new, old in zip(larger, sizes, strict=True))), 0)

    return unpool


OPERATORS: dict[str, Factory] = {
    "AveragePool": _average_pool,
    "GlobalAveragePool": lambda _node: lambda x: torch.mean(x, _planes(x), keepdim=True),
    "GlobalLpPool": _global_lp_pool,
    "GlobalMaxPool": lambda _node: lambda x: torch.amax(x, _planes(x), keepdim=True),
    "LpPool": _lp_pool,
    "MaxPool": _max_pool,
    "MaxUnpool": _max_unpool,
}
