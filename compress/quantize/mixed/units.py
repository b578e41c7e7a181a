"""What a search puts back into float together: an activation with the layers that write and read it, or one layer."""

from dataclasses import dataclass

import onnx_ir as ir

from compress.measure.cost import count_cost
from compress.model import Model
from compress.quantize.dialects import DIALECTS
from compress.quantize.layers import Layer, writes_integers
from compress.quantize.mixed.archive import Names
from compress.targets import DialectName

_MACS_OF_A_BYTE = 6
"""Multiply-accumulates that cost as much as moving one byte, roughly: it orders the candidates only."""


@dataclass(frozen=True, slots=True)
class Unit:
    """Layers that are float together, and a rough share of the model's cost that they stand for."""

    names: Names
    cost: float


def find_units(model: Model, layers: tuple[Layer, ...], dialect: DialectName) -> tuple[Unit, ...]:
    """Return the candidates of a search, each once, in the graph's order.

    An activation is free of error only when the layer that writes it is float (where that layer is integer only with
    its output quantized) and so are those that read it: a single convolution between integer neighbours still reads and
    writes integers. So a unit is an activation's writer and readers; single layers with a weight are units as well, for
    the error of their weight.
    """
    integer = frozenset(layer.name for layer in layers)
    found = [_around(node, integer, dialect) for node in model.graph.graph if node.op_type == "QuantizeLinear"]
    found += [frozenset({layer.name}) for layer in layers if layer.weight is not None]
    shares = layer_costs(model, integer)
    return tuple(Unit(names, sum(shares[name] for name in names)) for names in dict.fromkeys(found) if names)


def _around(quantize: ir.Node, integer: Names, dialect: DialectName) -> Names:
    readers = {
        str(reader.name)
        for use in quantize.outputs[0].uses()
        for reader, _ in use.node.outputs[0].uses()
        if reader.name in integer
    }
    source = quantize.inputs[0]
    if source is not None and writes_integers(source, integer, DIALECTS[dialect]):
        node = source.producer()
        if node is not None and node.name not in integer:  # a fused Relu or Clip
            node = node.inputs[0].producer() if node.inputs[0] is not None else None
        readers.add(str(node.name) if node is not None else "")
    return frozenset(readers)


def layer_costs(model: Model, integer: Names) -> dict[str, float]:
    """Return the rough share of the cost of all integer layers that each one has: arithmetic and moved bytes."""
    costs = {
        layer.name: layer.macs + _MACS_OF_A_BYTE * layer.activation_bytes
        for layer in count_cost(model)
        if layer.name in integer
    }
    whole = sum(costs.values()) or 1
    return {name: costs.get(name, 0) / whole for name in sorted(integer)}
