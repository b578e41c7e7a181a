"""Normalisations: by channel, by sample, by group, by token."""

import onnx_ir as ir

from compress.prune.labels import Labels, NoRuleError
from compress.prune.rules import Operator


def relate_by_channel(node: ir.Node, labels: Labels) -> None:
    """Relate N and C of x [N, C, …] and y, and what is held for each channel [C]."""
    x, y = node.inputs[0], node.outputs[0]
    for axis in range(len(labels.shape(x))):
        if node.op_type == "BatchNormalization" or axis < 2:
            labels.equate_axes(x, axis, y, axis)
    for value in node.inputs[1:]:
        if value is not None:
            labels.equate_axes(value, 0, y, 1)


def relate_by_token(node: ir.Node, labels: Labels) -> None:
    """Relate x, y, scale and bias; the axes from ``axis`` on are normalised over."""
    x, y = node.inputs[0], node.outputs[0]
    rank = len(labels.shape(x))
    first = node.attributes.get_int("axis", -1) % rank
    for axis in range(rank):
        labels.equate_axes(x, axis, y, axis)
        if axis >= first:
            labels.mark("normalized", labels.ids(y, axis))
    for value in node.inputs[1:]:
        if value is not None:
            offset = rank - len(labels.shape(value))
            for axis, size in enumerate(labels.shape(value)):
                if size == labels.shape(y)[axis + offset]:
                    labels.equate_axes(value, axis, y, axis + offset)


def relate_by_group(node: ir.Node, labels: Labels) -> None:
    """Relate x [N, C, …], y, scale and bias [C]; of each group's channels the same number is cut."""
    x, y = node.inputs[0], node.outputs[0]
    channels = labels.ids(x, 1)
    if any(labels.shape(value) != channels.shape for value in node.inputs[1:3]):
        raise NoRuleError
    relate_by_channel(node, labels)
    labels.blocks.append(channels.reshape(node.attributes["num_groups"].as_int(), -1))
    labels.mark("normalized", labels.ids(y, 1))


def relate_by_norm(node: ir.Node, labels: Labels) -> None:
    """Relate x and y; one axis is divided by its norm."""
    x, y = node.inputs[0], node.outputs[0]
    for axis in range(len(labels.shape(x))):
        labels.equate_axes(x, axis, y, axis)
    labels.mark("normalized", labels.ids(x, node.attributes.get_int("axis", -1)))


OPERATORS = {
    **dict.fromkeys(("BatchNormalization", "InstanceNormalization"), Operator(relate_by_channel)),
    **dict.fromkeys(
        ("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"), Operator(relate_by_token)
    ),
    "GroupNormalization": Operator(relate_by_group),
    "LpNormalization": Operator(relate_by_norm),
}
