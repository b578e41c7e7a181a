"""The layers of a quantized graph, and the graph with some of them back in float."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compress.model import Model
from compress.quantize.dialects import DIALECTS, Dialect
from compress.quantize.plan import fused_output
from compress.store import Store
from compress.targets import DialectName

Floats = NDArray[np.float32]
FloatConstants = Mapping[tuple[str, int], Floats]
"""Float weights and biases by the name of the node and the position of the input."""

_LOWEST = "lowest_float32"


@dataclass(frozen=True, slots=True)
class Layer:
    """A node that a quantized graph computes in integers.

    Attributes:
        name: Name of the node.
        op: Its operator.
        inputs: Positions of the activations that it reads through Q/DQ.
        weight: Position of the constant that is stored as int8; None for an Add or a Concat.
    """

    name: str
    op: str
    inputs: tuple[int, ...]
    weight: int | None


def find_layers(model: Model, dialect: DialectName) -> tuple[Layer, ...]:
    """Return the layers that a graph in this dialect computes in integers, in the graph's order."""
    return tuple(layer for node in model.graph.graph if (layer := _layer(node, DIALECTS[dialect])) is not None)


def _layer(node: ir.Node, dialect: Dialect) -> Layer | None:
    if node.op_type not in dialect.weighted | dialect.follows or not node.inputs:
        return None
    constants = [index for index, value in enumerate(node.inputs) if is_stored(value)]
    activations = tuple(index for index, value in enumerate(node.inputs) if is_requantized(value))
    if node.op_type in dialect.weighted:
        whole = 0 in activations and 1 in constants
        return Layer(str(node.name), node.op_type, (0,), 1) if whole else None
    whole = len(activations) == len(node.inputs)
    return Layer(str(node.name), node.op_type, activations, None) if whole else None


def is_requantized(value: ir.Value | None) -> bool:
    """Return whether an activation comes through Q and DQ."""
    node = None if value is None else value.producer()
    if node is None or node.op_type != "DequantizeLinear" or node.inputs[0] is None:
        return False
    before = node.inputs[0].producer()
    return before is not None and before.op_type == "QuantizeLinear"


def is_stored(value: ir.Value | None) -> bool:
    """Return whether a value is a constant that is stored as integers."""
    node = None if value is None else value.producer()
    return node is not None and node.op_type == "DequantizeLinear" and is_constant(node.inputs[0])


def is_constant(value: ir.Value | None) -> bool:
    """Return whether a value is an initializer with its content at hand."""
    return value is not None and value.is_initializer() and value.const_value is not None


def behind_requantization(value: ir.Value) -> ir.Value:
    """Return the activation that a DQ node gives back: what its Q node reads."""
    dequantize = value.producer()
    quantize = None if dequantize is None or dequantize.inputs[0] is None else dequantize.inputs[0].producer()
    source = None if quantize is None else quantize.inputs[0]
    assert source is not None, f"{value.name} does not come through Q and DQ"  # noqa: S101
    return source


def keep_float(model: Model, names: Collection[str], constants: FloatConstants, dialect: DialectName) -> Model:
    """Return a quantized model with these layers in float; all others stay as integer as they are.

    1. The weight and the bias of such a layer are float.
    2. It reads an activation as it is where the layer that makes it is not integer, or needs no quantized output;
       otherwise it reads what the integer layer gives.
    3. Q/DQ that no integer layer reads or writes are gone.
    4. ONNX Runtime makes a float layer between DQ and Q integer again, by itself and with one scale for the whole
       weight; a Max with the lowest number there is, behind the layer, keeps it from that.

    Args:
        model: As the step ``quantize`` left it, or a step after that.
        names: Of the layers.
        constants: Their float weights and biases; what is not there is made from the stored integers.
        dialect: Of the model.
    """
    graph = model.copy_graph()
    integer = {layer.name for layer in find_layers(model, dialect)} - set(names)
    for node in graph.graph:
        if node.name in names:
            write_constants(graph.graph, node, constants)
    for node in [node for node in graph.graph if node.op_type == "QuantizeLinear"]:
        _bypass(graph.graph, node, integer, DIALECTS[dialect])
    remove_unused(graph.graph)
    if DIALECTS[dialect].output:
        for node in [node for node in graph.graph if node.name in names]:
            _shield(graph.graph, node)
    return Model.from_ir(graph, model.history)


def unquantize(model: Model, name: str, constants: FloatConstants) -> Model:
    """Return a quantized model with nothing quantized at one layer: not its inputs, its constants or its output.

    What it means to the outputs of the model; a runtime could not keep the layers around it integer.

    Args:
        model: As the step ``quantize`` left it, or a step after that.
        name: Of the layer.
        constants: As for :func:`keep_float`.
    """
    graph = model.copy_graph()
    node = next(node for node in graph.graph if node.name == name)
    write_constants(graph.graph, node, constants)
    for index, value in enumerate(node.inputs):
        if value is not None and is_requantized(value):
            node.replace_input_with(index, behind_requantization(value))
    for use in tuple(fused_output(node).uses()):
        if use.node.op_type == "QuantizeLinear":
            _bypass_for(graph.graph, use.node, lambda _: True)
    remove_unused(graph.graph)
    return Model.from_ir(graph, model.history)


