"""What a kernel reads on the host: shapes and axes as Python numbers, and the types of ONNX as those of PyTorch."""

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor

from compress.torchnet.operators import Node, OperatorError

DTYPES: dict[int, torch.dtype] = {
    ir.DataType.FLOAT.value: torch.float32,
    ir.DataType.DOUBLE.value: torch.float64,
    ir.DataType.FLOAT16.value: torch.float16,
    ir.DataType.BFLOAT16.value: torch.bfloat16,
    ir.DataType.INT8.value: torch.int8,
    ir.DataType.INT16.value: torch.int16,
    ir.DataType.INT32.value: torch.int32,
    ir.DataType.INT64.value: torch.int64,
    ir.DataType.UINT8.value: torch.uint8,
    ir.DataType.UINT16.value: torch.uint16,
    ir.DataType.UINT32.value: torch.uint32,
    ir.DataType.UINT64.value: torch.uint64,
    ir.DataType.BOOL.value: torch.bool,
}
"""The element types that PyTorch computes with, by their number in ONNX."""


def torch_dtype(node: Node, number: int) -> torch.dtype:
    """Return PyTorch's type for an ONNX element type.

    Raises:
        OperatorError: Strings, complex numbers and types of fewer than 8 bits, or of 8 bits and floating.
    """
    if number in DTYPES:
        return DTYPES[number]
    raise OperatorError(
        f"{node.op_type} `{node.name}` makes {ir.DataType(number).name}, a type that cannot be trained in PyTorch",
        hint="training and distillation need it; quantization without training works",
    )


def integers(tensor: Tensor) -> list[int]:
    """Return the values of an integer tensor of any shape, flattened."""
    return list(_values(tensor))


def numbers(tensor: Tensor) -> list[float]:
    """Return the values of a tensor of any shape, flattened."""
    return list(_values(tensor))


def number(tensor: Tensor) -> float:
    """Return the value of a tensor of one element."""
    value: float = _values(tensor)[0]
    return value


def _values(tensor: Tensor) -> Sequence[Any]:
    """Return the values of a tensor; those that ``placement.remember`` has put beside it, without reading it again."""
    known: Sequence[Any] | None = getattr(tensor, "host", None)
    return tensor.reshape(-1).tolist() if known is None else known


def optional_integers(tensor: Tensor | None) -> list[int] | None:
    """Return the values of an integer tensor, or None for an absent or empty one."""
    return None if tensor is None or tensor.numel() == 0 else integers(tensor)


def axis_of(axis: int, rank: int) -> int:
    """Return an axis counted from the front."""
    return axis + rank if axis < 0 else axis


def on_host(tensor: Tensor) -> bool:
    """Return whether reading a tensor's values waits for no device."""
    return tensor.device.type == "cpu"


def wrapped(indices: Tensor, size: int) -> Tensor:
    """Return indices as int64, negative ones counted from the end of an axis of a size."""
    indices = indices.to(torch.int64)
    return torch.where(indices < 0, indices + size, indices)
