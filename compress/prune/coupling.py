"""Which positions of which axes can only be cut together: rules per operator, solved for the whole graph at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

import onnx_ir as ir

from compress.model import Model
from compress.prune.composites import Composite, find_composites
from compress.prune.grouping import Members, make_groups, protect
from compress.prune.groups import Coupling
from compress.prune.labels import INPUT, OUTPUT, Labels, NoRuleError
from compress.prune.prepare import prepare_with_shapes
from compress.prune.rules import Operator, operator_of, operators
from compress.prune.solver import Classes, solve


@dataclass(frozen=True, slots=True)
class Analysis:
    """A coupling with everything it was found from.

    Attributes:
        model: The model in the form that pruning works on.
        classes: What is cut together.
        members: The groups, and the classes that are their units.
        composites: Nodes that have a rule only together.
    """

    model: Model
    classes: Classes
    members: tuple[Members, ...]
    composites: tuple[Composite, ...]


def analyse(model: Model) -> Coupling:
    """Return what can be cut in a graph, and what cannot and why.

    Groups name the initializers of ``prepare(model)`` (:mod:`compress.prune.prepare`), and the digest is that model's.

    Raises:
        PruneError: ONNX Runtime cannot run the graph.
    """
    found = analyse_in_full(model)
    groups = tuple(members.group for members in found.members)
    return Coupling(found.model.digest(), groups, protect(found.model.graph.graph, found.classes, found.members))


def analyse_in_full(model: Model) -> Analysis:
    """Return the coupling of a model with the classes of all labels; the last one is remembered.

    Raises:
        PruneError: ONNX Runtime cannot run the graph.
    """
    return _analyse(_Identity(model))


class _Identity:
    """A model as itself: what it holds is never compared."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def __hash__(self) -> int:
        return id(self.model.graph)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and self.model.graph is other.model.graph


@lru_cache(maxsize=1)
def _analyse(given: _Identity) -> Analysis:
    prepared = prepare_with_shapes(given.model)
    graph = prepared.model.graph.graph
    labels = Labels(prepared.concrete)
    composites = find_composites(graph, labels)
    _apply_rules(graph, labels, composites)
    classes = solve(labels)
    members = make_groups(graph, classes)
    return Analysis(prepared.model, classes, members, composites)


def _apply_rules(graph: ir.Graph, labels: Labels, composites: tuple[Composite, ...]) -> None:
    known = operators()
    inside = {node: composite for composite in composites for node in composite.nodes}
    for node in graph:
        composite = inside.get(node)
        if composite is None:
            _apply_rule(node, labels, operator_of(node, known))
        elif node is composite.nodes[-1]:
            composite.relate(labels)
    for value in chain.from_iterable(node.outputs for node in graph):
        if labels.concrete.is_vector_of_sizes(value.name or ""):
            labels.pin_value(value, "is a vector of sizes")
    for value in graph.inputs:
        labels.pin_value(value, INPUT)
    for value in graph.outputs:
        labels.pin_value(value, OUTPUT)
    for value, node in _captured(graph):
        labels.pin_value(value, f"is read inside operator {node.op_type}")


def _apply_rule(node: ir.Node, labels: Labels, operator: Operator | None) -> None:
    labels.begin()
    reason = f"operator {node.op_type} has no rule"
    if operator is not None:
        before = labels.mark_place()
        reason = f"operator {node.op_type} needs it whole"
        try:
            operator.rule(node, labels)
        except NoRuleError:
            labels.return_to(before)
            reason = f"operator {node.op_type} is used in a way that has no rule"
    labels.pin_unclaimed(node, reason)


def _captured(graph: ir.Graph) -> Iterator[tuple[ir.Value, ir.Node]]:
    """Yield the values of a graph that bodies of its nodes read."""
    for node in graph:
        for attribute in node.attributes.values():
            for body in _bodies(attribute):
                for value in chain.from_iterable(inner.inputs for inner in body.all_nodes()):
                    if value is not None and value.graph is graph:
                        yield value, node


def _bodies(attribute: ir.Attr) -> Sequence[ir.Graph]:
    if attribute.type is ir.AttributeType.GRAPH:
        return [attribute.as_graph()]
    return attribute.as_graphs() if attribute.type is ir.AttributeType.GRAPHS else []
