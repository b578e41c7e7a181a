"""Which nodes may be float16: by what their operator does, by their constants, and by measured magnitudes.

1. Operators whose float16 form sums, exponentiates or divides by what may be tiny stay float32: normalisations,
   softmax, reductions, powers, roots, logarithms. So do operators that runtimes have in float32 only.
2. A node stays float32 if a value that it reads or gives was measured beyond half of the largest float16 (65,504), or
   if all of a value is below the smallest normal one (2⁻¹⁴): the rest of the range is for samples that were not seen.
3. Constants likewise: their largest magnitude must be a normal float16. Scales of Q/DQ may move by ``SCALE_ERROR`` of
   themselves one by one; those of int8 weights by more, since their codes can follow (``scales.py``).
4. What only moves elements follows the node that made them.

Source: IEEE 754-2019, binary16: largest 65,504, smallest normal 2⁻¹⁴.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx_ir as ir

from compress.quantize.half.scales import has_int8_codes, scale_errors

LARGEST: Final = float(np.finfo(np.float16).max)
SMALLEST: Final = float(np.finfo(np.float16).smallest_normal)
HEADROOM: Final = 2.0
"""How many times larger than what was measured a value may become before it overflows."""
SCALE_ERROR: Final = 2.0**-8
"""Of a scale that is rounded to float16: as much as the rounding of the largest code to an integer, half of 1/127."""

_COMPUTE = frozenset(
    {
        *("Abs", "Add", "AveragePool", "BatchNormalization", "Celu", "Clip", "Conv", "ConvTranspose", "Div", "Einsum"),
        *("Elu", "Erf", "GRU", "Gelu", "Gemm", "GlobalAveragePool", "GlobalMaxPool", "GridSample", "HardSigmoid"),
        *("HardSwish", "LSTM", "LeakyRelu", "MatMul", "Max", "MaxPool", "Mean", "Min", "Mish", "Mul", "Neg", "PRelu"),
        *("RNN", "Relu", "Resize", "Selu", "Sigmoid", "Softplus", "Softsign", "Sub", "Sum", "Swish", "Tanh", "Where"),
    }
)
_PAIRS = frozenset({"DequantizeLinear", "QuantizeLinear"})
_PAIRS_OPSET = 19
_MOVES = frozenset(
    {
        *("Concat", "DepthToSpace", "Dropout", "Expand", "Flatten", "Gather", "GatherElements", "Identity", "Pad"),
        *("Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"),
    }
)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The nodes that may be float16, and why others that compute stay float32: a sentence by name of the node."""

    nodes: tuple[ir.Node, ...]
    kept: Mapping[str, str]


def choose_nodes(graph: ir.Graph, opset: int, magnitudes: Mapping[str, float]) -> Chosen:
    """Return which nodes may be float16.

    Args:
        graph: With the types of its values, in topological order.
        opset: Q/DQ take float16 from 19 on.
        magnitudes: The largest magnitude of float32 values by name; of values that are not in it nothing is known,
            and nothing is held against them.
    """
    nodes: list[ir.Node] = []
    chosen: set[ir.Node] = set()
    kept: dict[str, str] = {}
    for node in graph:
        if not _has_float(node):
            continue
        reason = _refuse(node, opset, magnitudes, chosen)
        if reason is None:
            nodes.append(node)
            chosen.add(node)
        elif reason:
            kept[str(node.name)] = reason
    return Chosen(tuple(nodes), kept)


def fits(node: ir.Node, magnitudes: Mapping[str, float]) -> bool:
    """Return whether all that a node reads and gives may be float16, as far as constants and magnitudes tell."""
    return next(_excesses(node, magnitudes), None) is None


def _has_float(node: ir.Node) -> bool:
    return any(value is not None and value.dtype is ir.DataType.FLOAT for value in (*node.inputs, *node.outputs))


def _refuse(node: ir.Node, opset: int, magnitudes: Mapping[str, float], chosen: set[ir.Node]) -> str | None:
    """Return why a node stays float32, empty where that goes without saying, None where it may be float16."""
    if node.domain not in ("", "ai.onnx") or any(
        attribute.type is ir.AttributeType.GRAPH for attribute in node.attributes.values()
    ):
        return ""
    if node.op_type in _MOVES:
        return None if _follows(node, chosen) else ""
    if node.op_type in _PAIRS and opset < _PAIRS_OPSET:
        return ""
    if node.op_type not in _COMPUTE and node.op_type not in _PAIRS:
        return f"{node.op_type} is computed in float32"
    return next(_excesses(node, magnitudes), None)


def _follows(node: ir.Node, chosen: set[ir.Node]) -> bool:
    """Return whether all that a node moves was made in float16."""
    floats = [value for value in node.inputs if value is not None and value.dtype is ir.DataType.FLOAT]
    made = [value for value in floats if not value.is_initializer()]
    return bool(made) and all(value.producer() in chosen for value in made)


def _excesses(node: ir.Node, magnitudes: Mapping[str, float]) -> Iterator[str]:
    for value in (*node.inputs, *node.outputs):
        if value is None or value.dtype is not ir.DataType.FLOAT:
            continue
        if value.const_value is not None:
            yield from _judge_constant(node, value)
            continue
        magnitude = magnitudes.get(str(value.name), 1.0)
        if magnitude * HEADROOM > LARGEST:
            yield f"`{value.name}` reaches {magnitude:,.0f}, and float16 ends at {LARGEST:,.0f}"
        elif 0.0 < magnitude < SMALLEST:
            yield f"`{value.name}` stays below {magnitude:.1e}, where float16 has few digits"


def _judge_constant(node: ir.Node, value: ir.Value) -> Iterator[str]:
    assert value.const_value is not None  # noqa: S101 - the caller looked
    found = np.abs(value.const_value.numpy())
    largest = float(found.max(initial=0.0))
    if largest > LARGEST and (np.isfinite(largest) or node.op_type != "Clip"):
        yield f"its constant `{value.name}` reaches {largest:,.0f}, and float16 ends at {LARGEST:,.0f}"
    if node.op_type in _PAIRS:
        if not has_int8_codes(node) and scale_errors(found).max(initial=0.0) > SCALE_ERROR:
            yield f"its scale `{value.name}` has {float(found.min()):.1e}, where float16 has few digits"
    elif 0.0 < largest < SMALLEST:
        yield f"its constant `{value.name}` stays below {largest:.1e}, where float16 has few digits"
