"""Operators that compute each element from the elements at the same place, with broadcasting."""

import onnx_ir as ir

from compress.prune.labels import Labels
from compress.prune.rules import Operator


def relate_elementwise(node: ir.Node, labels: Labels) -> None:
    """Relate equal axes of all operands, aligned at the right; an axis that is broadcast stays as it is."""
    output = node.outputs[0]
    rank = len(labels.shape(output))
    for value in node.inputs:
        if value is not None:
            relate_aligned(labels, value, output, rank)


def relate_aligned(labels: Labels, value: ir.Value, output: ir.Value, ranks: int) -> None:
    """Relate the first ``ranks`` axes of an output with those of an operand that is broadcast to it."""
    shape, result = labels.shape(value), labels.shape(output)
    offset = len(result) - len(shape)
    for axis, size in enumerate(shape):
        if axis + offset < ranks and size == result[axis + offset]:
            labels.equate_axes(value, axis, output, axis + offset)


_UNARY = (
    *("Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "BitwiseNot", "Cast", "Ceil", "Celu", "Cos", "Cosh"),
    *("Dropout", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN"),
    *("LeakyRelu", "Log", "Mish", "Neg", "Not", "Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sign"),
    *("Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Swish", "Tan", "Tanh", "ThresholdedRelu"),
)
_SEVERAL = (
    *("Add", "And", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Clip", "Div", "Equal", "Greater"),
    *("GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mean", "Min", "Mod", "Mul", "Or", "PRelu", "Pow", "Sub", "Sum"),
    *("Where", "Xor"),
)


def _relate_first(node: ir.Node, labels: Labels) -> None:
    value = node.inputs[0]
    for axis in range(len(labels.shape(value))):
        labels.equate_axes(value, axis, node.outputs[0], axis)


def _relate_cast_like(node: ir.Node, labels: Labels) -> None:
    """Relate x and y; of the other operand only the type matters."""
    _relate_first(node, labels)
    for axis in range(len(labels.shape(node.inputs[1]))):
        labels.ids(node.inputs[1], axis)


OPERATORS = {
    **dict.fromkeys(_UNARY, Operator(_relate_first)),
    "CastLike": Operator(_relate_cast_like),
    **dict.fromkeys(_SEVERAL, Operator(relate_elementwise)),
}
