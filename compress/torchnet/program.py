"""An ONNX graph as a list of kernel calls on numbered slots."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from compress.torchnet.attributes import Attributes
from compress.torchnet.operators import Kernel, Node, OperatorError, operator_key, operators


@dataclass(frozen=True, slots=True)
class Call:
    """One kernel with the slots that it reads (None for an absent input) and writes, and those free afterwards."""

    name: str
    op_type: str
    kernel: Kernel
    reads: tuple[int | None, ...]
    writes: tuple[int | None, ...]
    frees: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Program:
    """Calls in order, and the slot of every named value."""

    calls: tuple[Call, ...]
    slots: Mapping[str, int]

    def run(self, values: list[Any], calls: Iterable[Call] | None = None) -> None:
        """Execute calls on the slots ``values``; whatever they read must be there."""
        for call in self.calls if calls is None else calls:
            outputs = call.kernel(*[None if slot is None else values[slot] for slot in call.reads])
            if len(call.writes) == 1 and not isinstance(outputs, tuple):
                slot = call.writes[0]
                if slot is not None:
                    values[slot] = outputs
            else:
                for slot, output in zip(call.writes, outputs, strict=False):
                    if slot is not None:
                        values[slot] = output
            for slot in call.frees:
                values[slot] = None


def missing_operators(graph: ir.Graph) -> tuple[str, ...]:
    """Return the operators of a graph and its subgraphs that are not implemented, each once, sorted."""
    known = operators()
    keys = {operator_key(node.domain, node.op_type) for node in graph.all_nodes()}
    return tuple(sorted(key for key in keys if key not in known))


def compile_graph(graph: ir.Graph, opsets: Mapping[str, int], kept: Iterable[str] = ()) -> Program:
    """Return the program of a graph.

    Args:
        graph: Topologically sorted.
        opsets: Version of each operator domain.
        kept: Names of values that stay in their slots to the end: outputs and observed ones.

    Raises:
        OperatorError: Operators are missing (all are named at once), or a node has an attribute nobody understands.
    """
    missing = missing_operators(graph)
    if missing:
        raise OperatorError(
            f"{len(missing)} operators of this model cannot be run in PyTorch: {', '.join(missing)}",
            hint="training and distillation need them; quantization without training works (leave those steps out)",
        )
    names = [*graph.inputs, *graph.initializers.values(), *(value for node in graph for value in node.outputs)]
    slots = {str(value.name): slot for slot, value in enumerate(names) if value.name}
    frees = _last_reads(graph, {*kept, *(str(value.name) for value in graph.outputs)})
    calls = tuple(_compile_node(node, opsets, slots, frees.get(node, ())) for node in graph)
    return Program(calls, slots)


def _compile_node(node: ir.Node, opsets: Mapping[str, int], slots: dict[str, int], frees: Iterable[str]) -> Call:
    attributes = Attributes(node.attributes)
    view = Node(
        name=node.name or node.op_type,
        op_type=node.op_type,
        opset=opsets.get(node.domain, opsets.get("", 1)),
        present=tuple(value is not None for value in node.inputs),
        outputs=tuple(bool(value.name) for value in node.outputs),
        attributes=attributes,
        subgraphs={
            name: _compile_body(attr.as_graph(), opsets, slots)
            for name, attr in node.attributes.items()
            if attr.type == ir.AttributeType.GRAPH
        },
    )
    kernel = operators()[operator_key(node.domain, node.op_type)](view)
    unread = attributes.unread()
    if unread:
        raise OperatorError(
            f"{node.op_type} `{view.name}` has attributes that are not understood here: {', '.join(unread)}",
            hint="training and distillation need them; quantization without training works",
        )
    reads = tuple(None if value is None else slots[str(value.name)] for value in node.inputs)
    writes = tuple(slots.get(str(value.name)) for value in node.outputs)
    return Call(view.name, node.op_type, kernel, reads, writes, tuple(slots[name] for name in frees))


def _compile_body(body: ir.Graph, opsets: Mapping[str, int], outer: dict[str, int]) -> Callable[..., tuple[Any, ...]]:
    raise NotImplementedError  # control flow: values of the outer scope


def _last_reads(graph: ir.Graph, kept: set[str]) -> dict[ir.Node, list[str]]:
    """Return, for each node, the values that nobody reads after it."""
    last: dict[str, ir.Node] = {}
    for node in graph:
        for value in node.inputs:
            if value is not None and value.producer() is not None:
                last[str(value.name)] = node
    frees: dict[ir.Node, list[str]] = {}
    for name, node in last.items():
        if name not in kept:
            frees.setdefault(node, []).append(name)
    return frees
