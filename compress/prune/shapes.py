"""Vectors of sizes that nodes read: whether they can be set, and setting them."""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from compress.prune.concrete import Array
from compress.prune.kept import Kept
from compress.prune.labels import Labels, NoRuleError

_NOT_SET = "has a size that is computed with"


def can_reshape(node: ir.Node, labels: Labels) -> None:
    """Check that the sizes that Reshape reads are constant or depend on shapes alone.

    Raises:
        NoRuleError: They depend on what an input holds.
    """
    vector = node.inputs[1]
    if vector is None or not (vector.is_initializer() or vector.name in labels.concrete.values):
        raise NoRuleError


def can_expand(node: ir.Node, labels: Labels) -> None:
    """Pin the axes of what Expand or ConstantOfShape makes whose size is dynamic."""
    y = node.outputs[0]
    for axis in range(len(labels.shape(y))):
        if labels.is_dynamic(y, axis):
            labels.pin(labels.ids(y, axis), _NOT_SET)


def trim_sizes(node: ir.Node, index: int, kept: Kept) -> None:
    """Set the sizes that a node reads for those axes of its first output that were cut.

    1. A size of -1, and one of 0 (as in the input) where it still says the right thing, stays.
    2. A constant size is replaced, alone or as a piece of a Concat (:mod:`compress.prune.pieces`).
    3. The size of an axis that is cut and dynamic (heads merged with a batch) is scaled.
    """
    y, vector = node.outputs[0], node.inputs[index]
    old, new = kept.old_shape(y), kept.new_shape(y)
    if old == new or vector is None:
        return
    offset = len(old) - kept.old_shape(vector)[0]
    changed = [axis for axis in range(offset, len(old)) if old[axis] != new[axis]]
    sizes = {axis - offset: (old[axis], new[axis]) for axis in changed if _is_to_set(node, vector, axis, offset, kept)}
    concat = vector.producer()
    if not sizes:
        return
    if vector.is_initializer():
        kept.set_constant(node, index, _replaced(kept.constant(vector), sizes))
    elif concat is not None and concat.op_type == "Concat":
        _set_pieces(node, index, list(concat.inputs), sizes, kept)
    else:
        node.replace_input_with(index, _scaled(vector, sizes, node, kept))


def _is_to_set(node: ir.Node, vector: ir.Value, axis: int, offset: int, kept: Kept) -> bool:
    """Return whether the size given for an axis says anything else than what is right after the cut."""
    labels = kept.classes.labels
    entries = kept.constant(vector) if vector.is_initializer() else labels.concrete.values[vector.name or ""]
    if node.op_type != "Reshape" or entries[axis - offset] > 0:
        return True
    if entries[axis - offset] == -1:
        return False
    return kept.new_shape(node.inputs[0])[axis] != kept.new_shape(node.outputs[0])[axis]


def _replaced(entries: Array, sizes: Mapping[int, tuple[int, int]]) -> Array:
    changed = entries.astype(np.int64).copy()
    for place, (_, new) in sizes.items():
        changed[place] = new
    return changed


def _set_pieces(
    node: ir.Node, index: int, pieces: list[ir.Value | None], sizes: Mapping[int, tuple[int, int]], kept: Kept
) -> None:
    """Let a node read its sizes from a Concat of its own: others may read the old one."""
    starts = np.cumsum([0, *(kept.old_shape(piece)[0] for piece in pieces)]).tolist()
    own = ir.node("Concat", pieces, {"axis": 0}, name=kept.free_name(f"{node.name}.sizes"))
    own.outputs[0].name = own.name
    kept.graph.insert_before(node, own)
    for place, piece in enumerate(pieces):
        here = {axis - starts[place]: pair for axis, pair in sizes.items() if starts[place] <= axis < starts[place + 1]}
        if piece is not None and here:
            if piece.is_initializer():
                kept.set_constant(own, place, _replaced(kept.constant(piece), here))
            else:
                own.replace_input_with(place, _scaled(piece, here, own, kept))
    node.replace_input_with(index, own.outputs[0])


def _scaled(vector: ir.Value, sizes: Mapping[int, tuple[int, int]], before: ir.Node, kept: Kept) -> ir.Value:
    """Return sizes times what is left of them: first times the new one, so that the division leaves no rest."""
    length = kept.old_shape(vector)[0]
    for op, side in (("Mul", 1), ("Div", 0)):
        factors = np.array([sizes[place][side] if place in sizes else 1 for place in range(length)], np.int64)
        name = kept.free_name(f"{before.name}.{op}")
        step = ir.node(op, [vector, kept.add_constant(factors, f"{name}.factors")], name=name)
        step.outputs[0].name = name
        step.outputs[0].shape = ir.Shape([length])
        kept.graph.insert_before(before, step)
        vector = step.outputs[0]
    return vector


def _put_over(vector: ir.Value, sizes: Mapping[int, int], name: str, kept: Kept) -> ir.Node:
    """Return a node that replaces some entries of a vector."""
    length = kept.old_shape(vector)[0]
    replaced = np.isin(np.arange(length), list(sizes))
    entries = np.array([sizes.get(axis, 0) for axis in range(length)], np.int64)
    operands = [kept.add_constant(replaced, f"{name}.mask"), kept.add_constant(entries, f"{name}.given"), vector]
    where = ir.node("Where", operands, name=kept.free_name(name))
    where.outputs[0].name = where.name
    return where


def restore_sizes(node: ir.Node, kept: Kept) -> None:
    """Let those who read the sizes of a tensor that was cut compute with what they were before."""
    x, y = node.inputs[0], node.outputs[0]
    rank = len(kept.old_shape(x))
    start, end, _ = slice(node.attributes.get_int("start", 0), node.attributes.get_int("end", rank)).indices(rank)
    old, new = kept.old_shape(x)[start:end], kept.new_shape(x)[start:end]
    sizes = {axis: size for axis, size in enumerate(old) if size != new[axis]}
    readers = [use for use in y.uses() if not _selected(use.node, len(old), kept).isdisjoint(sizes)]
    if not sizes or not readers:
        return
    where = _put_over(y, sizes, f"{node.name}.before", kept)
    kept.graph.insert_after(node, where)
    for user, index in readers:
        user.replace_input_with(index, where.outputs[0])


def _selected(node: ir.Node, length: int, kept: Kept) -> set[int]:
    """Return which entries of a vector a node reads: some, where it takes constant positions."""
    everything = np.arange(length)
    operands = node.inputs[1:]
    if node.op_type not in ("Gather", "Slice") or not all(
        each is not None and each.is_initializer() for each in operands
    ):
        return set(everything.tolist())
    constants = [kept.constant(each).ravel() for each in operands]
    if node.op_type == "Gather":
        return set(everything[constants[0].astype(np.int64)].tolist())
    step = int(constants[3][0]) if len(constants) > 3 else 1
    return set(everything[slice(int(constants[0][0]), int(constants[1][0]), step)].tolist())
