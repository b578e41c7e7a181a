"""What rules say about a graph: a label for every position of every axis, and how labels depend on each other."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compress.prune.concrete import Array, Concrete, Shape

Ids = NDArray[np.int64]
"""A label for each position of an axis, [n]."""

ONE_POSITION = "has one position only"
WINDOW = "is the window of a kernel"
OUTPUT = "is the model's output"
INPUT = "is the model's input"


class NoRuleError(Exception):
    """A rule cannot say anything about this node; all its axes stay as they are."""


@dataclass(frozen=True, slots=True)
class Choice:
    """An axis that others are merged into, or that is split into them; only one of them can be cut.

    Attributes:
        whole: Labels of the one axis, [P].
        parts: For each of the others, outermost first, its labels [n] and the coordinates on it of the P positions.
    """

    whole: Ids
    parts: tuple[tuple[Ids, Ids], ...]


@dataclass(frozen=True, slots=True)
class Ragged:
    """The kernel of a grouped convolution: rows of one block keep other columns than rows of another.

    Attributes:
        kernel: Name of the initializer.
        columns: Labels [blocks, n] of what the n columns (axis 1) are in each run of rows (axis 0).
    """

    kernel: str
    columns: Ids


@dataclass(slots=True)
class Labels:
    """Collects what the rules say; each axis of a value gets its labels when a rule first asks for them.

    Attributes:
        concrete: Shapes and known values.
        equal: Pairs of arrays of labels that are cut together, position by position.
        pinned: Labels that must stay, and why.
        choices: Merged and split axes.
        blocks: Labels [blocks, n]: of each row the same number is cut.
        ragged: Kernels of grouped convolutions.
        marks: Labels that a normalisation runs over, that count heads, that are hidden units.
        reads: Axes along which an operator sums products: there the tensor reads units.
    """

    concrete: Concrete
    equal: list[tuple[Ids, Ids]] = field(default_factory=list)
    pinned: list[tuple[Ids, str]] = field(default_factory=list)
    choices: list[Choice] = field(default_factory=list)
    blocks: list[Ids] = field(default_factory=list)
    ragged: list[Ragged] = field(default_factory=list)
    marks: dict[Literal["normalized", "heads", "recurrent"], list[Ids]] = field(default_factory=dict)
    reads: set[tuple[str, int]] = field(default_factory=set)
    size: int = 0
    _axes: dict[tuple[str, int], Ids] = field(default_factory=dict)
    _claimed: set[tuple[str, int]] = field(default_factory=set)

    def shape(self, value: ir.Value | None) -> Shape:
        """Return the shape of a value in the first run.

        Raises:
            NoRuleError: It is absent or no tensor.
        """
        found = None if value is None else self.concrete.shapes.get(value.name or "")
        if found is None:
            raise NoRuleError
        return found

    def is_dynamic(self, value: ir.Value, axis: int) -> bool:
        """Return whether the axis changes with the size of the inputs."""
        return self.concrete.dynamic[value.name or ""][axis]

    def constant(self, value: ir.Value | None) -> Array:
        """Return what an initializer holds.

        Raises:
            NoRuleError: It is none.
        """
        if value is None or not value.is_initializer() or value.const_value is None or value.is_graph_input():
            raise NoRuleError
        return value.const_value.numpy()

    def ids(self, value: ir.Value | None, axis: int) -> Ids:
        """Return the labels of an axis, and note that the rule at work answers for it."""
        shape = self.shape(value)
        assert value is not None  # noqa: S101 - it has a shape
        axis = axis % len(shape)
        self._claimed.add((str(value.name), axis))
        return self._labels(value, axis, shape[axis])

    def known(self, value: ir.Value, axis: int) -> Ids | None:
        """Return the labels of an axis, None where no rule asked for them."""
        return self._axes.get((str(value.name), axis))

    def fresh(self, count: int) -> Ids:
        """Return labels for positions that belong to no value."""
        self.size += count
        return np.arange(self.size - count, self.size)

    def equate(self, one: Ids, other: Ids) -> None:
        """Say that positions are cut together; both arrays have one label for each."""
        if one.shape != other.shape:
            raise NoRuleError
        self.equal.append((one.ravel(), other.ravel()))

    def equate_axes(self, one: ir.Value | None, axis: int, other: ir.Value | None, other_axis: int) -> None:
        """Say that two axes of equal length are cut together."""
        self.equate(self.ids(one, axis), self.ids(other, other_axis))

    def pin(self, ids: Ids, reason: str) -> None:
        """Say that positions must stay."""
        self.pinned.append((ids.ravel(), reason))

    def mark(self, kind: Literal["normalized", "heads", "recurrent"], ids: Ids) -> None:
        """Say what positions are."""
        self.marks.setdefault(kind, []).append(ids.ravel())

    def read(self, value: ir.Value | None, axis: int) -> None:
        """Say that an operator sums products along this axis."""
        if value is not None:
            self.reads.add((str(value.name), axis % len(self.shape(value))))

    def mark_place(self) -> tuple[int, ...]:
        """Return how much was said so far."""
        return (len(self.equal), len(self.pinned), len(self.choices), len(self.blocks), len(self.ragged))

    def return_to(self, place: tuple[int, ...]) -> None:
        """Forget what was said since: a rule that gives up half-way has said nothing."""
        equal, _, choices, blocks, ragged = place
        del self.equal[equal:], self.choices[choices:], self.blocks[blocks:], self.ragged[ragged:]
        self._claimed.clear()

    def begin(self) -> None:
        """Start with another node."""
        self._claimed.clear()

    def pin_unclaimed(self, node: ir.Node, reason: str) -> None:
        """Pin every axis of a node's operands that its rule did not answer for."""
        for value in dict.fromkeys(chain(node.inputs, node.outputs)):
            name = "" if value is None else str(value.name)
            for axis, size in enumerate(self.concrete.shapes.get(name, ())):
                if value is not None and (name, axis) not in self._claimed:
                    self.pin(self._labels(value, axis, size), reason)

    def pin_value(self, value: ir.Value, reason: str) -> None:
        """Pin every axis of a value."""
        for axis, size in enumerate(self.concrete.shapes.get(value.name or "", ())):
            self.pin(self._labels(value, axis, size), reason)

    def _labels(self, value: ir.Value, axis: int, size: int) -> Ids:
        key = str(value.name), axis
        found = self._axes.get(key)
        if found is None:
            found = self._axes[key] = self.fresh(size)
            if size == 1:
                self.pin(found, ONE_POSITION)
        return found


