"""Zeros of weights that a training may not fill."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from compress.model import Model

SPARSIFY = "sparsify"
"""Name of the step that makes weights sparse, as it stands in a model's history."""


def sparsified_nodes(model: Model) -> frozenset[str]:
    """Return the names of the nodes whose weights a step before made sparse."""
    layers = [record.metrics.get("layers") for record in model.history if record.step == SPARSIFY]
    return frozenset(name for found in layers if isinstance(found, dict) for name in found)


def keep_zeros(net: nn.Module) -> Callable[[nn.Module], None]:
    """Return a projection that sets to zero again what is zero now in a module's matrices and kernels.

    Vectors (biases, gains) and what is zero altogether start from there by nature and are left alone. Call the
    projection after each step of the optimizer.
    """
    zeros: list[tuple[nn.Parameter, Tensor]] = [
        (parameter, zero)
        for parameter in net.parameters()
        if parameter.ndim > 1 and bool((zero := parameter.detach() == 0).any()) and not bool(zero.all())
    ]

    def project(_: nn.Module) -> None:
        with torch.no_grad():
            for index, (parameter, zero) in enumerate(zeros):
                there = zero.to(parameter.device)
                zeros[index] = (parameter, there)
                parameter.masked_fill_(there, 0.0)

    return project
