"""Blocks of a quantized graph: pieces that everything behind them sees through one value."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from compress.model import Model
from compress.quantize.layers import behind_requantization, find_layers, is_constant
from compress.quantize.plan import fused_output
from compress.targets import DialectName


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of a quantized graph.

    Attributes:
        inputs: Names of the values that it reads: what the block before gives, and inputs of the graph.
        outputs: Names of the values that it gives, float.
        layers: Names of its layers with weights that are stored as integers, in the graph's order.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    layers: tuple[str, ...]

    def cut_out(self, model: Model) -> Model:
        """Return this piece of a model as a model of its own, with copies of its constants."""
        piece = ir.convenience.extract(model.graph.graph, self.inputs, self.outputs)
        return Model.from_ir(ir.Model(piece, ir_version=model.graph.ir_version))


def find_blocks(model: Model, dialect: DialectName, *, least: int, most: int) -> tuple[Block, ...]:
    """Return the blocks of a quantized graph, in its order; together they have every layer once.

    A block ends at an activation that is quantized for those behind it, where nothing else leads past it; what is
    computed from the inputs without a layer, a mask, say, may. Where a block would have too many layers (a U-Net has
    ways past everything), each layer is a block.

    Args:
        model: With Q/DQ.
        dialect: The one that it was quantized in.
        least: Layers that a block has at least.
        most: And at most; 1 makes each layer a block.

    Source: Li et al., BRECQ (2021), section 3.2: blocks are what residual additions close.
    """
    cutter = _Cutter(model, dialect)
    found: list[Block] = []
    for block in cutter.cut(least):
        found += [block] if len(block.layers) <= most else [cutter.of_layer(name) for name in block.layers]
    return tuple(found)


class _Cutter:
    def __init__(self, model: Model, dialect: DialectName) -> None:
        self._graph = model.graph.graph
        self._nodes = {str(node.name): node for node in self._graph}
        self._position = {node: position for position, node in enumerate(self._graph)}
        weighted = (layer.name for layer in find_layers(model, dialect) if layer.weight is not None)
        self._layers = {self._nodes[name]: name for name in weighted}

    def cut(self, least: int) -> Iterator[Block]:
        """Yield blocks with at least so many layers."""
        before: ir.Value | None = None
        left = set(self._layers)
        outputs = list(self._graph.outputs)
        for end in self._ends():
            inside = self._inside([end], before)
            node = end.producer()
            assert node is not None  # noqa: S101 - see _ends
            passed = {layer for layer in left if self._position[layer] <= self._position[node]}
            behind = self._inside(outputs, end)
            if len(passed) < least or passed != inside or behind != left - passed or len(behind) < least:
                continue
            yield self._block([end], before, inside)
            left -= inside
            before = end
        if left:
            yield self._block(outputs, before, left)

    def of_layer(self, name: str) -> Block:
        """Return the block of one layer and its activation function."""
        node = self._nodes[name]
        activation = node.inputs[0]
        assert activation is not None  # noqa: S101 - a layer reads one
        return self._block([_given(fused_output(node))], behind_requantization(activation), [node])

    def _ends(self) -> Iterator[ir.Value]:
        """Yield what Q nodes read, in the order in which it is computed."""
        read = {node.inputs[0] for node in self._graph if node.op_type == "QuantizeLinear"}
        for node in self._graph:
            yield from (value for value in node.outputs if value in read)

    def _block(self, outputs: Sequence[ir.Value], before: ir.Value | None, layers: Collection[ir.Node]) -> Block:
        _, entries = self._trace(outputs, before)
        ordered = sorted(layers, key=self._position.__getitem__)
        return Block(
            tuple(sorted(str(value.name) for value in entries)),
            tuple(dict.fromkeys(str(value.name) for value in outputs)),
            tuple(self._layers[node] for node in ordered),
        )

    def _inside(self, outputs: Iterable[ir.Value], before: ir.Value | None) -> set[ir.Node]:
        nodes, _ = self._trace(outputs, before)
        return {node for node in nodes if node in self._layers}

    def _trace(self, outputs: Iterable[ir.Value], before: ir.Value | None) -> tuple[set[ir.Node], set[ir.Value]]:
        """Return what outputs are computed by behind a value, and the values that come from outside."""
        nodes: set[ir.Node] = set()
        entries: set[ir.Value] = set()
        waiting = list(outputs)
        while waiting:
            value = waiting.pop()
            node = value.producer()
            if value is before or (node is None and not is_constant(value)):
                entries.add(value)
            elif node is not None and node not in nodes:
                nodes.add(node)
                waiting += [read for read in _reads(node) if read is not None]
        return nodes, entries


def _given(value: ir.Value) -> ir.Value:
    """Return the graph's output that a value is behind Q and DQ, or else the value; it has the float model's name."""
    for quantize in (use.node for use in value.uses() if use.node.op_type == "QuantizeLinear"):
        for dequantize in (use.node for use in quantize.outputs[0].uses()):
            if dequantize.outputs[0].is_graph_output():
                return dequantize.outputs[0]
    return value


def _reads(node: ir.Node) -> Iterator[ir.Value | None]:
    yield from node.inputs
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            for inner in attribute.as_graph():
                yield from _reads(inner)
