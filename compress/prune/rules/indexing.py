"""Operators that take some positions of an axis."""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compress.prune.kept import Kept
from compress.prune.labels import Labels, NoRuleError
from compress.prune.rules import Operator


def relate_sliced(node: ir.Node, labels: Labels) -> None:
    """Relate positions with where they go, along axes that are sliced without steps."""
    x, y = node.inputs[0], node.outputs[0]
    ranges = _slices(node, labels)
    for axis, size in enumerate(labels.shape(x)):
        taken = ranges.get(axis, (0, size))
        if taken == (0, size):
            labels.equate_axes(x, axis, y, axis)
        elif taken is not None and not labels.is_dynamic(y, axis):
            labels.equate(labels.ids(x, axis)[slice(*taken)], labels.ids(y, axis))


def trim_slice(node: ir.Node, kept: Kept) -> None:
    """Set where slices of axes that were cut start and end."""
    x, labels = node.inputs[0], kept.classes.labels
    ranges = _slices(node, labels)
    new: dict[int, tuple[int, int]] = {}
    for axis, taken in ranges.items():
        mask = kept.mask(x, axis)
        if taken is not None and not mask.all() and taken != (0, mask.size):
            start = int(mask[: taken[0]].sum())
            new[axis] = (start, start + int(mask[slice(*taken)].sum()))
    if not new:
        return
    starts, ends, axes, _ = _slice_operands(node, labels)
    rank = len(kept.old_shape(x))
    pairs = [new.get(axis % rank, (start, end)) for start, end, axis in zip(starts, ends, axes, strict=True)]
    for index, values in ((1, [pair[0] for pair in pairs]), (2, [pair[1] for pair in pairs])):
        if "starts" in node.attributes:
            name = "starts" if index == 1 else "ends"
            node.attributes[name] = ir.AttrInt64s(name, values)
        else:
            kept.set_constant(node, index, np.array(values, np.int64))


def _slices(node: ir.Node, labels: Labels) -> dict[int, tuple[int, int] | None]:
    """Return the range of positions taken along each sliced axis, None where it has steps."""
    shape = labels.shape(node.inputs[0])
    ranges: dict[int, tuple[int, int] | None] = {}
    for start, end, axis, step in zip(*_slice_operands(node, labels), strict=True):
        size = shape[axis]
        ranges[axis % len(shape)] = slice(start, end).indices(size)[:2] if step == 1 else None
    return ranges


def _slice_operands(node: ir.Node, labels: Labels) -> tuple[list[int], list[int], list[int], list[int]]:
    if "starts" in node.attributes:
        starts, ends = (list(node.attributes[name].as_ints()) for name in ("starts", "ends"))
        axes = list(node.attributes.get_ints("axes", tuple(range(len(starts)))))
        return starts, ends, axes, [1] * len(starts)
    operands = [_integers(labels, value) for value in node.inputs[1:]]
    operands += [None] * (4 - len(operands))
    starts, ends = operands[0] or [], operands[1] or []
    axes = list(range(len(starts))) if operands[2] is None else operands[2]
    return starts, ends, axes, operands[3] or [1] * len(starts)


def _integers(labels: Labels, value: ir.Value | None) -> list[int] | None:
    return None if value is None else [int(each) for each in labels.constant(value).ravel()]


def relate_gathered(node: ir.Node, labels: Labels) -> None:
    """Relate the axes that nothing is looked up along, and constant positions with where they go."""
    x, index, y = node.inputs[0], node.inputs[1], node.outputs[0]
    rank = len(labels.shape(x))
    looked_up = node.attributes.get_int("axis", 0) % rank
    count = len(labels.shape(index))
    for axis in range(rank):
        if axis != looked_up:
            labels.equate_axes(x, axis, y, axis if axis < looked_up else axis + count - 1)
    positions = _constant_positions(labels, index, labels.shape(x)[looked_up])
    if positions is None:
        for axis in range(count):
            labels.equate_axes(index, axis, y, looked_up + axis)
    elif count == 1:
        labels.equate(labels.ids(x, looked_up)[positions], labels.ids(y, looked_up))


def _constant_positions(labels: Labels, index: ir.Value | None, size: int) -> NDArray[np.int64] | None:
    try:
        return labels.constant(index).astype(np.int64) % size
    except NoRuleError:
        return None


def trim_gather(node: ir.Node, kept: Kept) -> None:
    """Set the positions that are taken to where they are now."""
    x, index = node.inputs[0], node.inputs[1]
    axis = node.attributes.get_int("axis", 0)
    mask = kept.mask(x, axis)
    if mask.all():
        return
    positions = _constant_positions(kept.classes.labels, index, mask.size)
    assert positions is not None  # noqa: S101 - only then the axis was related
    moved = np.cumsum(mask) - 1
    kept.set_constant(node, 1, moved[positions[mask[positions]]].astype(np.int64))


def relate_shape(node: ir.Node, labels: Labels) -> None:
    """Leave axes of fixed size free: who reads a size gets the old one (``compress.prune.shapes.restore_sizes``)."""
    if node.outputs[0].is_graph_output():
        raise NoRuleError
    x = node.inputs[0]
    for axis in range(len(labels.shape(x))):
        if x is not None and not labels.is_dynamic(x, axis):
            labels.ids(x, axis)


OPERATORS = {
    "Gather": Operator(relate_gathered, trim_gather),
    "Shape": Operator(relate_shape),
    "Slice": Operator(relate_sliced, trim_slice),
}
