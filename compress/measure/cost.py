"""What a graph costs, layer by layer: multiply-accumulates, parameters, bytes."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod

import onnx_ir as ir

from compress.model import BATCH, Model, TensorSpec

ASSUMED_SIZE = 128
"""Size of a dynamic dimension that nobody gave one."""

Shape = tuple[int, ...]

_BLOCKS = "MatMulNBits"
"""ONNX Runtime's product with a weight in blocks of few bits; the weight is [N, blocks, bytes], so K says its depth."""

_WEIGHT_TYPES = frozenset(
    {
        *(ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE),
        *(ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT4, ir.DataType.UINT4),
    }
)


@dataclass(frozen=True, slots=True)
class LayerCost:
    """One node of the graph.

    Attributes:
        output_shape: Shape of its first output with all dimensions fixed, or None where ONNX cannot infer it; the node
            then counts no MACs and no activation bytes.
        macs: Multiply-accumulates of Conv, ConvTranspose, Gemm, MatMul, LSTM, GRU, RNN, Attention and Einsum of two
            operands, their integer forms included; 0 for every other operator.
        parameters: Elements of the weights it is the first to use (one-element constants are none).
        weight_bytes: Bytes of these weights as they are stored, with scales and zero points.
        activation_bytes: Bytes of the non-constant tensors it reads and writes.
    """

    name: str
    op: str
    output_shape: Shape | None
    macs: int
    parameters: int
    weight_bytes: int
    activation_bytes: int


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over layers; ``layers`` counts them, ``unknown`` those without a shape."""

    layers: int
    macs: int
    parameters: int
    weight_bytes: int
    activation_bytes: int
    unknown: int


def count_cost(model: Model, batch: int = 1, sizes: Mapping[str, int] | None = None) -> tuple[LayerCost, ...]:
    """Return the cost of every node of the main graph, in execution order.

    DequantizeLinear nodes of weights are no layers: the weight counts, with its stored bytes, where it is used. Bodies
    of If, Loop and Scan do not count.

    Args:
        model: The model.
        batch: Size of the dimension ``batch``.
        sizes: Sizes of other named dimensions; without one, :data:`ASSUMED_SIZE`.
    """
    inferred = _infer(model, {BATCH: batch, **(sizes or {})})
    seen: set[ir.Value] = set()
    nodes = [node for node in model.graph.graph if not _is_weight_node(node)]
    return tuple(_node_cost(node, inferred, seen) for node in nodes)


def sum_cost(layers: Iterable[LayerCost]) -> Totals:
    """Return the sums over some layers."""
    counted = list(layers)
    return Totals(
        layers=len(counted),
        macs=sum(layer.macs for layer in counted),
        parameters=sum(layer.parameters for layer in counted),
        weight_bytes=sum(layer.weight_bytes for layer in counted),
        activation_bytes=sum(layer.activation_bytes for layer in counted),
        unknown=sum(layer.output_shape is None for layer in counted),
    )


def assumed_sizes(model: Model, sizes: Mapping[str, int] | None = None) -> dict[str, int]:
    """Return the dynamic input dimensions, other than the batch, whose size :func:`count_cost` has to assume."""
    names = {size for spec in model.inputs for size in spec.shape if isinstance(size, str)}
    return dict.fromkeys(sorted(names - {BATCH} - set(sizes or {})), ASSUMED_SIZE)


@dataclass(frozen=True, slots=True)
class _Inferred:
    """Shapes of the values whose sizes are all known, and bits of an element, by name."""

    shapes: Mapping[str, Shape]
    bits: Mapping[str, int]

    def bytes(self, value: ir.Value) -> int:
        """Return the bytes of a value, 0 where its shape is unknown."""
        name = value.name or ""
        return (prod(self.shapes[name]) * self.bits.get(name, 32) + 7) // 8 if name in self.shapes else 0


def _infer(model: Model, sizes: Mapping[str, int]) -> _Inferred:
    """Return what ONNX can tell about every value, for inputs of these sizes."""
    from onnx_ir.passes.common import ShapeInferencePass

    graph = model.copy_graph()
    for value, spec in zip(graph.graph.inputs, model.inputs, strict=True):
        value.shape = ir.Shape(_fixed_shape(spec, sizes))
    _stand_in(graph.graph)
    for node in graph.graph.all_nodes():
        for value in node.outputs:
            value.shape = None
    ShapeInferencePass(check_type=False, data_prop=True)(graph)
    shapes = _static_shapes(graph)
    typed = [(value, value.dtype) for value in _values(graph)]
    bits = {value.name or "": round(dtype.itemsize * 8) for value, dtype in typed if dtype is not None}
    if any((node.outputs[0].name or "") not in shapes for node in graph.graph):
        # Shapes that are computed in the graph (Shape → Gather → Reshape) are constants once the inputs are fixed.
        from onnxscript import optimizer

        optimizer.fold_constants(graph)
        ShapeInferencePass(check_type=False, data_prop=True)(graph)
        shapes = _static_shapes(graph) | shapes
    return _Inferred(shapes, bits)


def _stand_in(graph: ir.Graph) -> None:
    """Put a MatMul in the place of every MatMulNBits, whose shapes ONNX does not know."""
    for node in list(graph):
        if node.op_type != _BLOCKS:
            continue
        shape = ir.Shape([_integer(node, "K"), _integer(node, "N")])
        weight = ir.Value(name=f"{node.name}_weight", shape=shape, type=ir.TensorType(ir.DataType.FLOAT))
        graph.inputs.append(weight)
        product = ir.Node("", "MatMul", [node.inputs[0], weight], outputs=[ir.Value(name=node.outputs[0].name)])
        ir.convenience.replace_nodes_and_values(graph, node, [node], [product], node.outputs, product.outputs)


def _fixed_shape(spec: TensorSpec, sizes: Mapping[str, int]) -> list[int]:
    return [size if isinstance(size, int) else sizes.get(size, ASSUMED_SIZE) for size in spec.shape]


def _static_shapes(graph: ir.Model) -> dict[str, Shape]:
    shaped = [(value.name or "", value.shape) for value in _values(graph)]
    return {name: shape.numpy() for name, shape in shaped if shape is not None and shape.is_static()}


def _values(graph: ir.Model) -> list[ir.Value]:
    outputs = [value for node in graph.graph for value in node.outputs if value.name]
    return [*graph.graph.inputs, *graph.graph.initializers.values(), *outputs]


def _node_cost(node: ir.Node, inferred: _Inferred, seen: set[ir.Value]) -> LayerCost:
    shapes = inferred.shapes
    constants = [value for operand in node.inputs if operand is not None for value in _constants(operand)]
    new = [value for value in dict.fromkeys(constants) if value not in seen]
    seen.update(new)
    weights = [value for value in new if _is_weight(value)]
    output = shapes.get(node.outputs[0].name or "") if _is_known(node, shapes) else None
    moving = [value for value in node.inputs if value is not None and not _constants(value)]
    return LayerCost(
        name=node.name or "",
        op=node.op_type,
        output_shape=output,
        macs=_count_macs(node, shapes) if output is not None else 0,
        parameters=_count_parameters(node, weights),
        weight_bytes=sum(value.const_value.nbytes for value in new if value.const_value is not None),
        activation_bytes=sum(map(inferred.bytes, (*moving, *node.outputs))) if output is not None else 0,
    )


def _count_parameters(node: ir.Node, weights: list[ir.Value]) -> int:
    if node.op_type == _BLOCKS:
        # Several codes lie in a byte, and the last block of a row may be filled up; the sixth operand is a bias.
        bias = node.inputs[5] if len(node.inputs) > 5 else None
        biases = bias.const_value.size if bias in weights and bias is not None and bias.const_value else 0
        return _integer(node, "K") * _integer(node, "N") + biases if node.inputs[1] in weights else 0
    return sum(value.const_value.size for value in weights if value.const_value is not None)


def _is_known(node: ir.Node, shapes: Mapping[str, Shape]) -> bool:
    return node.op_type not in _MACS or all(value.name in shapes for value in node.inputs[:3] if value is not None)


def _constants(value: ir.Value) -> list[ir.Value]:
    """Return the initializers behind a value: itself, or what a DequantizeLinear of a constant reads."""
    if value.is_initializer():
        return [value]
    producer = value.producer()
    if producer is None or not _is_weight_node(producer):
        return []
    return [constant for operand in producer.inputs if operand is not None for constant in _constants(operand)]


def _is_weight_node(node: ir.Node) -> bool:
    source = node.inputs[0] if node.inputs else None
    return node.op_type == "DequantizeLinear" and source is not None and bool(_constants(source))


def _is_weight(value: ir.Value) -> bool:
    """Return whether an initializer is a weight, and not a shape, a scale or a zero point."""
    tensor = value.const_value
    if tensor is None or tensor.dtype not in _WEIGHT_TYPES or tensor.size <= 1:
        return False
    uses = value.uses()
    return not all(user.op_type in ("DequantizeLinear", "QuantizeLinear") and index > 0 for user, index in uses)


def _count_macs(node: ir.Node, shapes: Mapping[str, Shape]) -> int:
    if node.op_type == _BLOCKS:
        return prod(shapes[node.outputs[0].name or ""]) * _integer(node, "K")
    count = _MACS.get(node.op_type)
    if count is None or node.domain not in ("", "ai.onnx"):
        return 0
    operands = [_operand_shape(value, shapes) for value in node.inputs]
    return count(node, operands, shapes[node.outputs[0].name or ""])


def _operand_shape(value: ir.Value | None, shapes: Mapping[str, Shape]) -> Shape:
    return () if value is None else shapes.get(value.name or "", ())


def _conv(weight: int) -> "_Counter":
    """Each output element of Conv [N, M, …] sums over a filter of the weight [M, C/group, k…]."""
    return lambda _, operands, output: prod(output) * prod(operands[weight][1:])


def _conv_transpose(_: ir.Node, operands: list[Shape], output: Shape) -> int:  # noqa: ARG001 (a counter like the others)
    """Each input element of ConvTranspose [N, C, …] is spread over the weight [C, M/group, k…]."""
    return prod(operands[0]) * prod(operands[1][1:])


def _gemm(node: ir.Node, operands: list[Shape], output: Shape) -> int:
    return prod(output) * operands[0][0 if _integer(node, "transA") else 1]


def _matmul(_: ir.Node, operands: list[Shape], output: Shape) -> int:
    return prod(output) * operands[0][-1]


def _recurrent(_: ir.Node, operands: list[Shape], output: Shape) -> int:  # noqa: ARG001 (a counter like the others)
    """Each of seq·batch steps of X [seq, batch, in] multiplies W [dirs, gates·H, in] and R [dirs, gates·H, H] once."""
    steps, weights, recurrence = operands[0], operands[1], operands[2]
    return steps[0] * steps[1] * (prod(weights) + prod(recurrence))


def _einsum(node: ir.Node, operands: list[Shape], output: Shape) -> int:  # noqa: ARG001 (a counter like the others)
    """A product of two operands visits every combination of its indices once; other forms count 0."""
    terms = node.attributes["equation"].as_string().replace(" ", "").split("->")[0].split(",")
    pairs = list(zip(terms, operands, strict=True))
    if len(pairs) != 2 or any(len(term) != len(shape) for term, shape in pairs):
        return 0
    return prod({label: size for term, shape in pairs for label, size in zip(term, shape, strict=True)}.values())


def _attention(node: ir.Node, operands: list[Shape], output: Shape) -> int:  # noqa: ARG001 (a counter like the others)
    """Q·Kᵀ and its product with V, for Q [N, H, S, D] or [N, S, H·D]; grouped keys are shared, not computed less."""
    query, key, value = operands[:3]
    batch, queries, keys = query[0], query[-2], key[-2]
    if len(query) == 4:
        return batch * query[1] * queries * keys * (query[3] + value[3])
    heads, groups = _integer(node, "q_num_heads"), _integer(node, "kv_num_heads")
    return batch * queries * keys * (query[2] + heads * (value[2] // groups))


def _integer(node: ir.Node, name: str) -> int:
    return node.attributes[name].as_int() if name in node.attributes else 0


_Counter = Callable[[ir.Node, list[Shape], Shape], int]

_MACS: Mapping[str, _Counter] = {
    "Attention": _attention,
    "Conv": _conv(1),
    "ConvInteger": _conv(1),
    "ConvTranspose": _conv_transpose,
    "Einsum": _einsum,
    "GRU": _recurrent,
    "Gemm": _gemm,
    "LSTM": _recurrent,
    "MatMul": _matmul,
    "MatMulInteger": _matmul,
    "QLinearConv": _conv(3),
    "QLinearMatMul": _matmul,
    "RNN": _recurrent,
}
