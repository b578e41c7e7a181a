"""In which precision the compute nodes of a graph are written."""

from collections import Counter

import onnx_ir as ir

from compress.model import Model

COMPUTE = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN", "Einsum", "Attention"})
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
    turns into an integer kernel. Whether it really did is in the runtime's own log.
    """
    counted = Counter(_precision(node) for node in model.graph.graph if node.op_type in COMPUTE)
    return dict(sorted(counted.items()))


def _precision(node: ir.Node) -> str:
    operands = [value for value in node.inputs[:2] if value is not None]
    producers = [producer.op_type if (producer := value.producer()) else None for value in operands]
    if producers and all(op == "DequantizeLinear" for op in producers):
        return "int8"
    dtype = operands[0].dtype if operands else None
    return _NAMES.get(dtype, "float32") if dtype is not None else "float32"
