"""Activation functions, softmax and dropout."""

from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from compress.torchnet.operators import Factory, Kernel, Node
from compress.torchnet.operators.elementwise import plain
from compress.torchnet.operators.random import generator
from compress.torchnet.operators.reading import axis_of


def _leaky_relu(node: Node) -> Kernel:
    alpha = node.attributes.number("alpha", 0.01)
    return lambda x: functional.leaky_relu(x, alpha)


def _prelu(x: Tensor, slope: Tensor) -> Tensor:
    a_slope_per_channel = slope.dim() == x.dim() - 1 and slope.numel() == slope.shape[0] == x.shape[1]
    if slope.numel() == 1 or (x.dim() > 1 and a_slope_per_channel):
        return functional.prelu(x, slope.reshape(-1))
    return torch.where(x < 0, x * slope, x)


def _elu(node: Node) -> Kernel:
    alpha = node.attributes.number("alpha", 1.0)
    return lambda x: functional.elu(x, alpha)


def _celu(node: Node) -> Kernel:
    alpha = node.attributes.number("alpha", 1.0)
    return lambda x: functional.celu(x, alpha)


def _selu(node: Node) -> Kernel:
    alpha = node.attributes.number("alpha", 1.6732632423543772)
    gamma = node.attributes.number("gamma", 1.0507009873554805)
    return lambda x: gamma * functional.elu(x, alpha)


def _thresholded_relu(node: Node) -> Kernel:
    alpha = node.attributes.number("alpha", 1.0)
    return lambda x: functional.threshold(x, alpha, 0.0)


def _hard_sigmoid(node: Node) -> Kernel:
    alpha, beta = node.attributes.number("alpha", 0.2), node.attributes.number("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-7 and beta == 0.5:
        return cast("Kernel", functional.hardsigmoid)
    return lambda x: functional.hardtanh(alpha * x + beta, 0.0, 1.0)


def _gelu(node: Node) -> Kernel:
    approximate = node.attributes.text("approximate", "none")
    return lambda x: functional.gelu(x, approximate=approximate)


def _swish(node: Node) -> Kernel:
    alpha = node.attributes.number("alpha", 1.0)
    if alpha == 1.0:
        return cast("Kernel", functional.silu)
    return lambda x: x * torch.sigmoid(alpha * x)


def _shrink(node: Node) -> Kernel:
    lambd, bias = node.attributes.number("lambd", 0.5), node.attributes.number("bias", 0.0)

    def shrink(x: Tensor) -> Tensor:
        return torch.where(x < -lambd, x + bias, torch.where(x > lambd, x - bias, torch.zeros_like(x)))

    return shrink


def _softplus(x: Tensor) -> Tensor:
    # Above the threshold PyTorch returns x itself: 40 makes that exact in double precision too.
    return functional.softplus(x, threshold=40.0)


def _hardmax(x: Tensor, axis: int) -> Tensor:
    return torch.zeros_like(x).scatter(axis, x.argmax(axis, keepdim=True), 1.0)


def _along_axis(kernel: Kernel) -> Factory:
    """Return the factory of a function along one axis; before opset 13 along all axes from one on."""

    def factory(node: Node) -> Kernel:
        if node.opset >= 13:
            axis = node.attributes.integer("axis", -1)
            return lambda x: kernel(x, axis)
        first = node.attributes.integer("axis", 1)

        def flattened(x: Tensor) -> Tensor:
            rows = x.shape[: axis_of(first, x.dim())].numel()
            return cast("Tensor", kernel(x.reshape(rows, -1), -1)).reshape(x.shape)

        return flattened

    return factory


def _dropout(node: Node) -> Kernel:
    seeded = generator(node)
    wants_mask = len(node.outputs) > 1 and node.outputs[1]
    fixed = node.attributes.number("ratio", 0.5)

    def dropout(x: Tensor, ratio: Tensor | None = None, training: Tensor | None = None) -> Tensor | tuple[Tensor, ...]:
        if training is None or not bool(training):
            return (x, torch.ones_like(x, dtype=torch.bool)) if wants_mask else x
        share = fixed if ratio is None else float(ratio)
        if share == 0.0:
            return x, torch.ones_like(x, dtype=torch.bool)
        mask = torch.rand(x.shape, generator=seeded).to(x.device) >= share
        return x * mask.to(x.dtype) / (1.0 - share), mask

    return dropout


OPERATORS: dict[str, Factory] = {
    "Celu": _celu,
    "Dropout": _dropout,
    "Elu": _elu,
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": plain(functional.hardswish),
    "Hardmax": _along_axis(_hardmax),
    "LeakyRelu": _leaky_relu,
    "LogSoftmax": _along_axis(torch.log_softmax),
    "Mish": plain(functional.mish),
    "PRelu": plain(_prelu),
    "Relu": plain(torch.relu),
    "Selu": _selu,
    "Shrink": _shrink,
    "Sigmoid": plain(torch.sigmoid),
    "Softmax": _along_axis(torch.softmax),
    "Softplus": plain(_softplus),
    "Softsign": plain(functional.softsign),
    "Swish": _swish,
    "Tanh": plain(torch.tanh),
    "ThresholdedRelu": _thresholded_relu,
}
