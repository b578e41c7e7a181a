"""BatchNormalization and the weights before it: apart while a model is cut and trained, one when it is run."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compress.model import Model

_Floats = NDArray[np.float64]
_EPSILON = 1e-5
_MEAN = 3
"""Input of the running mean."""


def has_batch_norm(model: Model) -> bool:
    """Return whether a graph has BatchNormalization as an operator of its own."""
    return any(_normalises(node) for node in model.graph.graph)


def fold_batch_norm(model: Model) -> Model:
    """Return the model with each BatchNormalization in the weights of the Conv, ConvTranspose or Gemm before it.

    γ·(W·x + b - μ)/√(σ² + ε) + β = (γ/√(σ² + ε))·W·x + γ·(b - μ)/√(σ² + ε) + β. Outputs stay the same but for rounding.
    Nodes and values keep their names, equal graphs give equal bytes, the history stays. One that follows anything else,
    or whose layer's own output is read elsewhere, is left alone. Without any, the model itself is returned.
    """
    if not has_batch_norm(model):
        return model
    copy = model.copy_graph()
    for node in [node for node in copy.graph if _normalises(node)]:
        layer = _layer_before(node)
        if layer is not None:
            _fold(copy.graph, layer, node)
    return Model.from_ir(copy, model.history)


def move_biases(graph: ir.Graph) -> None:
    """Move the bias of each layer that a BatchNormalization could be folded into, into its mean, in place.

    W·x + b - μ = W·x - (μ - b). While batches normalise, a bias in front has no gradient but what rounding leaves, and
    an optimizer that scales gradients follows that.
    """
    for norm in [node for node in graph if _normalises(node)]:
        layer = _layer_before(norm)
        bias = layer.node.inputs[2] if layer is not None and len(layer.node.inputs) > 2 else None
        if layer is not None and bias is not None:
            mean = _values(norm.inputs[_MEAN])
            shifted = mean - layer.beta * _values(bias).reshape(-1)
            _set_constant(graph, norm, _MEAN, np.broadcast_to(shifted, mean.shape), f"{norm.name}.mean")
            layer.node.resize_inputs(2)
            _drop_if_unused(graph, bias)


def normalisation_after(node: ir.Node) -> ir.Node | None:
    """Return the BatchNormalization that alone reads a node's output and could be folded into it, or None."""
    uses = list(node.outputs[0].uses())
    reader = uses[0].node if len(uses) == 1 else None
    return reader if reader is not None and _normalises(reader) and _layer_before(reader) is not None else None


@dataclass(frozen=True, slots=True)
class _Layer:
    """A weighted operator: where its output channels are in the weight, and how often that axis is repeated.

    Attributes:
        groups: Of a ConvTranspose [C, M/group, …], whose channels are M = groups times that axis; 1 otherwise.
        beta: What the node multiplies its bias with.
    """

    node: ir.Node
    axis: int
    groups: int = 1
    beta: float = 1.0


def _normalises(node: ir.Node) -> bool:
    if node.op_type != "BatchNormalization" or node.domain not in ("", "ai.onnx"):
        return False
    return node.attributes.get_int("training_mode", 0) == 0 and node.attributes.get_int("spatial", 1) == 1


def _layer_before(norm: ir.Node) -> _Layer | None:
    """Return the layer that a BatchNormalization can go into."""
    source = norm.inputs[0]
    node = None if source is None else source.producer()
    if source is None or node is None or len(source.uses()) != 1 or source.is_graph_output():
        return None
    layer = _as_layer(node)
    if layer is None:
        return None
    constants = (*norm.inputs[1:5], node.inputs[1], *node.inputs[2:3])
    return layer if all(value is None or _is_constant(value) for value in constants) else None


def _as_layer(node: ir.Node) -> _Layer | None:
    match node.op_type if node.domain in ("", "ai.onnx") else "":
        case "Conv":
            return _Layer(node, 0)
        case "ConvTranspose":
            return _Layer(node, 1, node.attributes.get_int("group", 1))
        case "Gemm":
            beta = node.attributes.get_float("beta", 1.0)
            return _Layer(node, 0 if node.attributes.get_int("transB", 0) else 1, beta=beta) if beta else None
    return None


