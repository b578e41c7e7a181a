"""Writes nodes in float16: casts where precisions meet, constants of that type, and none between two such nodes."""

from collections.abc import Collection

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compress.quantize.half.choose import SCALE_ERROR
from compress.quantize.half.scales import follow_scale, has_int8_codes, scale_errors

_FLOAT, _HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16
_KEPT_OPERANDS = {"Resize": frozenset({1, 2})}
"""Operands that are float32 whatever the others are: regions and scales of Resize."""


def write_float16(graph: ir.Graph, nodes: Collection[ir.Node]) -> None:
    """Put nodes of a graph into float16, in place; everything around them, inputs and outputs too, stays as it is.

    The rule: Conv(x, w, b) → Cast(Conv(Cast(x, float16), w16, b16), float32). Where one such node reads another there
    is no cast, and a value is cast once for all its readers.

    Args:
        graph: In topological order, with the types of its values.
        nodes: Of the graph itself, without bodies, all of whose float32 operands and results may be float16.
    """
    chosen = set(nodes)
    casts: dict[ir.Value, ir.Value] = {}
    for node in [node for node in graph if node in chosen]:
        if has_int8_codes(node):
            _move_scale(graph, node)
        kept = _KEPT_OPERANDS.get(node.op_type, frozenset())
        for index, value in enumerate(node.inputs):
            if value is not None and value.dtype is _FLOAT and index not in kept:
                node.replace_input_with(index, _halved(graph, node, value, casts))
        for value in node.outputs:
            if value.dtype is _FLOAT:
                _give_half(graph, node, value, chosen)


def _move_scale(graph: ir.Graph, node: ir.Node) -> None:
    """Give int8 weights a scale that is a float16, and codes for it, where rounding alone would move them too far."""
    stored, scale = node.inputs[0], node.inputs[1]
    if stored is None or scale is None or stored.const_value is None or scale.const_value is None:
        return
    values = scale.const_value.numpy()
    if scale_errors(values).max(initial=0.0) <= SCALE_ERROR:
        return
    codes, moved = follow_scale(stored.const_value.numpy(), values, node.attributes.get_int("axis", 1))
    node.replace_input_with(0, _register(graph, f"{stored.name}_of_{node.name}", codes))
    node.replace_input_with(1, _register(graph, f"{scale.name}_of_{node.name}", moved))


def _halved(graph: ir.Graph, reader: ir.Node, value: ir.Value, casts: dict[ir.Value, ir.Value]) -> ir.Value:
    """Return a value in float16, made before the first node that reads it so."""
    known = casts.get(value)
    if known is not None:
        return known
    if value.const_value is not None and value.is_initializer():
        half = _constant(graph, value)
    else:
        cast = _cast(value, _HALF, f"{value.name}_half")
        producer = value.producer()
        if producer is None:
            graph.insert_before(graph[0] if len(graph) else reader, cast)
        else:
            graph.insert_after(producer, cast)
        half = cast.outputs[0]
    casts[value] = half
    return half


def _constant(graph: ir.Graph, value: ir.Value) -> ir.Value:
    assert value.const_value is not None  # noqa: S101 - the caller looked
    return _register(graph, f"{value.name}_half", value.const_value.numpy().astype(np.float16))


def _register(graph: ir.Graph, name: str, array: NDArray[np.generic]) -> ir.Value:
    tensor = ir.tensor(array, name=name)
    made = ir.Value(name=name, const_value=tensor, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype))
    graph.register_initializer(made)
    return made


def _give_half(graph: ir.Graph, node: ir.Node, value: ir.Value, chosen: set[ir.Node]) -> None:
    """Make a result float16, with a cast back for those who read it in float32; these keep its name."""
    name = value.name
    others = [use for use in value.uses() if use.node not in chosen or _is_kept(use.node, use.idx)]
    # A type may be shared with the values of the graph that this one is a copy of.
    value.type = ir.TensorType(_HALF)
    value.name = f"{name}_in_half"
    if not others and not value.is_graph_output():
        return
    back = _cast(value, _FLOAT, str(name))
    graph.insert_after(node, back)
    result = back.outputs[0]
    for use in others:
        use.node.replace_input_with(use.idx, result)
    for place, output in enumerate(graph.outputs):
        if output is value:
            graph.outputs[place] = result


def _is_kept(node: ir.Node, index: int) -> bool:
    return index in _KEPT_OPERANDS.get(node.op_type, frozenset())


def _cast(value: ir.Value, kind: ir.DataType, name: str) -> ir.Node:
    node = ir.Node("", "Cast", [value], [ir.AttrInt64("to", int(kind))], name=f"{name}_cast")
    output = node.outputs[0]
    output.name, output.type, output.shape = name, ir.TensorType(kind), value.shape
    return node
