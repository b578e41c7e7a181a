"""Zeros of weights that a training may not fill."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from compress.model import Model

SPARSIFY = "sparsify"
"""Name of the step that makes weights sparse, as it stands in a model's history."""


def was_sparsified(model: Model) -> bool:
    """Return whether a step before made the weights sparse."""
    return any(record.step == SPARSIFY for record in model.history)


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
