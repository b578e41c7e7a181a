"""Fake quantization: the values that a Q/DQ pair lets through, with gradients that training can use."""

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
