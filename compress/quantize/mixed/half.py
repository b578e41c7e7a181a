"""Layers in float16 between casts, for runtimes that take precision from the graph."""

from collections.abc import Collection
from typing import Final

import numpy as np
import onnx_ir as ir

from compress.model import Model
from compress.quantize.layers import is_constant, remove_unused

_LARGEST: Final = float(np.finfo(np.float16).max)


def to_float16(model: Model, names: Collection[str]) -> Model:
    """Return a model with these layers in float16, everything around them as it is.

    The rule: Conv(x, w, b) → Cast(Conv(Cast(x, float16), w16, b16), float32), for operators with a constant weight; a
    layer whose constants are beyond the range of float16 stays float32. Compilers fuse casts that meet.
    """
    graph = model.copy_graph()
    for node in [node for node in graph.graph if node.name in names]:
        if len(node.inputs) > 1 and is_constant(node.inputs[1]) and _fits(node):
            _halve(graph.graph, node)
    remove_unused(graph.graph)
    return Model.from_ir(graph, model.history)


def _fits(node: ir.Node) -> bool:
    arrays = [
        value.const_value.numpy() for value in node.inputs[1:] if value is not None and value.const_value is not None
    ]
    return all(np.abs(array).max(initial=0.0) <= _LARGEST for array in arrays)


def _halve(graph: ir.Graph, node: ir.Node) -> None:
    before: list[ir.Node] = []
    inputs: list[ir.Value | None] = []
    for index, value in enumerate(node.inputs):
        if value is None:
            inputs.append(None)
        elif value.const_value is not None:
            inputs.append(_constant(graph, value, f"{node.name}_operand_{index}_half"))
        else:
            before.append(_cast(value, ir.DataType.FLOAT16, f"{node.name}_operand_{index}_half"))
            inputs.append(before[-1].outputs[0])
    output = node.outputs[0]
    half = ir.Node(node.domain, node.op_type, inputs, list(node.attributes.values()), name=node.name)
    half.outputs[0].name, half.outputs[0].dtype = f"{output.name}_half", ir.DataType.FLOAT16
    half.outputs[0].shape = output.shape
    back = _cast(half.outputs[0], ir.DataType.FLOAT, f"{node.name}_float")
    back.outputs[0].shape = output.shape
    ir.convenience.replace_nodes_and_values(graph, node, [node], [*before, half, back], [output], [back.outputs[0]])


def _constant(graph: ir.Graph, value: ir.Value, name: str) -> ir.Value:
    assert value.const_value is not None  # noqa: S101 - the caller looked
    tensor = ir.tensor(value.const_value.numpy().astype(np.float16), name=name)
    half = ir.Value(name=name, const_value=tensor, shape=value.shape, type=ir.TensorType(tensor.dtype))
    graph.register_initializer(half)
    return half


def _cast(value: ir.Value, kind: ir.DataType, name: str) -> ir.Node:
    node = ir.Node("", "Cast", [value], [ir.AttrInt64("to", int(kind))], name=name)
    node.outputs[0].name, node.outputs[0].dtype, node.outputs[0].shape = name, kind, value.shape
    return node
