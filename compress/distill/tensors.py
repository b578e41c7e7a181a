"""Tensors by name: from arrays, and which of them are not finite."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from compress.data.samples import Array

Tensors = Mapping[str, Tensor]
Teacher = Callable[[Tensors], Tensors]
"""Takes inputs by name and returns outputs by name: an ``nn.Module`` or a function."""


def to_tensors(arrays: Mapping[str, Array], device: torch.device) -> dict[str, Tensor]:
    """Return arrays as tensors on a device."""
    return {name: to_tensor(array).to(device, non_blocking=True) for name, array in arrays.items()}


def to_tensor(array: Array) -> Tensor:
    """Return an array as a tensor; PyTorch takes no bfloat16 from NumPy directly."""
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.astype(np.float32)).to(torch.bfloat16)
    return torch.from_numpy(np.require(array, requirements=["W", "C", "A"]))


def widen(tensors: Tensors) -> dict[str, Tensor]:
    """Return tensors with floats as float32, in which losses are computed."""
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def with_channels_last(tensors: Tensors) -> dict[str, Tensor]:
    """Return tensors with those of four dimensions [N, C, H, W] laid out as [N, H, W, C], which convolutions keep."""
    return {
        name: tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
        for name, tensor in tensors.items()
    }


def first_rows(tensors: Tensors, count: int) -> dict[str, Tensor]:
    """Return the first samples of tensors [batch, …]."""
    return {name: tensor[:count] for name, tensor in tensors.items()}


def find_not_finite(tensors: Tensors) -> str | None:
    """Return the name of the first tensor with a NaN or an infinity."""
    return next((name for name, tensor in tensors.items() if not is_finite(tensor)), None)


def is_finite(tensor: Tensor) -> bool:
    """Return whether every element is finite."""
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())
