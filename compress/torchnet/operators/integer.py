"""Products of integers, as ONNX Runtime's QOperator format has them: they are run, not trained."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from compress.torchnet.operators import Factory, Kernel, Node
from compress.torchnet.operators.convolution import OPERATORS as CONVOLUTIONS
from compress.torchnet.operators.quantization import stored_range


def _shifted(x: Tensor, zero_point: Tensor | None, axis: int) -> Tensor:
    """Return integers less their zero point as float64, which holds every sum of 8-bit products exactly."""
    wide = x.to(torch.float64)
    if zero_point is None:
        return wide
    return wide - _along(zero_point.to(torch.float64), x.dim(), axis)


def _along(vector: Tensor, rank: int, axis: int) -> Tensor:
    """Return a vector in a shape that broadcasts along an axis; one of a single element as a scalar."""
    if vector.numel() == 1:
        return vector.reshape(())
    if vector.dim() != 1:
        return vector
    shape = [1] * rank
    shape[axis] = -1
    return vector.reshape(shape)


def _matmul_integer(_node: Node) -> Kernel:
    """A [M, K], B [K, N], zero points [] or [M] and [] or [N] → int32 [M, N]."""

    def multiply(a: Tensor, b: Tensor, a_zero: Tensor | None = None, b_zero: Tensor | None = None) -> Tensor:
        return torch.matmul(_shifted(a, a_zero, -2), _shifted(b, b_zero, -1)).to(torch.int32)

    return multiply


def _conv_integer(node: Node) -> Kernel:
    """X [N, C, …], W [D, C, …], zero points [] and [] or [D] → int32 [N, D, …]."""
    convolve = CONVOLUTIONS["Conv"](node)

    def compute(x: Tensor, weight: Tensor, x_zero: Tensor | None = None, w_zero: Tensor | None = None) -> Tensor:
        y: Tensor = convolve(_shifted(x, x_zero, 1), _shifted(weight, w_zero, 0), None)
        return y.to(torch.int32)

    return compute


def _requantizer(node: Node, zero_index: int) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Return the function that turns a product in real units into stored integers."""
    low, high, storage = stored_range(node, zero_index)

    def requantize(real: Tensor, scale: Tensor, zero_point: Tensor) -> Tensor:
        return (torch.round(real / scale) + zero_point.to(real.dtype)).clamp(low, high).to(storage)

    return requantize


def _qlinear_matmul(node: Node) -> Kernel:
    """A, its scale and zero point, B, its scale and zero point, the result's → stored integers [M, N]."""
    requantize = _requantizer(node, 7)

    def multiply(a: Tensor, a_scale: Tensor, a_zero: Tensor, b: Tensor, b_scale: Tensor, *rest: Tensor) -> Tensor:
        b_zero, scale, zero = rest
        product = torch.matmul(_shifted(a, a_zero, -2), _shifted(b, b_zero, -1))
        real = product * _along(a_scale.double(), a.dim(), -2) * _along(b_scale.double(), b.dim(), -1)
        return requantize(real, scale.double(), zero)

    return multiply


def _qlinear_conv(node: Node) -> Kernel:
    """X, its scale and zero point, W, its scale and zero point, the result's, int32 bias → stored integers."""
    convolve, requantize = CONVOLUTIONS["Conv"](node), _requantizer(node, 7)

    def compute(x: Tensor, x_scale: Tensor, x_zero: Tensor, w: Tensor, w_scale: Tensor, *rest: Any) -> Tensor:
        w_zero, scale, zero, bias = (*rest, None)[:4]
        y = convolve(_shifted(x, x_zero, 1), _shifted(w, w_zero, 0), None if bias is None else bias.double())
        real = y * x_scale.double() * _along(w_scale.double(), y.dim(), 1)
        return requantize(real, scale.double(), zero)

    return compute


OPERATORS: dict[str, Factory] = {
    "ConvInteger": _conv_integer,
    "MatMulInteger": _matmul_integer,
    "QLinearConv": _qlinear_conv,
    "QLinearMatMul": _qlinear_matmul,
}
