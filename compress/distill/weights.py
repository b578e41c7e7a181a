"""Weights of a module as plain tensors by name: copies, moving averages, and back."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Weights = dict[str, Tensor]


def copy_weights(module: nn.Module) -> Weights:
    """Return copies of all parameters and persistent buffers (what a state dict holds)."""
    return {name: tensor.detach().clone() for name, tensor in _tensors(module).items()}


def set_weights(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Write values into parameters and persistent buffers, in place."""
    with torch.no_grad():
        for name, tensor in _tensors(module).items():
            tensor.copy_(weights[name])


@dataclass(slots=True)
class MovingAverage:
    """An exponential moving average of parameters and of running statistics.

    Source: Tarvainen and Valpola, Mean teachers (2017), section 2; the decay of the first steps, (1 + t) / (10 + t),
    keeps the weights of the start from staying in the average.
    """

    decay: float
    weights: Weights

    def update(self, module: nn.Module, step: int) -> None:
        """Take in the weights after the optimizer's step number ``step`` (from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step)) if self.decay else 0.0
        with torch.no_grad():
            for name, tensor in _tensors(module).items():
                if tensor.is_floating_point():
                    self.weights[name].lerp_(tensor, 1.0 - decay)
                else:
                    self.weights[name].copy_(tensor)


def _tensors(module: nn.Module) -> Weights:
    return {name: value for name, value in module.state_dict(keep_vars=True).items() if isinstance(value, Tensor)}
