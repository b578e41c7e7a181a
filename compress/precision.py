"""In which precision the compute nodes of a graph are written."""

from collections import Counter

import onnx_ir as ir

from compress.model import Model

_BLOCKS = "MatMulNBits"
COMPUTE = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", _BLOCKS, "LSTM", "GRU", "RNN", "Einsum", "Attention"})
"""Operators that do the arithmetic of a network: what the share of integer nodes is counted over."""

_NAMES = {
    ir.DataType.FLOAT: "float32",
    ir.DataType.FLOAT16: "float16",
    ir.DataType.BFLOAT16: "bfloat16",
    ir.DataType.DOUBLE: "float64",
}


def count_precisions(model: Model) -> dict[str, int]:
    """Return how many compute nodes there are in each precision, ``{"int8": 17, "float32": 1}``.

    A node counts as int8 when its input and its weight both come out of a DequantizeLinear: the form that a runtime
    turns into an integer kernel. Whether it really did is in the runtime's own log. Where only the weight is integer,
    the node counts under ``int8 weights`` or ``int4 weights``.
    """
    counted = Counter(precision_of(node) for node in model.graph.graph if node.op_type in COMPUTE)
    return dict(sorted(counted.items()))


def precision_of(node: ir.Node) -> str:
    """Return the precision that a compute node is written in: ``int8``, ``float32`` …."""
    operands = [value for value in node.inputs[:2] if value is not None]
    producers = [producer.op_type if (producer := value.producer()) else None for value in operands]
    if node.op_type == _BLOCKS:
        return f"int{node.attributes.get_int('bits', 4)} weights"
    if producers and all(op == "DequantizeLinear" for op in producers):
        return "int8"
    if len(operands) > 1 and (bits := _weight_bits(operands[1])) is not None:
        return f"int{bits} weights"
    dtype = operands[0].dtype if operands else None
    return _NAMES.get(dtype, "float32") if dtype is not None else "float32"


def _weight_bits(value: ir.Value) -> int | None:
    """Return the bits of a weight that comes out of a DequantizeLinear of a constant, or None for any other value."""
    producer = value.producer()
    if producer is None or producer.op_type != "DequantizeLinear" or producer.inputs[0] is None:
        return None
    stored = producer.inputs[0].const_value
    return None if stored is None else round(stored.dtype.itemsize * 8)
