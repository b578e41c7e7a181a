"""Which initializers are trained: decided by what reads them, never by their type alone.

Resize scales, clip bounds, attention masks, tables of sines and the running statistics of a BatchNormalization are
float initializers too.
"""

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

WEIGHT_POSITIONS: dict[str, tuple[int, ...]] = {
    "BatchNormalization": (1, 2),
    "BiasGelu": (1,),
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "DeformConv": (1, 3),
    "Einsum": (0, 1, 2),
    "FastGelu": (1,),
    "FusedMatMul": (0, 1),
    "GRU": (1, 2, 3),
    "Gemm": (0, 1, 2),
    "GroupNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "LSTM": (1, 2, 3, 7),
    "LayerNormalization": (1, 2),
    "MatMul": (0, 1),
    "PRelu": (1,),
    "RMSNormalization": (1,),
    "RNN": (1, 2, 3),
    "SimplifiedLayerNormalization": (1,),
    "SkipLayerNormalization": (2, 3, 4),
    "SkipSimplifiedLayerNormalization": (2, 3),
}
"""Input positions at which an operator reads trained values."""

_ARITHMETIC = frozenset({"Add", "Mul", "Sub", "Div"})
_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE)
_CARRIERS = frozenset(
    {
        *("Cast", "CastLike", "DequantizeLinear", "Expand", "FakeQuantize", "Flatten", "Identity", "QuantizeLinear"),
        *("Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"),
    }
)
"""They carry on what they read at position 0; Concat carries on all."""

_MASK = 1e4
"""A constant that reaches this hides something where it is added: no trained value is as large."""


def trainable_initializers(graph: ir.Graph) -> tuple[str, ...]:
    """Return the names of the initializers that training may change, in the graph's order.

    1. A float initializer at a weight position of an operator is trained.
    2. So is one that an activation is added to or multiplied with, where it is a vector along one axis (a bias or a
       scale that the exporter wrote as arithmetic), or is added before another weight is met (an embedding of places).
       One that shifts or scales a graph input (normalisation of an image) is not, nor is a mask.
    3. So is a table that Gather looks up, unless what is looked up is multiplied with an activation (sines of places).
    4. What reaches such a position through a cast, a quantization or a change of shape counts as if it were there.
    5. Nothing else is: shapes, bounds, axes, statistics, quantization scales.
    """
    return tuple(
        name
        for name, value in graph.initializers.items()
        if _is_float(value) and any(_is_trained(value, node, index) for node, index in _readers(value))
    )


def is_weight_position(node: ir.Node, index: int) -> bool:
    """Return whether an operator reads a trained value at a position, whatever the value."""
    return index in WEIGHT_POSITIONS.get(node.op_type, ())


def is_vector(value: ir.Value) -> bool:
    """Return whether an initializer has several elements, all along one axis."""
    constant = value.const_value
    return constant is not None and constant.size > 1 and constant.size in constant.shape.numpy()


def _is_float(value: ir.Value) -> bool:
    return value.const_value is not None and value.const_value.dtype in _FLOATS


def _is_trained(value: ir.Value, node: ir.Node, index: int) -> bool:
    if node.op_type in _ARITHMETIC:
        return not _touches_input(node, 1 - index) and (
            is_vector(value) or (node.op_type == "Add" and _is_embedding(value, node))
        )
    if node.op_type == "Gather":
        return index == 0 and not _is_multiplied(node.outputs[0])
    return is_weight_position(node, index)


def _is_embedding(value: ir.Value, add: ir.Node) -> bool:
    constant = value.const_value
    if constant is None or constant.size < 2 or not np.abs(constant.numpy().astype(np.float32)).max() < _MASK:
        return False
    return _meets_weight(add)


def _touches_input(node: ir.Node, index: int) -> bool:
    """Return whether an operand is an input of the graph, as it is or after casts, layouts and constants."""
    value = node.inputs[index]
    while value is not None and (producer := value.producer()) is not None:
        if producer.op_type not in _CARRIERS and producer.op_type not in _ARITHMETIC:
            return False
        computed = [operand for operand in producer.inputs if operand is not None and not operand.is_initializer()]
        value = computed[0] if computed else None
    return value is not None and value.is_graph_input()


def _is_multiplied(found: ir.Value) -> bool:
    return any(
        node.op_type == "Mul" and (other := node.inputs[1 - index]) is not None and not other.is_initializer()
        for node, index in _readers(found)
    )


def _meets_weight(node: ir.Node) -> bool:
    """Return whether some operator with weights comes after a node."""
    seen, waiting = {node}, [node]
    while waiting:
        for follower in waiting.pop().successors():
            if follower.op_type in WEIGHT_POSITIONS:
                return True
            if follower not in seen:
                seen.add(follower)
                waiting.append(follower)
    return False


def _readers(value: ir.Value) -> Iterator[tuple[ir.Node, int]]:
    """Yield who reads a value, through what only carries it on."""
    seen, waiting = {value}, [value]
    while waiting:
        for node, index in waiting.pop().uses():
            if (node.op_type not in _CARRIERS or index != 0) and node.op_type != "Concat":
                yield node, index
                continue
            carried = [output for output in node.outputs if output not in seen]
            seen.update(carried)
            waiting += carried