def _is_constant(value: ir.Value) -> bool:
    return value.is_initializer() and value.const_value is not None and not value.is_graph_output()


def _fold(graph: ir.Graph, layer: _Layer, norm: ir.Node) -> None:
    gain, shift, mean, variance = (_values(value) for value in norm.inputs[1:5])
    factor = gain / np.sqrt(variance + norm.attributes.get_float("epsilon", _EPSILON))
    node = layer.node
    weight = node.inputs[1]
    assert weight is not None  # noqa: S101 - looked at before
    _set_constant(graph, node, 1, _scale(_values(weight), factor, layer), f"{weight.name}_folded")
    given = node.inputs[2] if len(node.inputs) > 2 else None
    before = np.zeros(1) if given is None else layer.beta * _values(given)
    bias = ((before - mean) * factor + shift) / layer.beta
    name = f"{weight.name.removesuffix('.weight')}.bias" if weight.name else f"{node.name}.bias"
    _set_constant(graph, node, 2, bias.reshape(-1), name)
    _take_over(norm, node)
    constants = norm.inputs[1:5]
    graph.remove(norm, safe=True)
    for value in constants:
        _drop_if_unused(graph, value)


def _scale(weight: _Floats, factor: _Floats, layer: _Layer) -> _Floats:
    """Return a weight times a factor [channels] along the axis of its output channels."""
    shape = weight.shape
    if layer.groups > 1:
        # [C, M/group, …]: the first C/group rows make the first M/group channels.
        weight = weight.reshape(layer.groups, -1, *shape[1:])
        along = factor.reshape(layer.groups, 1, -1, *[1] * (len(shape) - 2))
        return np.asarray((weight * along).reshape(shape))
    sizes = [1] * len(shape)
    sizes[layer.axis] = -1
    return np.asarray(weight * factor.reshape(sizes))


def _set_constant(graph: ir.Graph, node: ir.Node, index: int, array: _Floats, name: str) -> None:
    """Give a node a constant: under the name it has where nothing else reads that, else under a new one."""
    old = node.inputs[index] if index < len(node.inputs) else None
    like = node.inputs[1]
    assert like is not None and like.const_value is not None  # noqa: S101, PT018 - weight or gain, looked at before
    dtype = like.const_value.dtype
    if old is not None and len(old.uses()) == 1 and old.const_value is not None:
        old.const_value = ir.Tensor(array.astype(dtype.numpy()), dtype=dtype, name=old.name)
        old.shape = ir.Shape(array.shape)
        return
    name = _unique(name, graph)
    tensor = ir.Tensor(array.astype(dtype.numpy()), dtype=dtype, name=name)
    value = ir.Value(name=name, const_value=tensor, shape=ir.Shape(array.shape), type=ir.TensorType(dtype))
    graph.register_initializer(value)
    if index >= len(node.inputs):
        node.resize_inputs(index + 1)
    node.replace_input_with(index, value)


def _take_over(norm: ir.Node, node: ir.Node) -> None:
    """Let a layer's output be read in the place of the normalised one; a graph output keeps its name."""
    old, new = norm.outputs[0], node.outputs[0]
    name, is_output = old.name, old.is_graph_output()
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    if is_output:
        old.name = None
        new.name, new.shape = name, old.shape


def _drop_if_unused(graph: ir.Graph, value: ir.Value | None) -> None:
    if value is not None and value.is_initializer() and not value.uses() and not value.is_graph_output():
        del graph.initializers[str(value.name)]


def _unique(name: str, graph: ir.Graph) -> str:
    taken = {value.name for node in graph.all_nodes() for value in node.outputs}
    taken |= {*graph.initializers, *(value.name for value in graph.inputs)}
    candidate, number = name, 0
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    return candidate


def _values(value: ir.Value | None) -> _Floats:
    assert value is not None and value.const_value is not None  # noqa: S101, PT018 - looked at before
    return value.const_value.numpy().astype(np.float64)
