"""Operators that can divide their output channels by a scale, or multiply their input channels with it."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

Array = NDArray[np.generic]


class NotScalableError(Exception):
    """Something that a value touches does not commute with a scale."""


def clip_bounds(node: ir.Node) -> tuple[float, float]:
    """Return the ends of a Clip with constant bounds; (−inf, −inf), which nothing accepts, for others."""
    ends = [-np.inf, np.inf]
    for index in (1, 2):
        if index < len(node.inputs) and node.inputs[index] is not None:
            bound = constant_of(node, index)
            if bound is None or bound.size != 1:
                return -np.inf, -np.inf
            ends[index - 1] = float(bound.reshape(()))
    return ends[0], ends[1]


def _conv_outputs(node: ir.Node) -> tuple[int, int]:
    _constant_bias(node, 2)
    return 1, _weight(node).shape[0]


def _transposed_outputs(node: ir.Node) -> tuple[int, int]:
    _constant_bias(node, 2)
    if node.attributes.get_int("group", 1) != 1:
        raise NotScalableError
    return 1, _weight(node).shape[1]


def _gemm_outputs(node: ir.Node) -> tuple[int, int]:
    _constant_bias(node, 2)
    weight = _weight(node)
    channels = weight.shape[0 if node.attributes.get_int("transB", 0) else 1]
    bias = constant_of(node, 2)
    if bias is not None and bias.size != channels:
        raise NotScalableError
    return 1, channels


def _matmul_outputs(node: ir.Node) -> tuple[int, int]:
    weight = _weight(node)
    if weight.ndim != 2:
        raise NotScalableError
    return rank_of(node.outputs[0]) - 1, weight.shape[1]


def _norm_outputs(node: ir.Node) -> tuple[int, int]:
    _constant_bias(node, 2)
    rank, weight = rank_of(node.outputs[0]), _weight(node)
    if node.attributes.get_int("axis", -1) not in (-1, rank - 1) or weight.ndim != 1:
        raise NotScalableError
    return rank - 1, weight.size


def _conv_inputs(node: ir.Node) -> tuple[int, int]:
    return 1, _weight(node).shape[1] * node.attributes.get_int("group", 1)


def _gemm_inputs(node: ir.Node) -> tuple[int, int]:
    if node.attributes.get_int("transA", 0):
        raise NotScalableError
    return 1, _weight(node).shape[1 if node.attributes.get_int("transB", 0) else 0]


def _matmul_inputs(node: ir.Node) -> tuple[int, int]:
    weight = _weight(node)
    if weight.ndim != 2 or node.inputs[0] is None:
        raise NotScalableError
    return rank_of(node.inputs[0]) - 1, weight.shape[0]


PRODUCERS: dict[str, Callable[[ir.Node], tuple[int, int]]] = {
    "Conv": _conv_outputs,
    "ConvTranspose": _transposed_outputs,
    "Gemm": _gemm_outputs,
    "LayerNormalization": _norm_outputs,
    "MatMul": _matmul_outputs,
}
"""Axis and number of the output channels of operators that can divide them."""

CONSUMERS: dict[str, Callable[[ir.Node], tuple[int, int]]] = {
    "Conv": _conv_inputs,
    "Gemm": _gemm_inputs,
    "MatMul": _matmul_inputs,
}
"""Axis and number of the input channels of operators that can multiply them back."""


def is_standard(node: ir.Node) -> bool:
    """Return whether a node's operator is ONNX's own."""
    return node.domain in ("", "ai.onnx")


def constant_of(node: ir.Node, index: int) -> Array | None:
    """Return the constant that a node reads at a position; None where it reads none."""
    value = node.inputs[index] if index < len(node.inputs) else None
    return None if value is None or value.const_value is None else value.const_value.numpy()


def constant_size(node: ir.Node, index: int) -> int:
    """Return how many elements the constant at a position has; 0 where there is none."""
    constant = constant_of(node, index)
    return 0 if constant is None else constant.size


def _weight(node: ir.Node) -> Array:
    weight = constant_of(node, 1)
    if weight is None or weight.dtype != np.float32:
        raise NotScalableError
    return weight


def _constant_bias(node: ir.Node, index: int) -> None:
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is not None and value.const_value is None:
        raise NotScalableError


def rank_of(value: ir.Value) -> int:
    """Return how many axes a value has.

    Raises:
        NotScalableError: That is not known.
    """
    if value.shape is None:
        raise NotScalableError
    return len(value.shape)
