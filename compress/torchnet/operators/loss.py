"""Losses that an exported training graph may contain."""

import torch
from torch import Tensor
from torch.nn import functional

from compress.torchnet.operators import Factory, Kernel, Node

# No class has this number: what nll_loss compares with where the node ignores none.
_NO_CLASS = -(2**31)


def _negative_log_likelihood(node: Node) -> Kernel:
    reduction = node.attributes.text("reduction", "mean")
    ignored = node.attributes.integer("ignore_index", _NO_CLASS)

    def loss(scores: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        return functional.nll_loss(scores, target.to(torch.int64), weight, ignore_index=ignored, reduction=reduction)

    return loss


def _softmax_cross_entropy(node: Node) -> Kernel:
    loss = _negative_log_likelihood(node)

    def cross_entropy(scores: Tensor, labels: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
        logarithms = functional.log_softmax(scores, 1)
        return loss(logarithms, labels, weights), logarithms

    return cross_entropy


OPERATORS: dict[str, Factory] = {
    "NegativeLogLikelihoodLoss": _negative_log_likelihood,
    "SoftmaxCrossEntropyLoss": _softmax_cross_entropy,
}
