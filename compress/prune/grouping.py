"""Groups of classes that are cut from the same initializers in the same way."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compress.prune.blocks import block_constraints
from compress.prune.groups import Family, Group, Protected, Slice
from compress.prune.labels import WINDOW, Ids
from compress.prune.solver import Classes


@dataclass(frozen=True, slots=True)
class Members:
    """A group and, for each of its units, the class of labels that it is."""

    group: Group
    classes: Ids


@dataclass(frozen=True, slots=True)
class Held:
    """An axis of an initializer that holds units.

    Attributes:
        value: The initializer.
        axis: Of it.
        classes: What each position belongs to, [n].
        cut: Whether that class can be cut, [n].
    """

    value: ir.Value
    axis: int
    classes: Ids
    cut: NDArray[np.bool_]


def make_groups(graph: ir.Graph, classes: Classes) -> tuple[Members, ...]:
    """Return the groups of a graph, in the order in which their units first appear.

    Units that are cut from the same axes of the same initializers, in as many places, are one group. Where operators
    want the same number cut from several runs of channels and the units cannot be ordered so that this can be said,
    channels at the same place of each run become one unit; ``classes`` is changed then.
    """
    while True:
        held = tuple(_held(graph, classes))
        numbers = _number_groups(held, classes)
        ordered = _order_units(graph, numbers, classes)
        blocks = block_constraints(classes, numbers, ordered)
        if blocks is not None:
            break
    groups = tuple(_make_members(held, found, numbers, classes, blocks) for found in ordered)
    return tuple(members for members in groups if members.group.units > members.group.blocks)


def _held(graph: ir.Graph, classes: Classes) -> Iterator[Held]:
    for value in graph.initializers.values():
        rank = 0 if value.const_value is None else len(value.const_value.shape)
        for axis in range(rank):
            ids = classes.labels.known(value, axis)
            if ids is not None:
                cut = ~classes.stay(ids)
                if cut.any():
                    yield Held(value, axis, classes.of[ids], cut)


def _number_groups(held: tuple[Held, ...], classes: Classes) -> Ids:
    """Return the number of the group of each class, -1 for those that hold nothing."""
    random = np.random.default_rng(0)
    signatures = np.zeros(len(classes.stays), np.uint64)
    for each in held:
        found, counts = np.unique(each.classes[each.cut], return_counts=True)
        odd = np.uint64(random.integers(1 << 62) * 2 + 1)
        # Squares keep the sum of two places apart from that of two others.
        signatures[found] += odd * (counts.astype(np.uint64) ** np.uint64(2) + np.uint64(1))
    _, numbers = np.unique(signatures, return_inverse=True)
    numbers = numbers.astype(np.int64)
    numbers[(signatures == 0) | classes.stays] = -1
    return numbers


@dataclass(frozen=True, slots=True)
class Ordered:
    """A group's number and name, and its classes in order."""

    number: int
    name: str
    classes: Ids


def _order_units(graph: ir.Graph, numbers: Ids, classes: Classes) -> list[Ordered]:
    """Return the groups in the order of the first values that have their units, units in the order they have there."""
    waiting = set(np.unique(numbers[numbers >= 0]).tolist())
    found: list[Ordered] = []
    names: set[str] = set()
    for value in _values(graph, classes):
        if not waiting:
            break
        for axis in range(len(classes.labels.concrete.shapes.get(value.name or "", ()))):
            ids = classes.labels.known(value, axis)
            if ids is None:
                continue
            of = classes.of[ids]
            # Groups keep the order of their first position.
            for number in dict.fromkeys(numbers[of].tolist()):
                if number in waiting:
                    waiting.discard(number)
                    here = of[numbers[of] == number]
                    everywhere = np.concatenate([here, np.flatnonzero(numbers == number)])
                    _, first = np.unique(everywhere, return_index=True)
                    found.append(Ordered(number, _unique(str(value.name), names), everywhere[np.sort(first)]))
    return found


def _values(graph: ir.Graph, classes: Classes) -> Iterator[ir.Value]:
    """Yield what is computed from inputs first, then what is made of constants alone."""
    made = [value for node in graph for value in node.outputs if value.name]
    constant = classes.labels.concrete.values
    yield from (value for value in made if value.name not in constant)
    yield from (value for value in made if value.name in constant)
    yield from graph.initializers.values()


def _unique(name: str, taken: set[str]) -> str:
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name}#{number}"
    taken.add(candidate)
    return candidate


