"""The form of a graph that pruning works on: nothing shared by accident, nothing computed that is constant."""

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from compress.model import Model
from compress.prune.concrete import Concrete, make_concrete
from compress.prune.names import free_name, names_of
from compress.prune.pieces import write_pieces
from compress.prune.sequences import write_splits

_FOLDED_BYTES = 1 << 20
_STATES = {"LSTM": (5, 6), "GRU": (5,), "RNN": (5,)}
_QUANTIZATION = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A model in the form that pruning works on, and what two runs of it say."""

    model: Model
    concrete: Concrete


def prepare(model: Model) -> Model:
    """Return an equal model in the form that pruning works on; its initializers are those that groups name.

    1. Each reader of a constant vector or matrix of one value gets its own: exporters store equal ones once.
    2. What depends on constants and fixed sizes alone is a constant.
    3. A recurrent layer whose initial state is all zeros has none.
    4. A split that is written as a sequence of tensors is a Split.
    5. Sizes that are partly computed are put together of constants and of single computed sizes.

    A model that has this form is returned as it is, digest included.

    Raises:
        PruneError: ONNX Runtime cannot run the graph.
    """
    return prepare_with_shapes(model).model


def prepare_with_shapes(model: Model) -> Prepared:
    """Return what :func:`prepare` returns, and the shapes of all values.

    Raises:
        PruneError: ONNX Runtime cannot run the graph.
    """
    copy = model.copy_graph()
    graph = copy.graph
    changed = _lift_constants(graph)
    changed = _untie(graph) or changed
    prepared = Model.from_ir(copy, model.history) if changed else replace(model, graph=copy)
    concrete = make_concrete(prepared)
    changed = _drop_zero_states(graph, concrete) or changed
    changed = _fold(graph, concrete) or changed
    parts = write_splits(graph, concrete)
    pieces = write_pieces(graph, concrete)
    if not changed and not parts and pieces is concrete:
        return Prepared(replace(model, graph=copy), concrete)
    remove_unused(graph)
    shapes = {**pieces.shapes, **parts}
    dynamic = {**{name: (False,) * len(shape) for name, shape in parts.items()}, **pieces.dynamic}
    return Prepared(Model.from_ir(copy, model.history), replace(pieces, shapes=shapes, dynamic=dynamic))


def _lift_constants(graph: ir.Graph) -> bool:
    found = False
    for node in tuple(graph):
        value = node.attributes.get("value") if node.op_type == "Constant" and node.domain in ("", "ai.onnx") else None
        if value is None or node.outputs[0].is_graph_output():
            continue
        tensor = value.as_tensor()
        _replace_by_initializer(graph, node.outputs[0], tensor.numpy(), tensor)
        graph.remove(node, safe=True)
        found = True
    return found


def _untie(graph: ir.Graph) -> bool:
    """Give each reader its own copy of a float constant that has one value everywhere."""
    found, taken = False, names_of(graph)
    for name, value in tuple(graph.initializers.items()):
        uses, constant = tuple(value.uses()), value.const_value
        if constant is None or len(uses) < 2 or constant.size < 2 or value.is_graph_output():
            continue
        if not constant.dtype.is_floating_point() or any(node.graph is not graph for node, _ in uses):
            continue
        array = constant.numpy()
        if not np.all(array == array.flat[0]):
            continue
        for number, (node, index) in enumerate(uses[1:], 1):
            own = ir.Value(
                name=free_name(f"{name}_{number}", taken), type=value.type, shape=value.shape, const_value=constant
            )
            graph.register_initializer(own)
            node.replace_input_with(index, own)
        found = True
    return found


def _drop_zero_states(graph: ir.Graph, concrete: Concrete) -> bool:
    """Remove initial states that are zeros at any size: it is the default, and layers may share them."""
    found = False
    for node in graph:
        for index in _STATES.get(node.op_type, ()):
            value = node.inputs[index] if index < len(node.inputs) else None
            known = _known_array(value, concrete)
            if known is not None and not known.any():
                node.replace_input_with(index, None)
                found = True
    return found


def _known_array(value: ir.Value | None, concrete: Concrete) -> "np.ndarray | None":
    if value is None:
        return None
    if value.is_initializer() and value.const_value is not None and not value.is_graph_input():
        return value.const_value.numpy()
    return concrete.values.get(value.name or "")


def _fold(graph: ir.Graph, concrete: Concrete) -> bool:
    """Replace what two runs of other sizes agreed on, and what is not a copy of a weight that has other readers."""
    found = False
    for node in tuple(graph):
        if node.op_type in _QUANTIZATION or any(value.is_graph_output() for value in node.outputs):
            continue
        outputs = [value for value in node.outputs if value.name]
        if not all(value.name in concrete.static for value in outputs) or not _is_worth_folding(node, concrete):
            continue
        if any(user.graph is not graph for value in outputs for user, _ in value.uses()):
            continue
        for value in outputs:
            _replace_by_initializer(graph, value, concrete.values[value.name or ""], None)
        graph.remove(node, safe=True)
        found = True
    return found


def _is_worth_folding(node: ir.Node, concrete: Concrete) -> bool:
    made = sum(concrete.values[value.name or ""].nbytes for value in node.outputs if value.name)
    read = [value for value in node.inputs if value is not None and value.is_initializer()]
    held = sum(0 if value.const_value is None else value.const_value.nbytes for value in read)
    shared = any(_is_tied(value) for value in read)
    quantized = any(_is_dequantized(value) for value in node.inputs)
    return not shared and not quantized and made <= max(held, _FOLDED_BYTES)


def _is_tied(value: ir.Value) -> bool:
    """Return whether several nodes read a weight: folding it for one of them would untie it from the others."""
    constant = value.const_value
    return constant is not None and constant.dtype.is_floating_point() and constant.size > 1 and len(value.uses()) > 1


def _is_dequantized(value: ir.Value | None) -> bool:
    producer = None if value is None else value.producer()
    return producer is not None and producer.op_type in _QUANTIZATION


def _replace_by_initializer(
    graph: ir.Graph, value: ir.Value, array: "np.ndarray", tensor: ir.TensorProtocol | None
) -> None:
    name = str(value.name)
    # Shapes of empty tensors and of scalars survive only without a copy that makes them contiguous.
    constant = ir.tensor(array.copy(), name=name) if tensor is None else tensor
    own = ir.Value(name=name, const_value=constant)
    own.shape, own.type = ir.Shape(array.shape), ir.TensorType(constant.dtype)
    value.name = f"{name}.computed"
    graph.register_initializer(own)
    for user, index in tuple(value.uses()):
        user.replace_input_with(index, own)


def remove_unused(graph: ir.Graph) -> None:
    """Remove nodes and initializers that nobody reads, in place."""
    for node in reversed(tuple(graph)):
        if not any(value.uses() or value.is_graph_output() for value in node.outputs):
            graph.remove(node, safe=True)
    for name, value in tuple(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output() and not value.is_graph_input():
            del graph.initializers[name]
