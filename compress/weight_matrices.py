"""Weights as matrices [outputs, inputs]: which initializers are such, and which patterns their zeros follow."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compress.model import Model

Array = NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class WeightMatrix:
    """The weight of a Conv, Gemm or MatMul: one matrix [outputs, inputs] for each place of the kernel.

    Attributes:
        node: Name of the node that multiplies with it.
        op: Its operator.
        initializer: Name of the constant: the weight, or the integers behind a DequantizeLinear.
        outputs: The axis of the output channels, from 0.
        inputs: The axis of the input channels, from 0; for a grouped convolution those of one group.
    """

    node: str
    op: str
    initializer: str
    outputs: int
    inputs: int

    def spread(self, array: Array) -> Array:
        """Return a view [outputs, …, inputs] of the weight: Conv [O, I, kh, kw] → [O, kh, kw, I]."""
        return np.moveaxis(array, (self.outputs, self.inputs), (0, -1))

    def gather(self, spread: Array) -> Array:
        """Return a view in the weight's own layout of what :meth:`spread` returned."""
        return np.moveaxis(spread, (0, -1), (self.outputs, self.inputs))


def find_matrices(graph: ir.Graph) -> tuple[WeightMatrix, ...]:
    """Return the weights of Conv, Gemm and MatMul, in the graph's order.

    1. The weight is the second input: an initializer, or the DequantizeLinear of one.
    2. What several nodes read is a matrix only where all read it along the same axes; it is named once, with the first.
    3. A weight that anything else reads too (an embedding that is also the output layer) is none.
    """
    found: dict[str, WeightMatrix] = {}
    for node in graph:
        constant = _constant_behind(node.inputs[1]) if len(node.inputs) > 1 and node.inputs[1] is not None else None
        if constant is None or str(constant.name) in found:
            continue
        matrices = [_matrix(reader, index, constant) for reader, index in _readers(constant)]
        own = _matrix(node, 1, constant)
        if own and all(each and (each.outputs, each.inputs) == (own.outputs, own.inputs) for each in matrices):
            found[own.initializer] = own
    return tuple(found.values())


def follows(array: Array, matrix: WeightMatrix, kept: int, of: int) -> bool:
    """Return whether at most ``kept`` of each ``of`` consecutive input channels are not zero, 2 of 4 for ``2:4``.

    Never where the number of input channels is no multiple of ``of``.

    Source: NVIDIA TensorRT developer guide, "Sparsity": the algorithm by which a kernel [K, C, R, S] is found eligible.
    """
    spread = matrix.spread(array)
    if spread.shape[-1] == 0 or spread.shape[-1] % of:
        return False
    groups = spread.reshape(*spread.shape[:-1], -1, of)
    return int(np.count_nonzero(groups, axis=-1).max(initial=0)) <= kept


def two_of_four(model: Model) -> tuple[WeightMatrix, ...]:
    """Return the weights that sparse tensor cores can take: those that follow 2:4 and are not all zero."""
    constants = model.graph.graph.initializers
    found = []
    for matrix in find_matrices(model.graph.graph):
        constant = constants[matrix.initializer].const_value
        array = None if constant is None else constant.numpy()
        if array is not None and follows(array, matrix, 2, 4) and np.any(array):
            found.append(matrix)
    return tuple(found)


def _constant_behind(value: ir.Value) -> ir.Value | None:
    """Return the initializer that a value is, or that a DequantizeLinear makes it of."""
    producer = value.producer()
    if producer is not None and producer.op_type == "DequantizeLinear" and producer.inputs[0] is not None:
        value = producer.inputs[0]
    return value if value.is_initializer() and value.const_value is not None else None


def _readers(constant: ir.Value) -> Iterator[tuple[ir.Node, int]]:
    """Yield who reads a constant and where, in bodies of If and Loop too, through the DequantizeLinear behind it."""
    for node, index in constant.uses():
        if node.op_type == "DequantizeLinear" and index == 0:
            yield from node.outputs[0].uses()
        else:
            yield node, index


def _matrix(node: ir.Node, index: int, constant: ir.Value) -> WeightMatrix | None:
    rank = len(constant.const_value.shape) if constant.const_value is not None else 0
    if node.domain not in ("", "ai.onnx") or rank < 2 or index != 1:
        return None
    match node.op_type:
        case "Conv":
            axes = (0, 1)
        case "Gemm":
            axes = (0, 1) if node.attributes.get_int("transB", 0) else (1, 0)
        case "MatMul":
            axes = (rank - 1, rank - 2)
        case _:
            return None
    return WeightMatrix(str(node.name), node.op_type, str(constant.name), *axes)
