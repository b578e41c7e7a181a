"""Comparisons, boolean and bitwise logic, and choice between two tensors."""

from typing import cast

import torch
from torch import Tensor

from compress.torchnet.operators import Factory, Kernel, Node
from compress.torchnet.operators.elementwise import plain


def _is_infinite(node: Node) -> Kernel:
    negative = bool(node.attributes.integer("detect_negative", 1))
    positive = bool(node.attributes.integer("detect_positive", 1))
    if negative and positive:
        return cast("Kernel", torch.isinf)
    if positive:
        return cast("Kernel", torch.isposinf)
    return cast("Kernel", torch.isneginf) if negative else lambda x: torch.zeros_like(x, dtype=torch.bool)


def _shift_bits(node: Node) -> Kernel:
    left = node.attributes.text("direction") == "LEFT"
    return cast("Kernel", torch.bitwise_left_shift if left else torch.bitwise_right_shift)


def _where(condition: Tensor, when_true: Tensor, when_false: Tensor) -> Tensor:
    return torch.where(condition, when_true, when_false)


OPERATORS: dict[str, Factory] = {
    "And": plain(torch.logical_and),
    "BitShift": _shift_bits,
    "BitwiseAnd": plain(torch.bitwise_and),
    "BitwiseNot": plain(torch.bitwise_not),
    "BitwiseOr": plain(torch.bitwise_or),
    "BitwiseXor": plain(torch.bitwise_xor),
    "Equal": plain(torch.eq),
    "Greater": plain(torch.gt),
    "GreaterOrEqual": plain(torch.ge),
    "IsInf": _is_infinite,
    "IsNaN": plain(torch.isnan),
    "Less": plain(torch.lt),
    "LessOrEqual": plain(torch.le),
    "Not": plain(torch.logical_not),
    "Or": plain(torch.logical_or),
    "Where": plain(_where),
    "Xor": plain(torch.logical_xor),
}