def _make_members(
    held: tuple[Held, ...], found: Ordered, numbers: Ids, classes: Classes, blocks: dict[int, Ids]
) -> Members:
    parts = blocks.get(found.number)
    of = found.classes
    if parts is not None:
        of = of[np.argsort(parts, kind="stable")]
    unit = np.full(len(numbers), -1, np.int64)
    unit[of] = np.arange(of.size)
    slices = tuple(_slices(held, unit, classes))
    group = Group(
        name=found.name,
        family=_family(slices, held, of, classes),
        units=of.size,
        blocks=1 if parts is None else int(parts.max()) + 1,
        slices=slices,
        normalized=_is_marked("normalized", of, classes),
    )
    return Members(group, of)


def _slices(held: tuple[Held, ...], unit: Ids, classes: Classes) -> Iterator[Slice]:
    units = int(unit.max()) + 1
    for each in held:
        owner = unit[each.classes]
        places = np.flatnonzero(owner >= 0)
        if places.size:
            order = np.argsort(owner[places], kind="stable")
            role = "input" if _reads(each.value, each.axis, classes) else "output"
            yield Slice(str(each.value.name), each.axis, places[order].reshape(units, -1), role)  # type: ignore[arg-type]


def _reads(value: ir.Value, axis: int, classes: Classes) -> bool:
    """Return whether products are summed along an axis, where the value is used or what is made of it."""
    if (str(value.name), axis) in classes.labels.reads:
        return True
    for node, index in value.uses():
        if index == 0 and node.op_type in ("DequantizeLinear", "QuantizeLinear", "Cast", "Identity", "FakeQuantize"):
            if _reads(node.outputs[0], axis, classes):
                return True
        elif node.op_type == "Transpose":
            rank = len(classes.labels.shape(value))
            order = list(node.attributes.get_ints("perm", tuple(reversed(range(rank)))))
            if _reads(node.outputs[0], order.index(axis), classes):
                return True
    return False


def _is_marked(kind: str, of: Ids, classes: Classes) -> bool:
    marks = classes.labels.marks.get(kind)  # type: ignore[call-overload]
    return bool(marks) and bool(np.isin(of, classes.of[np.concatenate(marks)]).any())


def _family(slices: tuple[Slice, ...], held: tuple[Held, ...], of: Ids, classes: Classes) -> Family:
    """Return what makes most of the weights that make the units."""
    if _is_marked("recurrent", of, classes):
        return "recurrent"
    if _is_marked("heads", of, classes):
        return "heads"
    made = {(each.initializer, each.axis) for each in slices if each.role == "output"}
    sizes = {"Conv": 0, "MatMul": 0}
    for each in held:
        if (str(each.value.name), each.axis) in made and each.value.const_value is not None:
            kind = "Conv" if _feeds_convolution(each.value) else "MatMul"
            if len(each.value.const_value.shape) > 1:
                sizes[kind] += prod(each.value.const_value.shape.numpy())
    if sizes["Conv"] == sizes["MatMul"] == 0:
        columns = [classes.of[ragged.columns.ravel()] for ragged in classes.labels.ragged]
        return "convolution" if columns and np.isin(of, np.concatenate(columns)).any() else "matmul"
    return "convolution" if sizes["Conv"] >= sizes["MatMul"] else "matmul"


def _feeds_convolution(value: ir.Value) -> bool:
    for node, _ in value.uses():
        if node.op_type in ("Conv", "ConvTranspose"):
            return True
        if node.op_type == "DequantizeLinear" and _feeds_convolution(node.outputs[0]):
            return True
    return False


def protect(graph: ir.Graph, classes: Classes, members: tuple[Members, ...]) -> tuple[Protected, ...]:
    """Return the axes of weights that belong to no group, and why: not the windows of kernels, not single positions."""
    grouped = {(each.initializer, each.axis) for member in members for each in member.group.slices}
    found: list[Protected] = []
    for value in graph.initializers.values():
        constant = value.const_value
        if (
            constant is None
            or not (constant.dtype.is_floating_point() or constant.dtype.is_signed())
            or not value.uses()
        ):
            continue
        for axis, size in enumerate(constant.shape.numpy()):
            ids = classes.labels.known(value, axis)
            if (str(value.name), axis) in grouped or ids is None or size == 1:
                continue
            reason = _reason(ids, classes)
            if reason != WINDOW and (len(constant.shape) > 1 or "whole" not in reason):
                found.append(Protected(str(value.name), axis, reason))
    return tuple(found)


def _reason(ids: Ids, classes: Classes) -> str:
    return classes.reason(ids) if classes.stay(ids).any() else "has one unit only, or one in each block"