def write_constants(graph: ir.Graph, node: ir.Node, constants: FloatConstants) -> None:
    """Put float constants in the place of those of a node that are stored as integers, in place."""
    for index, value in enumerate(node.inputs):
        if value is None or not is_stored(value):
            continue
        array = constants.get((str(node.name), index))
        array = dequantized(value) if array is None else array
        name = f"{value.name}_float"
        tensor = ir.tensor(array, name=name)
        constant = ir.Value(
            name=name, const_value=tensor, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype)
        )
        graph.register_initializer(constant)
        node.replace_input_with(index, constant)


def _bypass(graph: ir.Graph, quantize: ir.Node, integer: Collection[str], dialect: Dialect) -> None:
    """Let those that may read an activation without its Q/DQ do so."""
    source = quantize.inputs[0]
    if source is not None and not writes_integers(source, integer, dialect):
        _bypass_for(graph, quantize, lambda reader: reader.name not in integer)


def _bypass_for(graph: ir.Graph, quantize: ir.Node, bypasses: Callable[[ir.Node], bool]) -> None:
    source = quantize.inputs[0]
    assert source is not None  # noqa: S101 - Q has an input
    for use in tuple(quantize.outputs[0].uses()):
        result = use.node.outputs[0]
        for reader, index in tuple(result.uses()):
            if bypasses(reader):
                reader.replace_input_with(index, source)
        if result.is_graph_output() and not result.uses():
            _hand_over_output(graph, result, source)


def writes_integers(value: ir.Value, integer: Collection[str], dialect: Dialect) -> bool:
    """Return whether an integer layer makes a value, one that is integer only if its output is quantized."""
    node = value.producer()
    if node is not None and node.op_type in ("Relu", "Clip") and node.name not in integer:
        before = node.inputs[0].producer() if node.inputs[0] is not None else None
        node = before if before is not None and fused_output(before) is value else node
    return node is not None and node.name in integer and node.op_type in dialect.output | dialect.follows


def _shield(graph: ir.Graph, node: ir.Node) -> None:
    """Put a Max that changes nothing between a float layer with a weight and the Q nodes behind it."""
    if not is_requantized(node.inputs[0]) or len(node.inputs) < 2 or not is_constant(node.inputs[1]):
        return
    output = fused_output(node)
    readers = [use for use in output.uses() if use.node.op_type == "QuantizeLinear"]
    if not readers:
        return
    constant = graph.initializers.get(_LOWEST)
    if constant is None:
        tensor = ir.tensor(np.array(np.finfo(np.float32).min, np.float32), name=_LOWEST)
        constant = ir.Value(name=_LOWEST, const_value=tensor, shape=ir.Shape([]), type=ir.TensorType(tensor.dtype))
        graph.register_initializer(constant)
    result = ir.Value(name=f"{output.name}_kept_float", shape=output.shape, type=output.type)
    maximum = ir.Node("", "Max", [output, constant], outputs=[result], name=f"{node.name}_kept_float")
    graph.insert_before(readers[0].node, maximum)
    for reader, index in readers:
        reader.replace_input_with(index, result)


def _hand_over_output(graph: ir.Graph, result: ir.Value, source: ir.Value) -> None:
    """Make ``source`` the graph output that ``result`` is, under the same name and with the same shape."""
    name = result.name
    result.name, source.name = f"{name}_dequantized", name
    source.shape, source.type = result.shape, result.type
    for index, output in enumerate(graph.outputs):
        if output is result:
            graph.outputs[index] = source


def remove_unused(graph: ir.Graph) -> None:
    """Remove nodes and initializers that no output depends on."""
    for node in reversed(graph):
        if not any(value.uses() or value.is_graph_output() for value in node.outputs):
            graph.remove(node, safe=True)
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del graph.initializers[name]


def dequantized(value: ir.Value) -> Floats:
    """Return the float values of a constant that is stored as integers."""
    node = value.producer()
    assert node is not None  # noqa: S101 - see is_stored
    stored, scale = (_array(node.inputs[index]) for index in (0, 1))
    zero = _array(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else np.zeros_like(scale)
    shape = [1] * stored.ndim
    if scale.size > 1:  # a scale of shape [1] is one for the whole tensor; the axis then says nothing
        shape[node.attributes.get_int("axis", 1)] = -1
    codes = stored.astype(np.float32) - zero.astype(np.float32).reshape(shape)
    return (codes * scale.astype(np.float32).reshape(shape)).astype(np.float32)


def _array(value: ir.Value | None) -> NDArray[np.generic]:
    assert value is not None and value.const_value is not None  # noqa: S101, PT018 - constants of our own DQ
    return value.const_value.numpy()


def remember_unquantized(store: Store, quantized: Model, graph: ir.Model) -> None:
    """Keep the float graph that a quantized one was made from, for those who take layers back to float."""
    store.put(_key(quantized), {"model.onnx": Model.from_ir(graph).to_bytes()})


def recall_unquantized(store: Store, quantized: Model) -> Model | None:
    """Return the float graph, equalized if it was, that a quantized one was made from; None where nobody remembers."""
    found = store.get(_key(quantized))
    return None if found is None else Model.from_bytes(found["model.onnx"])


def float_constants(quantized: Model, store: Store) -> FloatConstants:
    """Return the float weights and biases that a quantized graph was made from.

    Empty where nobody remembers them, after a training, say: then the stored integers are what there is.
    """
    found = recall_unquantized(store, quantized)
    if found is None:
        return {}
    return {
        (str(node.name), index): value.const_value.numpy().astype(np.float32)
        for node in found.graph.graph
        for index, value in enumerate(node.inputs)
        if value is not None and value.const_value is not None and value.dtype == ir.DataType.FLOAT
    }


def _key(quantized: Model) -> str:
    return f"unquantized-{quantized.digest()[:32]}"
