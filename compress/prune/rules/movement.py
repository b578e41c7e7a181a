"""Operators that put tensors together, take them apart and repeat them."""

import numpy as np
import onnx_ir as ir

from compress.prune.kept import Kept
from compress.prune.labels import Labels, NoRuleError
from compress.prune.rules import Operator
from compress.prune.shapes import can_expand, trim_sizes


def relate_concatenated(node: ir.Node, labels: Labels) -> None:
    """Relate the positions of every operand with where they go, and the other axes of all."""
    y = node.outputs[0]
    rank = len(labels.shape(y))
    joined = node.attributes["axis"].as_int() % rank
    for axis in range(rank):
        if axis == joined:
            parts = [labels.ids(value, axis) for value in node.inputs]
            labels.equate(np.concatenate(parts), labels.ids(y, axis))
        else:
            for value in node.inputs:
                labels.equate_axes(value, axis, y, axis)


def relate_split(node: ir.Node, labels: Labels) -> None:
    """Relate the positions of the operand with those of every result, and the other axes of all."""
    x = node.inputs[0]
    rank = len(labels.shape(x))
    divided = node.attributes.get_int("axis", 0) % rank
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        labels.constant(node.inputs[1])
    for axis in range(rank):
        if axis == divided:
            parts = [labels.ids(value, axis) for value in node.outputs]
            labels.equate(labels.ids(x, axis), np.concatenate(parts))
        else:
            for value in node.outputs:
                labels.equate_axes(x, axis, value, axis)


def trim_split(node: ir.Node, kept: Kept) -> None:
    """Set the sizes of the parts."""
    x = node.inputs[0]
    axis = node.attributes.get_int("axis", 0)
    if kept.mask(x, axis).all():
        return
    sizes = [int(kept.mask(value, axis).sum()) for value in node.outputs]
    if "split" in node.attributes:
        node.attributes["split"] = ir.AttrInt64s("split", sizes)
    else:
        node.attributes.pop("num_outputs", None)
        kept.set_constant(node, 1, np.array(sizes, np.int64))


def relate_expanded(node: ir.Node, labels: Labels) -> None:
    """Relate axes that are not repeated; a new axis can be cut where its size can be set."""
    x, y = node.inputs[0], node.outputs[0]
    shape, result = labels.shape(x), labels.shape(y)
    offset = len(result) - len(shape)
    for axis in range(len(result)):
        if axis >= offset and shape[axis - offset] == result[axis]:
            labels.equate_axes(x, axis - offset, y, axis)
        else:
            labels.ids(y, axis)
            if axis >= offset:
                labels.ids(x, axis - offset)
    can_expand(node, labels)


def relate_filled(node: ir.Node, labels: Labels) -> None:
    """Leave every axis free whose size can be set: all elements are equal."""
    for axis in range(len(labels.shape(node.outputs[0]))):
        labels.ids(node.outputs[0], axis)
    can_expand(node, labels)


def relate_tiled(node: ir.Node, labels: Labels) -> None:
    """Relate every repetition of a position with it."""
    x, y = node.inputs[0], node.outputs[0]
    for axis, (size, result) in enumerate(zip(labels.shape(x), labels.shape(y), strict=True)):
        if size > 1 and not labels.is_dynamic(y, axis):
            labels.equate(labels.ids(x, axis)[np.arange(result) % size], labels.ids(y, axis))


def relate_padded(node: ir.Node, labels: Labels) -> None:
    """Relate positions with where they go; what is padded with a constant can be cut by itself."""
    x, y = node.inputs[0], node.outputs[0]
    amounts = _pads(node, labels)
    constant_mode = node.attributes.get_string("mode", "constant") == "constant"
    rank = len(labels.shape(x))
    for axis in range(rank):
        before, after = amounts[axis], amounts[axis + rank]
        if before == after == 0:
            labels.equate_axes(x, axis, y, axis)
        elif before >= 0 and after >= 0 and constant_mode:
            labels.equate(labels.ids(x, axis), labels.ids(y, axis)[before : before + labels.shape(x)[axis]])


def trim_pads(node: ir.Node, kept: Kept) -> None:
    """Set how much is padded where padding was cut."""
    x, y = node.inputs[0], node.outputs[0]
    labels = kept.classes.labels
    amounts, rank = _pads(node, labels), len(kept.old_shape(x))
    new = list(amounts)
    for axis in range(rank):
        mask, before = kept.mask(y, axis), amounts[axis]
        if before > 0 or amounts[axis + rank] > 0:
            new[axis] = int(mask[:before].sum())
            new[axis + rank] = int(mask[before + kept.old_shape(x)[axis] :].sum())
    if new == amounts:
        return
    if "pads" in node.attributes:
        node.attributes["pads"] = ir.AttrInt64s("pads", new)
    else:
        kept.set_constant(node, 1, np.array(new, np.int64))


def _pads(node: ir.Node, labels: Labels) -> list[int]:
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        raise NoRuleError
    if "pads" in node.attributes:
        return list(node.attributes["pads"].as_ints())
    return [int(amount) for amount in labels.constant(node.inputs[1])]


def _trim_expanded(node: ir.Node, kept: Kept) -> None:
    trim_sizes(node, 1, kept)


def _trim_filled(node: ir.Node, kept: Kept) -> None:
    trim_sizes(node, 0, kept)


OPERATORS = {
    "Concat": Operator(relate_concatenated),
    "ConstantOfShape": Operator(relate_filled, _trim_filled),
    "Expand": Operator(relate_expanded, _trim_expanded),
    "Pad": Operator(relate_padded, trim_pads),
    "Split": Operator(relate_split, trim_split),
    "Tile": Operator(relate_tiled),
}
