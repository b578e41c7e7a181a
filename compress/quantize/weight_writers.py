"""How a matrix product reads weights in few bits: ONNX Runtime's ``MatMulNBits``, or a DequantizeLinear."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compress.quantize.blocks import Blocks, pack_codes

DOMAIN = "com.microsoft"
_INTEGER_COMPUTE = 4
"""MatMulNBits' ``accuracy_level`` that lets the kernel quantize activations to int8, row by row, as it multiplies."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A node with a constant weight; ``transposed`` where it is stored as [N, K] and not as [K, N]."""

    node: ir.Node
    weight: NDArray[np.float32]
    transposed: bool

    @property
    def name(self) -> str:
        """A name for what belongs to the layer: of the node and of its weight, which other nodes may use too."""
        weight = self.node.inputs[1]
        return f"{self.node.name}_{weight.name if weight is not None else ''}"

    def rows(self) -> NDArray[np.float32]:
        """Return the weight as [N, K]."""
        return self.weight if self.transposed else self.weight.T


def write_matmul_nbits(graph: ir.Graph, layer: Layer, blocks: Blocks, *, integers: bool) -> int:
    """Put a MatMulNBits in the place of a node; return the bytes of what it reads.

    Source: ONNX Runtime, contrib operator MatMulNBits: B [N, blocks, block·bits/8], scales [N, blocks], zero points
        packed along the blocks; without them the middle of the grid. ``integers``: it may multiply in int8.
    """
    node, bits = layer.node, blocks.bits
    name = layer.name
    operands: list[ir.Value | None] = [node.inputs[0]]
    stored = [
        _initializer(graph, f"{name}_blocks", pack_codes(blocks.codes, bits)),
        _initializer(graph, f"{name}_scales", blocks.scale),
    ]
    operands += stored
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if not blocks.symmetric:
        stored.append(_initializer(graph, f"{name}_zero_points", pack_codes(blocks.zero_point, bits)))
        operands.append(stored[-1])
    elif bias is not None:
        operands.append(None)
    if bias is not None:
        operands += [None, bias]
    numbers = {"K": blocks.columns, "N": len(blocks.codes), "bits": bits, "block_size": blocks.size}
    numbers["accuracy_level"] = _INTEGER_COMPUTE if integers else 1
    output = node.outputs[0]
    made = ir.Node(
        DOMAIN,
        "MatMulNBits",
        operands,
        [ir.AttrInt64(key, number) for key, number in numbers.items()],
        outputs=[ir.Value(name=output.name, shape=output.shape, type=output.type)],
        name=node.name,
    )
    ir.convenience.replace_nodes_and_values(graph, node, [node], [made], [output], made.outputs)
    return sum(value.const_value.nbytes for value in stored if value.const_value is not None)


def write_dequantize(graph: ir.Graph, layer: Layer, blocks: Blocks) -> int:
    """Let a node read its weight through a DequantizeLinear; return the bytes of what that reads.

    A row that is one block is written per axis, scale [N], which opsets older than 21 have too.
    """
    import ml_dtypes

    node, middle, per_row = layer.node, 2 ** (blocks.bits - 1), blocks.scale.shape[1] == 1
    integer = ml_dtypes.int4 if blocks.bits == 4 else np.int8
    axis = int(layer.transposed) if not per_row else int(not layer.transposed)

    def lay(rows: NDArray[np.generic]) -> NDArray[np.generic]:
        return rows if layer.transposed else np.ascontiguousarray(rows.T)

    def lay_grid(grid: NDArray[np.generic]) -> NDArray[np.generic]:
        return grid[:, 0] if per_row else lay(grid)

    codes = (blocks.codes - middle).reshape(len(blocks.codes), -1)
    name = layer.name
    stored = [
        _initializer(graph, f"{name}_blocks", lay(codes).astype(integer)),
        _initializer(graph, f"{name}_scales", lay_grid(blocks.scale)),
    ]
    if not blocks.symmetric:
        stored.append(_initializer(graph, f"{name}_zero_points", lay_grid(blocks.zero_point - middle).astype(integer)))
    attributes = [ir.AttrInt64("axis", axis)]
    if not per_row:
        attributes.append(ir.AttrInt64("block_size", blocks.size))
    result = ir.Value(
        name=f"{name}_dequantized", shape=ir.Shape(layer.weight.shape), type=ir.TensorType(ir.DataType.FLOAT)
    )
    made = ir.Node("", "DequantizeLinear", stored, attributes, outputs=[result], name=f"{name}_dequantize")
    graph.insert_before(node, made)
    node.replace_input_with(1, result)
    return sum(value.const_value.nbytes for value in stored if value.const_value is not None)


def _initializer(graph: ir.Graph, name: str, array: NDArray[np.generic]) -> ir.Value:
    tensor = ir.tensor(array, name=name)
    value = ir.Value(name=name, const_value=tensor, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype))
    graph.register_initializer(value)
    return value
