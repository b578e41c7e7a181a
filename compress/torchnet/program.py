"""An ONNX graph as a list of kernel calls on numbered slots."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor

from compress.torchnet.attributes import Attributes
from compress.torchnet.constants import named_constants
from compress.torchnet.host_reads import together
from compress.torchnet.operators import Kernel, Node, OperatorError, operator_key, operators
from compress.torchnet.operators.reading import DTYPES
from compress.torchnet.scopes import bodies, captures, is_constant, reads

ABSENT = 0
"""The slot that is always None: what an absent input reads."""

NEVER_FOLDED = frozenset(
    {
        *("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"),
        "Dropout",
    }
)
"""Operators that give another result each time."""

_HINT = "training and distillation need them; quantization without training works (leave those steps out)"


@dataclass(frozen=True, slots=True)
class Call:
    """One kernel with the slots that it reads (``ABSENT`` for an absent input) and writes, and those free afterwards.

    A slot that is written but that nobody reads is ``ABSENT`` too.
    """

    name: str
    op_type: str
    kernel: Kernel
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    frees: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Program:
    """Calls in order.

    Attributes:
        slots: The slot of each value of the graph itself, by name.
        constants: The slot of each constant of the graph and its subgraphs, by the name of ``named_constants``.
        size: How many slots there are.
    """

    calls: tuple[Call, ...]
    slots: Mapping[str, int]
    constants: Mapping[str, int]
    size: int


def run_calls(calls: Iterable[Call], values: list[Any]) -> None:
    """Execute calls on the slots ``values``; whatever they read must be there."""
    call: Call | None = None
    try:
        for call in calls:
            outputs = call.kernel(*[values[slot] for slot in call.reads])
            if isinstance(outputs, tuple):
                for slot, output in zip(call.writes, outputs, strict=False):
                    if slot:
                        values[slot] = output
            elif call.writes:
                values[call.writes[0]] = outputs
            for slot in call.frees:
                values[slot] = None
    except Exception as error:
        if call is not None:
            error.add_note(f"in {call.op_type} `{call.name}`")
        raise


def missing_operators(graph: ir.Graph) -> tuple[str, ...]:
    """Return the operators of a graph and its subgraphs that are not implemented, each once, sorted."""
    known = operators()
    keys = {operator_key(node.domain, node.op_type) for node in graph.all_nodes() if not is_constant(node)}
    return tuple(sorted(key for key in keys if key not in known))


def compile_graph(graph: ir.Graph, opsets: Mapping[str, int], kept: Iterable[str] = ()) -> Program:
    """Return the program of a graph.

    Args:
        graph: Topologically sorted.
        opsets: Version of each operator domain.
        kept: Names of values that stay in their slots to the end, beside the outputs.

    Raises:
        OperatorError: Operators are missing (all are named at once), or a node has an attribute nobody understands.
    """
    missing = missing_operators(graph)
    if missing:
        raise OperatorError(
            f"{len(missing)} operators of this model cannot be run in PyTorch: {', '.join(missing)}", hint=_HINT
        )
    constants = named_constants(graph)
    slots = _number((*graph.inputs, *constants.values()), graph)
    named = {str(value.name): slot for value, slot in slots.items() if value.name and value.graph is graph}
    wanted = {named[name] for name in kept if name in named} | {slots[value] for value in graph.outputs}
    calls = _compile_nodes(graph, opsets, slots, wanted)
    return Program(calls, named, {name: slots[value] for name, value in constants.items()}, len(slots) + 1)


def _number(given: Iterable[ir.Value], graph: ir.Graph) -> dict[ir.Value, int]:
    """Return a slot for each given value and each output of a node that somebody can read."""
    computed = (value for node in graph if not is_constant(node) for value in node.outputs if value.name)
    return {value: slot for slot, value in enumerate(dict.fromkeys((*given, *computed)), start=ABSENT + 1)}


def _compile_nodes(
    graph: ir.Graph, opsets: Mapping[str, int], slots: Mapping[ir.Value, int], wanted: set[int]
) -> tuple[Call, ...]:
    read = {
        node: tuple(ABSENT if value is None else slots[value] for value in reads(node))
        for node in graph
        if not is_constant(node)
    }
    frees = _last_reads(read, slots, wanted)
    return tuple(_compile_node(node, opsets, read[node], slots, free) for node, free in frees.items())


def _compile_node(
    node: ir.Node,
    opsets: Mapping[str, int],
    read: tuple[int, ...],
    slots: Mapping[ir.Value, int],
    frees: tuple[int, ...],
) -> Call:
    attributes = Attributes(node.attributes)
    outer = captures(node)
    view = Node(
        name=node.name or node.op_type,
        op_type=node.op_type,
        opset=opsets.get(node.domain, opsets.get("", 1)),
        present=tuple(value is not None and bool(value.name) for value in node.inputs),
        outputs=tuple(bool(value.name) for value in node.outputs),
        attributes=attributes,
        subgraphs={name: _compile_body(body, opsets, outer) for name, body in bodies(node)},
        types=tuple(None if value is None else _type_of(value) for value in node.inputs),
        domain=node.domain,
    )
    kernel = operators()[operator_key(node.domain, node.op_type)](view)
    unread = attributes.unread()
    if unread:
        raise OperatorError(
            f"{node.op_type} `{view.name}` has attributes that are not understood here: {', '.join(unread)}", hint=_HINT
        )
    writes = tuple(slots.get(value, ABSENT) for value in node.outputs)
    return Call(view.name, node.op_type, kernel, read, writes, frees)


def _type_of(value: ir.Value) -> ir.DataType | None:
    return value.const_value.dtype if value.const_value is not None else value.dtype


@dataclass(frozen=True, slots=True)
class _Body:
    """A subgraph: a function of its inputs and the values of outer scopes, in this order."""

    calls: tuple[Call, ...]
    given: int
    size: int
    outputs: tuple[int, ...]
    empty: tuple[Tensor, ...]

    @property
    def results(self) -> int:
        return len(self.outputs)

    def __call__(self, *inputs: Any) -> tuple[Any, ...]:
        values: list[Any] = [None, *inputs, *[None] * (self.size - 1 - self.given)]
        run_calls(self.calls, values)
        return tuple(values[slot] for slot in self.outputs)

    def nothing(self, index: int) -> Tensor:
        return self.empty[index]


def _compile_body(body: ir.Graph, opsets: Mapping[str, int], outer: Sequence[ir.Value]) -> _Body:
    given = tuple(dict.fromkeys((*body.inputs, *outer)))
    slots = _number(given, body)
    outputs = tuple(slots[value] for value in body.outputs)
    calls = tuple(
        replace(call, kernel=together(call.op_type, call.kernel))
        for call in _compile_nodes(body, opsets, slots, set(outputs))
    )
    return _Body(calls, len(given), len(slots) + 1, outputs, tuple(_nothing(value) for value in body.outputs))


def _nothing(value: ir.Value) -> Tensor:
    """Return no elements of a value's type; axes of unknown size have none either."""
    sizes = [size if isinstance(size, int) else 0 for size in value.shape or ()]
    return torch.zeros([0, *sizes], dtype=DTYPES.get(value.dtype or ir.DataType.FLOAT, torch.float32))


def _last_reads(
    read: Mapping[ir.Node, tuple[int, ...]], slots: Mapping[ir.Value, int], wanted: set[int]
) -> dict[ir.Node, tuple[int, ...]]:
    """Return the slots that nobody reads after each node, for the nodes whose outputs somebody reads, in order."""
    needed = set(wanted)
    computed = {slots[value] for node in read for value in node.outputs if value in slots}
    frees: dict[ir.Node, tuple[int, ...]] = {}
    for node, numbers in reversed(tuple(read.items())):
        written = {slots[value] for value in node.outputs if value in slots}
        if written.isdisjoint(needed):
            continue
        frees[node] = tuple(sorted(slot for slot in computed.intersection(numbers) | written if slot not in needed))
        needed.update(numbers)
    return dict(reversed(tuple(frees.items())))