def relate_regrouped(labels: Labels, inputs: Sequence[Ids], outputs: Sequence[Ids]) -> None:
    """Relate the axes of a tensor to those of the same elements, in the same order, in another shape.

    Runs of axes that hold the same number of elements on both sides are related run by run. Within a run, an axis that
    others are merged into (or that is split into them) follows one of them: a :class:`Choice`.
    """
    for before, after in _runs([ids for ids in inputs if ids.size != 1], [ids for ids in outputs if ids.size != 1]):
        if len(before) == len(after) == 1:
            labels.equate(before[0], after[0])
        elif len(after) == 1:
            labels.choices.append(_choice(after[0], before))
        elif len(before) == 1:
            labels.choices.append(_choice(before[0], after))
        else:
            flat = labels.fresh(int(np.prod([ids.size for ids in before])))
            labels.choices += [_choice(flat, before), _choice(flat, after)]


def _choice(whole: Ids, parts: Sequence[Ids]) -> Choice:
    coordinates = np.unravel_index(np.arange(whole.size), [ids.size for ids in parts])
    return Choice(whole, tuple(zip(parts, coordinates, strict=True)))


_MOST_ELEMENTS = 1 << 22


def _runs(inputs: Sequence[Ids], outputs: Sequence[Ids]) -> list[tuple[list[Ids], list[Ids]]]:
    """Return the shortest runs of axes, before and after, with equal numbers of elements."""
    runs: list[tuple[list[Ids], list[Ids]]] = []
    before, after = list(reversed(inputs)), list(reversed(outputs))
    while before and after:
        left, right = [before.pop()], [after.pop()]
        sizes = [left[0].size, right[0].size]
        while sizes[0] != sizes[1]:
            if not (before if sizes[0] < sizes[1] else after) or max(sizes) > _MOST_ELEMENTS:
                raise NoRuleError
            if sizes[0] < sizes[1]:
                left.append(before.pop())
                sizes[0] *= left[-1].size
            else:
                right.append(after.pop())
                sizes[1] *= right[-1].size
        runs.append((left, right))
    if before or after:
        raise NoRuleError
    return runs
