"""Operators that make a tensor from numbers."""

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from compress.torchnet.constants import to_tensor
from compress.torchnet.operators import Factory, Kernel, Node
from compress.torchnet.operators.elementwise import plain
from compress.torchnet.operators.reading import integers, number, torch_dtype


def _constant_of_shape(node: Node) -> Kernel:
    array = node.attributes.tensor("value")
    value = to_tensor(ir.Tensor(np.zeros(1, np.float32) if array is None else array)).reshape(())
    return lambda shape: value.expand(integers(shape))


def _range(start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    return torch.arange(number(start), number(limit), number(delta), dtype=start.dtype, device=start.device)


def _eye_like(node: Node) -> Kernel:
    diagonal = node.attributes.integer("k", 0)
    number = node.attributes.optional_integer("dtype")
    given = None if number is None else torch_dtype(node, number)

    def eye_like(like: Tensor) -> Tensor:
        rows, columns = (torch.arange(size, device=like.device) for size in like.shape)
        return (columns - rows.unsqueeze(1) == diagonal).to(given or like.dtype)

    return eye_like


OPERATORS: dict[str, Factory] = {
    "ConstantOfShape": _constant_of_shape,
    "EyeLike": _eye_like,
    "Range": plain(_range),
}
