"""Convolutions."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from compress.torchnet.operators import Factory, Kernel, Node
from compress.torchnet.windows import read_padding

_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}


def _conv(node: Node) -> Kernel:
    """[N, C, spatial…] with weights [D, C/group, kernel…] → [N, D, spatial…]."""
    groups = node.attributes.integer("group", 1)
    strides, dilations = node.attributes.integers("strides"), node.attributes.integers("dilations")
    padding = read_padding(node)
    node.attributes.skip("kernel_shape")

    def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        rank = weight.dim() - 2
        stride, dilation = strides or (1,) * rank, dilations or (1,) * rank
        x, pads = padding.apply(x, weight.shape[2:], stride, dilation)
        return _CONVOLUTIONS[rank](x, weight, bias, stride, pads, dilation, groups)

    return convolve


def _conv_transpose(node: Node) -> Kernel:
    """[N, C, spatial…] with weights [C, D/group, kernel…] → [N, D, spatial…]."""
    groups, padding = node.attributes.integer("group", 1), read_padding(node)
    strides, dilations = node.attributes.integers("strides"), node.attributes.integers("dilations")
    added, shape = node.attributes.integers("output_padding"), node.attributes.integers("output_shape")
    node.attributes.skip("kernel_shape")

    def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        rank = weight.dim() - 2
        stride, dilation = strides or (1,) * rank, dilations or (1,) * rank
        extra = added or (0,) * rank
        full = [
            (length - 1) * step + (width - 1) * gap + 1 + more
            for length, width, step, gap, more in zip(
                x.shape[2:], weight.shape[2:], stride, dilation, extra, strict=True
            )
        ]
        wanted = shape[-rank:] if shape else None
        if wanted is None and padding.rule.startswith("SAME"):
            wanted = tuple(length * step for length, step in zip(x.shape[2:], stride, strict=True))
        before, after = _crops(full, wanted, padding.rule) if wanted else padding.resolve((), weight.shape[2:], (), ())
        if before == after and not any(extra):
            return _TRANSPOSED[rank](x, weight, bias, stride, before, 0, groups, dilation)
        y = _TRANSPOSED[rank](x, weight, None, stride, 0, 0, groups, dilation)
        ends = [(-first, more - last) for first, last, more in zip(before, after, extra, strict=True)]
        y = functional.pad(y, [end for pair in reversed(ends) for end in pair])
        return y if bias is None else y + bias.reshape(-1, *[1] * rank)

    return convolve


def _crops(full: Sequence[int], wanted: Sequence[int], rule: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return what is cut before and after each axis, so that the wanted size remains."""
    totals = [have - want for have, want in zip(full, wanted, strict=True)]
    halves, rests = tuple(total // 2 for total in totals), tuple(total - total // 2 for total in totals)
    return (halves, rests) if rule == "SAME_UPPER" else (rests, halves)


def _deform_conv(node: Node) -> Kernel:
    """[N, C, H, W], weights [D, C/group, h, w], offsets [N, 2·G·h·w, H', W'] → [N, D, H', W'].

    Source: J. Dai et al., "Deformable Convolutional Networks", ICCV 2017; X. Zhu et al., v2, CVPR 2019 (the mask).
    """
    groups, offset_groups = node.attributes.integer("group", 1), node.attributes.integer("offset_group", 1)
    strides = node.attributes.integers("strides") or (1, 1)
    dilations = node.attributes.integers("dilations") or (1, 1)
    pads = node.attributes.integers("pads") or (0, 0, 0, 0)
    node.attributes.skip("kernel_shape")

    def convolve(
        x: Tensor, weight: Tensor, offset: Tensor, bias: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        batch, channels = x.shape[:2]
        taps, size = weight.shape[2:], offset.shape[-2:]
        moves = offset.reshape(batch * offset_groups, math.prod(taps), 2, *size)
        samples = _sample(x.reshape(batch * offset_groups, -1, *x.shape[2:]), moves, taps, (strides, dilations, pads))
        if mask is not None:
            samples = samples * mask.reshape(batch * offset_groups, 1, math.prod(taps), *size)
        columns = samples.reshape(batch, groups, channels // groups * math.prod(taps), math.prod(size))
        y = torch.matmul(weight.reshape(groups, weight.shape[0] // groups, -1), columns)
        y = y.reshape(batch, weight.shape[0], *size)
        return y if bias is None else y + bias.reshape(-1, 1, 1)

    return convolve


def _sample(
    x: Tensor, moves: Tensor, taps: Sequence[int], steps: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
) -> Tensor:
    """Return x at every moved tap of every window: [N, C, H, W], [N, K, 2, H', W'] → [N, C, K, H', W']."""
    strides, dilations, pads = steps
    height, width = moves.shape[-2:]
    tap = torch.cartesian_prod(
        torch.arange(taps[0], device=x.device) * dilations[0], torch.arange(taps[1], device=x.device) * dilations[1]
    )
    rows = torch.arange(height, device=x.device) * strides[0] - pads[0]
    columns = torch.arange(width, device=x.device) * strides[1] - pads[1]
    y = moves[:, :, 0] + tap[:, 0, None, None] + rows[:, None]
    z = moves[:, :, 1] + tap[:, 1, None, None] + columns
    grid = torch.stack(((2 * z + 1) / x.shape[3] - 1, (2 * y + 1) / x.shape[2] - 1), -1)
    flat = grid.reshape(len(x), -1, width, 2)
    found = functional.grid_sample(x, flat, mode="bilinear", padding_mode="zeros", align_corners=False)
    return found.reshape(*x.shape[:2], len(tap), height, width)


OPERATORS: dict[str, Factory] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DeformConv": _deform_conv,
}
