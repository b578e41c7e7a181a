"""Which initializers are trained: decided by what reads them, never by their type alone.

Resize scales, clip bounds and the running statistics of a BatchNormalization are float initializers too.
"""

from collections.abc import Iterator

import onnx_ir as ir

WEIGHT_POSITIONS: dict[str, tuple[int, ...]] = {
    "Attention": (),
    "BatchNormalization": (1, 2),
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "Gather": (0,),
    "Gemm": (0, 1, 2),
    "GroupNormalization": (1, 2),
    "GRU": (1, 2, 3),
    "InstanceNormalization": (1, 2),
    "LayerNormalization": (1, 2),
    "LSTM": (1, 2, 3, 7),
    "MatMul": (0, 1),
    "PRelu": (1,),
    "RMSNormalization": (1,),
    "RNN": (1, 2, 3),
}
"""Input positions at which an operator reads trained values."""

_ARITHMETIC = frozenset({"Add", "Mul", "Sub", "Div"})
_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE)
_CARRIERS = frozenset(
    {
        *("Cast", "CastLike", "Expand", "Flatten", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose"),
        *("Unsqueeze", "Concat", "QuantizeLinear", "DequantizeLinear", "FakeQuantize"),
    }
)


def trainable_initializers(graph: ir.Graph) -> tuple[str, ...]:
    """Return the names of the initializers that training may change, in the graph's order.

    1. A float initializer at a weight position of an operator is trained.
    2. So is a float vector or larger (not a scalar) that an activation is added to or multiplied with: a bias or a
       scale that the exporter wrote as arithmetic.
    3. What reaches such a position through a cast, a transposition or a change of shape counts as if it were there.
    4. Nothing that feeds only shapes, bounds, axes, statistics or quantization scales is trained.
    """
    return tuple(name for name, value in graph.initializers.items() if _is_float(value) and _is_trained(value))


def _is_float(value: ir.Value) -> bool:
    return value.const_value is not None and value.const_value.dtype in _FLOATS


def _is_trained(value: ir.Value) -> bool:
    size = value.const_value.size if value.const_value is not None else 0
    return any(is_weight_position(node, index, size) for node, index in _readers(value))


def is_weight_position(node: ir.Node, index: int, size: int) -> bool:
    """Return whether an operator reads a trained value of ``size`` elements at a position."""
    if node.op_type in _ARITHMETIC:
        return size > 1
    return index in WEIGHT_POSITIONS.get(node.op_type, ())


def _readers(value: ir.Value) -> Iterator[tuple[ir.Node, int]]:
    """Yield who reads a value, through what only carries it on."""
    for node, index in value.uses():
        if node.op_type in _CARRIERS and index == 0:
            for output in node.outputs:
                yield from _readers(output)
        else:
            yield node, index
