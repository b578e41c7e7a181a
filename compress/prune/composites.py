"""Nodes that say more together than one by one: channel shuffles, group normalisations written as instance ones."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import onnx_ir as ir

from compress.prune.concrete import Shape
from compress.prune.kept import Kept
from compress.prune.labels import Ids, Labels, NoRuleError


@dataclass(frozen=True, slots=True)
class Composite:
    """A chain of nodes from one value to one other of the same shape, whose axis 1 it permutes or normalises in groups.

    Attributes:
        kind: Of what.
        nodes: In order.
        places: Of the nodes in the graph, counted from 0.
        order: Where each position of axis 1 of the result comes from.
        groups: Of a normalisation.
    """

    kind: Literal["shuffle", "group-norm"]
    nodes: tuple[ir.Node, ...]
    places: tuple[int, ...]
    order: Ids
    groups: int = 1

    def within(self, nodes: Sequence[ir.Node]) -> "Composite":
        """Return the same composite in a copy of the graph, given the nodes of the copy in order."""
        return replace(self, nodes=tuple(nodes[place] for place in self.places))

    @property
    def source(self) -> ir.Value:
        """The value that goes in."""
        value = self.nodes[0].inputs[0]
        assert value is not None  # noqa: S101 - a chain starts with one
        return value

    @property
    def result(self) -> ir.Value:
        """The value that comes out."""
        return self.nodes[-1].outputs[0]

    def relate(self, labels: Labels) -> None:
        """Relate what goes in and what comes out."""
        rank = len(labels.shape(self.source))
        labels.equate(labels.ids(self.source, 1)[self.order], labels.ids(self.result, 1))
        for axis in range(rank):
            if axis != 1:
                labels.equate_axes(self.source, axis, self.result, axis)
                if self.kind == "group-norm" and axis > 1:
                    labels.pin(labels.ids(self.source, axis), "is normalised over")
        if self.kind == "group-norm":
            labels.blocks.append(labels.ids(self.source, 1).reshape(self.groups, -1))
            labels.mark("normalized", labels.ids(self.source, 1))

    def trim(self, kept: Kept) -> None:
        """Change the nodes where channels were cut: a shuffle becomes a Gather."""
        mask = kept.mask(self.source, 1)
        if mask.all():
            return
        if self.kind == "shuffle":
            _write_gather(self, kept)
        else:
            _trim_group_norm(self, kept)


def find_composites(graph: ir.Graph, labels: Labels) -> tuple[Composite, ...]:
    """Return the composites of a graph; no node is in two."""
    found: list[Composite] = []
    taken: set[ir.Node] = set()
    places = {node: place for place, node in enumerate(graph)}
    for node in graph:
        if node in taken or node.op_type != "Reshape":
            continue
        composite = _shuffle_at(node, labels) or _group_norm_at(node, labels)
        if composite is not None and taken.isdisjoint(composite.nodes):
            taken.update(composite.nodes)
            found.append(replace(composite, places=tuple(places[each] for each in composite.nodes)))
    return tuple(found)


def _chain(node: ir.Node, operators: Sequence[str]) -> tuple[ir.Node, ...] | None:
    """Return a node and those after it, each the only reader of the one before, where their operators are these."""
    nodes = [node]
    for operator in operators:
        uses = tuple(nodes[-1].outputs[0].uses())
        if len(uses) != 1 or uses[0].node.op_type != operator or uses[0].idx != 0:
            return None
        if nodes[-1].outputs[0].is_graph_output() or uses[0].node.graph is not node.graph:
            return None
        nodes.append(uses[0].node)
    return tuple(nodes)


def _shapes(nodes: Sequence[ir.Node], labels: Labels) -> list[Shape] | None:
    try:
        return [labels.shape(nodes[0].inputs[0]), *(labels.shape(node.outputs[0]) for node in nodes)]
    except NoRuleError:
        return None


def _shuffle_at(node: ir.Node, labels: Labels) -> Composite | None:
    """Return the shuffle [N, C, …] → [N, a, b, …] → [N, b, a, …] → [N, C, …] that starts here."""
    nodes = _chain(node, ("Transpose", "Reshape"))
    shapes = None if nodes is None else _shapes(nodes, labels)
    if nodes is None or shapes is None:
        return None
    before, split, moved, after = shapes
    rank = len(before)
    if before != after or rank < 2 or len(split) != rank + 1 or split[1] == 1 or split[2] == 1:
        return None
    if split != (before[0], split[1], split[2], *before[2:]):
        return None
    if moved != (before[0], split[2], split[1], *before[2:]):
        return None
    if tuple(nodes[1].attributes.get_ints("perm", ())) != (0, 2, 1, *range(3, rank + 1)):
        return None
    return Composite("shuffle", nodes, (), np.arange(before[1]).reshape(split[1], split[2]).T.ravel())


def _group_norm_at(node: ir.Node, labels: Labels) -> Composite | None:
    """Return the normalisation [N, C, …] → [N, G, rest] → the same → [N, C, …] that starts here."""
    nodes = _chain(node, ("InstanceNormalization", "Reshape"))
    shapes = None if nodes is None else _shapes(nodes, labels)
    if nodes is None or shapes is None:
        return None
    before, split, _, after = shapes
    if before != after or len(before) < 3 or len(split) != 3 or split[0] != before[0] or before[1] % split[1]:
        return None
    constants = [*nodes[1].inputs[1:3], nodes[0].inputs[1], nodes[2].inputs[1]]
    if before[1] == split[1] or not all(value is not None and value.is_initializer() for value in constants):
        return None
    if not _is_uniform(nodes[1], labels):
        return None
    return Composite("group-norm", nodes, (), np.arange(before[1]), split[1])


def _is_uniform(node: ir.Node, labels: Labels) -> bool:
    """Return whether all groups have the same constant scale, and the same shift."""
    held = [labels.constant(value) for value in node.inputs[1:3]]
    return all(bool((array == array.flat[0]).all()) for array in held)


def _write_gather(composite: Composite, kept: Kept) -> None:
    """Replace a shuffle: after a cut its groups need not be equally long."""
    mask, moved = kept.mask(composite.source, 1), np.cumsum(kept.mask(composite.source, 1)) - 1
    taken = composite.order[mask[composite.order]]
    last, first = composite.nodes[-1], composite.nodes[0]
    order = kept.add_constant(moved[taken].astype(np.int64), f"{last.name}.order")
    gather = ir.node("Gather", [composite.source, order], {"axis": 1}, name=last.name)
    kept.graph.insert_before(first, gather)
    result, made = composite.result, gather.outputs[0]
    name = result.name
    for user, index in tuple(result.uses()):
        user.replace_input_with(index, made)
    kept.graph.remove(composite.nodes, safe=False)
    made.name = name


def _trim_group_norm(composite: Composite, kept: Kept) -> None:
    """Let the first Reshape put fewer elements into a group, and the last one give the channels that are left."""
    first, last = composite.nodes[0], composite.nodes[-1]
    channels, left = kept.old_shape(composite.source)[1], kept.new_shape(composite.source)[1]
    sizes = kept.constant(first.inputs[1]).astype(np.int64).copy()
    if sizes[2] > 0:
        sizes[2] = sizes[2] // channels * left
    kept.set_constant(first, 1, sizes)
    after = kept.constant(last.inputs[1]).astype(np.int64).copy()
    if after[1] > 0:
        after[1] = left
    kept.set_constant(last, 1, after)
