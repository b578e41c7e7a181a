"""Activation functions that another quantizer left to the ranges behind them, put back where they were.

ONNX Runtime's quantizer removes a Relu or a Clip where the codes of the Q node behind it begin or end there. Integers
stay the same, but nothing else does: without its Q/DQ such a layer gives the negative values as well, so that it cannot
be taken back to float, be trained or be diagnosed. Runtimes drop these functions when they load the graph.
"""

import onnx_ir as ir

from compress.model import Model
from compress.quantize.layers import behind_requantization, is_requantized

_REMOVABLE = ("Relu", "Clip")


def restore_activations(quantized: Model, original: Model) -> Model:
    """Return a quantized graph with every Relu and Clip of the float graph that it was made from.

    Args:
        quantized: With nodes and values named as in the float graph; what a removed function gave is what the node
            before it gives now, under the function's name.
        original: The float graph.
    """
    copy = quantized.copy_graph()
    made = {value.name: value for node in copy.graph for value in node.outputs}
    for node in original.graph.graph:
        value = made.get(node.outputs[0].name) if node.op_type in _REMOVABLE else None
        if value is None:
            continue
        value = behind_requantization(value) if is_requantized(value) else value
        producer = value.producer()
        if producer is not None and producer.name != node.name:
            _put_behind(copy.graph, value, _functions_behind(str(producer.name), node))
    return Model.from_ir(copy, quantized.history)


def _functions_behind(producer: str, last: ir.Node) -> list[ir.Node]:
    """Return the functions of the float graph from behind the node of that name to the last one, in their order."""
    found = [last]
    while (value := found[0].inputs[0]) is not None and (before := value.producer()) is not None:
        if before.name == producer or before.op_type not in _REMOVABLE:
            break
        found.insert(0, before)
    return found


def _put_behind(graph: ir.Graph, value: ir.Value, functions: list[ir.Node]) -> None:
    """Put copies of functions between a value and those that read it; the last one gives it under its name."""
    position = value.producer()
    assert position is not None  # noqa: S101 - see restore_activations
    name, given = value.name, value
    for function in functions:
        bounds = [None if bound is None else _constant(graph, bound) for bound in function.inputs[1:]]
        attributes = list(function.attributes.values())
        result = ir.Value(name=function.outputs[0].name, shape=value.shape, type=value.type)
        node = ir.Node("", function.op_type, [given, *bounds], attributes, outputs=[result], name=function.name)
        graph.insert_after(position, node)
        position, given = node, result
    for reader, index in tuple(value.uses()):
        if reader.name != functions[0].name:
            reader.replace_input_with(index, given)
    for index, output in enumerate(graph.outputs):
        if output is value:
            graph.outputs[index] = given
    source = functions[0].inputs[0]
    value.name, given.name = None if source is None else source.name, name


def _constant(graph: ir.Graph, bound: ir.Value) -> ir.Value:
    """Return the graph's own constant of that name; a copy where it has none."""
    name = str(bound.name)
    if name not in graph.initializers:
        graph.register_initializer(
            ir.Value(name=name, const_value=bound.const_value, shape=bound.shape, type=bound.type)
        )
    return graph.initializers[name]
