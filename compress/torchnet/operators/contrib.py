"""Operators of ONNX Runtime's own domain that its optimizer and the exporters of Hugging Face write."""

import torch
from torch import Tensor
from torch.nn import functional

from compress.torchnet.operators import Factory, Kernel, Node


def _fused_matmul(node: Node) -> Kernel:
    """α·A'·B', the last two axes transposed or not."""
    alpha = node.attributes.number("alpha", 1.0)
    transposed_a, transposed_b = bool(node.attributes.integer("transA", 0)), bool(node.attributes.integer("transB", 0))

    def multiply(a: Tensor, b: Tensor) -> Tensor:
        return torch.matmul(a.mT if transposed_a else a, b.mT if transposed_b else b) * alpha

    return multiply


def _gelu(_node: Node) -> Kernel:
    return functional.gelu


def _bias_gelu(_node: Node) -> Kernel:
    return lambda x, bias: functional.gelu(x + bias)


def _fast_gelu(_node: Node) -> Kernel:
    """X […] and a bias [D] where there is one → the approximation with the hyperbolic tangent."""

    def activate(x: Tensor, bias: Tensor | None = None) -> Tensor:
        return functional.gelu(x if bias is None else x + bias, approximate="tanh")

    return activate


def _quick_gelu(node: Node) -> Kernel:
    """X […] → x · σ(α x)."""
    alpha = node.attributes.number("alpha", 1.702)
    return lambda x: x * torch.sigmoid(alpha * x)


def _skip_layer_normalization(node: Node) -> Kernel:
    """[B, S, D], skip [B, S, D], scale, shift and bias [D] → normalised sum, mean, inverse deviation, sum."""
    epsilon = node.attributes.number("epsilon", 1e-12)

    def normalize(
        x: Tensor, skip: Tensor, scale: Tensor, shift: Tensor | None = None, bias: Tensor | None = None
    ) -> tuple[Tensor, None, None, Tensor]:
        total = x + skip if bias is None else x + skip + bias
        return functional.layer_norm(total, scale.shape, scale, shift, epsilon), None, None, total

    return normalize


def _skip_rms_normalization(node: Node) -> Kernel:
    """[B, S, D], skip [B, S, D], scale and bias [D] → normalised sum, mean, inverse deviation, sum."""
    epsilon = node.attributes.number("epsilon", 1e-5)

    def normalize(
        x: Tensor, skip: Tensor, scale: Tensor, bias: Tensor | None = None
    ) -> tuple[Tensor, None, None, Tensor]:
        total = x + skip if bias is None else x + skip + bias
        return functional.rms_norm(total, scale.shape, scale, epsilon), None, None, total

    return normalize


OPERATORS: dict[str, Factory] = {
    "com.microsoft::BiasGelu": _bias_gelu,
    "com.microsoft::FastGelu": _fast_gelu,
    "com.microsoft::FusedMatMul": _fused_matmul,
    "com.microsoft::Gelu": _gelu,
    "com.microsoft::QuickGelu": _quick_gelu,
    "com.microsoft::SkipLayerNormalization": _skip_layer_normalization,
    "com.microsoft::SkipSimplifiedLayerNormalization": _skip_rms_normalization,
}
