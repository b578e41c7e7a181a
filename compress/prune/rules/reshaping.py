"""Operators that give the same elements, in the same order, another shape; and those that only move axes."""

import onnx_ir as ir

from compress.prune.kept import Kept
from compress.prune.labels import Labels, NoRuleError, relate_regrouped
from compress.prune.rules import Operator
from compress.prune.shapes import can_reshape, trim_sizes


def relate_reshaped(node: ir.Node, labels: Labels) -> None:
    """Relate axes that hold the same elements; merged and split axes are choices."""
    x, y = node.inputs[0], node.outputs[0]
    inputs = [labels.ids(x, axis) for axis in range(len(labels.shape(x)))]
    outputs = [labels.ids(y, axis) for axis in range(len(labels.shape(y)))]
    if 0 in (*labels.shape(x), *labels.shape(y)):
        raise NoRuleError
    relate_regrouped(labels, inputs, outputs)
    if node.op_type == "Reshape":
        can_reshape(node, labels)


def trim_reshape(node: ir.Node, kept: Kept) -> None:
    """Set the sizes of axes that were cut."""
    trim_sizes(node, 1, kept)


def relate_transposed(node: ir.Node, labels: Labels) -> None:
    """Relate each axis with where it goes."""
    x, y = node.inputs[0], node.outputs[0]
    rank = len(labels.shape(x))
    order = node.attributes.get_ints("perm", tuple(reversed(range(rank))))
    for axis, source in enumerate(order):
        labels.equate_axes(x, source, y, axis)


def relate_depth_to_space(node: ir.Node, labels: Labels) -> None:
    """Relate [N, C·b·b, H, W] and [N, C, H·b, W·b] through [N, b, b, C, H, W] (or [N, C, b, b, H, W])."""
    _relate_depth(node, labels, node.inputs[0], node.outputs[0], node.attributes.get_string("mode", "DCR") == "CRD")


def relate_space_to_depth(node: ir.Node, labels: Labels) -> None:
    """Relate [N, C, H·b, W·b] and [N, b·b·C, H, W]."""
    _relate_depth(node, labels, node.outputs[0], node.inputs[0], crd=False)


def _relate_depth(node: ir.Node, labels: Labels, deep: ir.Value | None, wide: ir.Value | None, crd: bool) -> None:
    size = node.attributes["blocksize"].as_int()
    channels = labels.shape(deep)[1] // size**2
    labels.equate_axes(deep, 0, wide, 0)
    depth = [labels.fresh(count) for count in ((channels, size, size) if crd else (size, size, channels))]
    c, one, other = depth if crd else (depth[2], depth[0], depth[1])
    relate_regrouped(labels, [labels.ids(deep, 1)], depth)
    labels.equate(c, labels.ids(wide, 1))
    for axis, block in ((2, one), (3, other)):
        relate_regrouped(labels, [labels.ids(deep, axis), block], [labels.ids(wide, axis)])


OPERATORS = {
    "DepthToSpace": Operator(relate_depth_to_space),
    "Flatten": Operator(relate_reshaped),
    "Reshape": Operator(relate_reshaped, trim_reshape),
    "SpaceToDepth": Operator(relate_space_to_depth),
    "Squeeze": Operator(relate_reshaped),
    "Transpose": Operator(relate_transposed),
    "Unsqueeze": Operator(relate_reshaped),
}
