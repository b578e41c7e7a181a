"""Fake quantization: the values that a Q/DQ pair lets through, with gradients that training can use."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def fake_quantize(
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor | None,
    qmin: int,
    qmax: int,
    axis: int | None = None,
    *,
    block_size: int = 0,
) -> Tensor:
    """Return ``(clamp(round(x / scale) + zero_point, qmin, qmax) - zero_point) * scale``: x [...] → [...].

    The values are those of ONNX Runtime's QuantizeLinear and DequantizeLinear (division, halves to even). Gradients:
    straight through to ``x`` inside of the range and none outside; to ``scale`` and, where it is a float tensor, to
    ``zero_point`` as in LSQ and LSQ+. A float zero point is rounded to an integer first.

    Args:
        x: float32, float16 or bfloat16; computed in float32.
        scale: ``[]`` or ``[1]`` per tensor, ``[C]`` for size C at ``axis``, or x's rank with one element a block.
        zero_point: Shape of ``scale``, or None for 0.
        qmin: Smallest stored integer, -128 for int8.
        qmax: Largest stored integer.
        axis: Axis of ``scale``; None (or a scale of one element) per tensor.
        block_size: Elements of ``axis`` that share a scale; 0 where scales are per tensor or per axis.

    Source: S. Esser et al., "Learned Step Size Quantization", ICLR 2020, equation 3 (the bounds count as inside);
        Y. Bhalgat et al., "LSQ+", CVPRW 2020, equation 7.
    """
    scale = spread(scale, x, axis, block_size)
    zero = torch.zeros((), device=scale.device) if zero_point is None else spread(zero_point, x, axis, block_size)
    result: Tensor = _FakeQuantize.apply(x, scale, zero, qmin, qmax)  # type: ignore[no-untyped-call]
    return result


def spread(scale: Tensor, x: Tensor, axis: int | None, block_size: int = 0) -> Tensor:
    """Return scales (or zero points) in a shape that broadcasts to x.

    Per tensor ``[]`` or ``[1]`` → ``[]``; per axis ``[C]``, axis 1 of 4 → ``[1, C, 1, 1]``; blocks ``[D, C / 32]``,
    axis 1 → ``[D, C]``.
    """
    if block_size:
        assert axis is not None  # noqa: S101 - blocks lie along an axis
        return scale.repeat_interleave(block_size, dim=axis).narrow(axis, 0, x.shape[axis])
    if scale.dim() == 0:
        return scale
    if scale.numel() == 1:
        return scale.reshape(())
    assert axis is not None  # noqa: S101 - the caller says which axis a vector belongs to
    shape = [1] * x.dim()
    shape[axis] = -1
    return scale.reshape(shape)


class _FakeQuantize(torch.autograd.Function):
    """Scale and zero point broadcast to x; what the backward pass needs is kept only where something is trained."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, zero: Tensor, qmin: int, qmax: int) -> Tensor:
        ctx.bounds = qmin, qmax
        wide, zero = scale.float(), torch.round(zero.float())
        if (order := _dense_order(x, wide)) is not None and ctx.needs_input_grad[1]:
            ctx.save_for_backward(x, scale, zero)
            return _by_pieces(x.permute(order), wide, zero, ctx.bounds).permute(_inverse(order))
        steps = torch.div(x.float(), wide)
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
            ctx.save_for_backward(x, scale, zero)
            clamped = _clamp(steps, qmin - zero, qmax - zero, out=steps)
        elif ctx.needs_input_grad[0]:
            clamped = _clamp(steps, qmin - zero, qmax - zero)
            ctx.save_for_backward(clamped == steps)
        else:
            clamped = _clamp(steps, qmin - zero, qmax - zero, out=steps)
        return clamped.round_().mul_(wide).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if len(ctx.saved_tensors) == 1:
            return gradient * ctx.saved_tensors[0], None, None, None, None
        x, scale, zero = ctx.saved_tensors
        if (order := _dense_order(x, scale)) is not None:
            passed, *others = _gradients_by_pieces(
                x.permute(order), gradient.permute(order).contiguous(), scale, zero, ctx.bounds
            )
            return passed.permute(_inverse(order)), *others, None, None
        steps, wide = torch.div(x.float(), scale.float()), gradient.float()
        clamped = _clamp(steps, ctx.bounds[0] - zero, ctx.bounds[1] - zero)
        passed = wide * (clamped == steps)
        to_scale = to_zero = None
        if ctx.needs_input_grad[2]:
            to_zero = ((passed - wide) * scale.float()).sum_to_size(zero.shape)
        if ctx.needs_input_grad[1]:
            # Inside round(x / s) - x / s, outside the bound.
            to_scale = clamped.round_().mul_(wide).sub_(steps.mul_(passed)).sum_to_size(scale.shape).to(scale.dtype)
        return passed.to(x.dtype), to_scale, to_zero, None, None


def _clamp(steps: Tensor, low: Tensor, high: Tensor, out: Tensor | None = None) -> Tensor:
    """Return steps between bounds, in ``out`` where given; ``torch.clamp`` between tensors is three times slower."""
    clamped = torch.maximum(steps, low, out=out)
    return torch.minimum(clamped, high, out=clamped)


_PIECE = 1 << 16
"""Elements at a time: what is computed of them stays in a core's cache, which is five times faster than in memory."""


def _dense_order(x: Tensor, scale: Tensor) -> list[int] | None:
    """Return the axes in the order in which a float32 tensor lies in memory, None where pieces bring nothing."""
    if x.device.type != "cpu" or x.dtype != torch.float32 or scale.dim() or scale.dtype != torch.float32:
        return None
    order = sorted(range(x.dim()), key=x.stride, reverse=True)
    return order if x.numel() > _PIECE and x.permute(order).is_contiguous() else None


def _inverse(order: list[int]) -> list[int]:
    return sorted(range(len(order)), key=order.__getitem__)


def _pieces(x: Tensor) -> Iterable[Tensor]:
    pieces: tuple[Tensor, ...] = torch.split(x.view(-1), _PIECE)
    return pieces


def _by_pieces(x: Tensor, scale: Tensor, zero: Tensor, bounds: tuple[int, int]) -> Tensor:
    result = torch.empty_like(x)
    low, high = (float(bound - zero) for bound in bounds)
    for piece, out in zip(_pieces(x), _pieces(result), strict=True):
        torch.div(piece, scale, out=out).clamp_(low, high).round_().mul_(scale)
    return result


def _gradients_by_pieces(
    x: Tensor, gradient: Tensor, scale: Tensor, zero: Tensor, bounds: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, scale and zero point; what the whole tensor would give, summed in another order."""
    low, high = (float(bound - zero) for bound in bounds)
    # The bounds of `hardtanh` do not count as inside: it is given the next numbers.
    outside = low - 2**-23 * max(1.0, abs(low)), high + 2**-23 * max(1.0, abs(high))
    passed = torch.empty_like(x)
    to_scale, to_zero = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    steps, clamped = torch.empty(_PIECE), torch.empty(_PIECE)
    for piece, wide, out in zip(_pieces(x), _pieces(gradient), _pieces(passed), strict=True):
        own, inside = steps[: len(piece)], clamped[: len(piece)]
        torch.clamp(torch.div(piece, scale, out=own), low, high, out=inside)
        torch.ops.aten.hardtanh_backward.grad_input(wide, own, *outside, grad_input=out)
        to_zero += out.sum() - wide.sum()
        to_scale += torch.dot(inside.round_(), wide) - torch.dot(own, out)
    return passed, to_scale.to(scale.dtype), (to_zero * scale).to(zero.dtype)
