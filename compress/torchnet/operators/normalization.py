"""Normalisations."""

import torch
from torch import Tensor
from torch.nn import functional

from compress.torchnet.operators import Factory, Kernel, Node, OperatorError

_EPSILON = 1e-5


class _BatchNormalization:
    """[N, C, …] with scale, bias, mean and variance [C] → [N, C, …].

    While ``training`` is set the batch's own statistics normalise, and the running ones are updated in place.
    """

    def __init__(self, epsilon: float, momentum: float) -> None:
        self.training = False
        self._epsilon = epsilon
        # ONNX weighs the old value, PyTorch the new one.
        self._momentum = 1.0 - momentum

    def __call__(self, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        return functional.batch_norm(
            x, mean, variance, scale, bias, training=self.training, momentum=self._momentum, eps=self._epsilon
        )


def _batch_normalization(node: Node) -> Kernel:
    epsilon, momentum = node.attributes.number("epsilon", _EPSILON), node.attributes.number("momentum", 0.9)
    if node.opset < 9 and node.attributes.integer("spatial", 1) != 1:
        raise OperatorError(
            f"BatchNormalization `{node.name}` has spatial = 0, which is not understood here",
            hint="training and distillation need it; quantization without training works (leave those steps out)",
        )
    if node.opset < 7:
        node.attributes.skip("consumed_inputs", "is_test")
    if not node.attributes.integer("training_mode", 0):
        return _BatchNormalization(epsilon, momentum)

    def normalize(
        x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        axes = [0, *range(2, x.dim())]
        batch_variance, batch_mean = torch.var_mean(x, axes, correction=0)
        y = functional.batch_norm(x, None, None, scale, bias, training=True, eps=epsilon)
        running_mean = mean * momentum + batch_mean * (1 - momentum)
        return y, running_mean, variance * momentum + batch_variance * (1 - momentum)

    return normalize


def _layer_normalization(node: Node) -> Kernel:
    """[…, D…] with scale and bias [D…] → [… , D…]; mean and inverse deviation [… , 1…] where somebody reads them."""
    axis, epsilon = node.attributes.integer("axis", -1), node.attributes.number("epsilon", _EPSILON)
    node.attributes.skip("stash_type")

    def normalize(x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
        shape = x.shape[axis:]
        if scale.shape == shape and (bias is None or bias.shape == shape):
            return functional.layer_norm(x, shape, scale, bias, epsilon)
        y = functional.layer_norm(x, shape, None, None, epsilon) * scale
        return y if bias is None else y + bias

    def normalize_with_statistics(x: Tensor, scale: Tensor, bias: Tensor | None = None) -> tuple[Tensor, ...]:
        axes = list(range(axis % x.dim(), x.dim()))
        variance, mean = torch.var_mean(x.float(), axes, correction=0, keepdim=True)
        return normalize(x, scale, bias), mean, torch.rsqrt(variance + epsilon)

    return normalize_with_statistics if any(node.outputs[1:]) else normalize


def _rms_normalization(node: Node) -> Kernel:
    """[…, D…] with scale [D…] → […, D…]."""
    axis, epsilon = node.attributes.integer("axis", -1), node.attributes.number("epsilon", _EPSILON)
    node.attributes.skip("stash_type")

    def normalize(x: Tensor, scale: Tensor) -> Tensor:
        shape = x.shape[axis:]
        if scale.shape == shape:
            return functional.rms_norm(x, shape, scale, epsilon)
        return functional.rms_norm(x, shape, None, epsilon) * scale

    return normalize


def _instance_normalization(node: Node) -> Kernel:
    """[N, C, …] with scale and bias [C] → [N, C, …]."""
    epsilon = node.attributes.number("epsilon", _EPSILON)

    def normalize(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        # A group a channel: functional.instance_norm refuses a single spatial element.
        return functional.group_norm(x, x.shape[1], scale, bias, epsilon)

    return normalize


def _group_normalization(node: Node) -> Kernel:
    """[N, C, …] with scale and bias [C] (opset 21) or one a group (opset 18) → [N, C, …]."""
    groups, epsilon = node.attributes.integer("num_groups"), node.attributes.number("epsilon", _EPSILON)
    node.attributes.skip("stash_type")

    def normalize(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        if node.opset < 21:
            channels = x.shape[1] // groups
            scale, bias = scale.repeat_interleave(channels), bias.repeat_interleave(channels)
        return functional.group_norm(x, groups, scale, bias, epsilon)

    return normalize


def _local_response_normalization(node: Node) -> Kernel:
    """[N, C, …] → x / (k + α/n · Σ x² over n neighbouring channels)^β."""
    attributes = node.attributes
    alpha, beta = attributes.number("alpha", 1e-4), attributes.number("beta", 0.75)
    bias, size = attributes.number("bias", 1.0), attributes.integer("size")

    def normalize(x: Tensor) -> Tensor:
        squares = (x * x).movedim(1, -1)
        padded = functional.pad(squares, ((size - 1) // 2, size // 2))
        sums = padded.unfold(-1, size, 1).sum(-1).movedim(-1, 1)
        return x / (bias + alpha / size * sums) ** beta

    return normalize


def _lp_normalization(node: Node) -> Kernel:
    """X […] → x / ‖x‖ₚ over an axis; 0 where the norm is 0."""
    axis, order = node.attributes.integer("axis", -1), node.attributes.integer("p", 2)

    def normalize(x: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(x, order, axis, keepdim=True)
        return x / torch.where(norm == 0, 1.0, norm)

    return normalize


def _mean_variance_normalization(node: Node) -> Kernel:
    """X […] → (x - mean) / (deviation + 1e-9) over axes."""
    axes = node.attributes.integers("axes")

    def normalize(x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x, (0, 2, 3) if axes is None else axes, correction=0, keepdim=True)
        return (x - mean) / (torch.sqrt(variance) + 1e-9)

    return normalize


OPERATORS: dict[str, Factory] = {
    "BatchNormalization": _batch_normalization,
    "GroupNormalization": _group_normalization,
    "InstanceNormalization": _instance_normalization,
    "LRN": _local_response_normalization,
    "LayerNormalization": _layer_normalization,
    "LpNormalization": _lp_normalization,
    "MeanVarianceNormalization": _mean_variance_normalization,
    "RMSNormalization": _rms_normalization,
    # ONNX Runtime writes this one into ONNX's own domain.
    "SimplifiedLayerNormalization": _rms_normalization,
}
