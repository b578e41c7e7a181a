"""Quantization: a scale for each position of an axis follows that axis."""

import onnx_ir as ir

from compress.prune.labels import Labels, NoRuleError
from compress.prune.rules import Operator


def relate_quantized(node: ir.Node, labels: Labels) -> None:
    """Relate x and y, and the scales and zero points [n] with their axis; scales of blocks are not analysed."""
    x, y = node.inputs[0], node.outputs[0]
    if any(len(labels.shape(value)) > 1 for value in node.inputs[1:] if value is not None):
        raise NoRuleError
    for axis in range(len(labels.shape(x))):
        labels.equate_axes(x, axis, y, axis)
    for value in node.inputs[1:]:
        if value is not None and labels.shape(value) not in ((), (1,)):
            labels.equate_axes(value, 0, x, node.attributes.get_int("axis", 1))


OPERATORS = dict.fromkeys(("DequantizeLinear", "QuantizeLinear"), Operator(relate_quantized))
