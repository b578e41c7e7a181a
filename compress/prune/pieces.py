"""Vectors of sizes that are partly fixed, written as fixed pieces and computed ones."""

from dataclasses import replace
from itertools import groupby

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compress.prune.concrete import Array, Concrete
from compress.prune.names import free_name, names_of

SIZES = {"ConstantOfShape": 0, "Expand": 1, "Reshape": 1, "Resize": 3}
"""Where operators read the sizes of what they make."""


def write_pieces(graph: ir.Graph, concrete: Concrete) -> Concrete:
    """Let nodes read computed sizes as a Concat of constants and of single computed sizes, in place.

    A size that is fixed can then be set without a trace of how it was computed.

    Returns:
        What is known, with the new values; the same object where nothing was changed.
    """
    values: dict[str, Array] = {}
    taken = names_of(graph)
    for node in tuple(graph):
        index = SIZES.get(node.op_type, -1) if node.domain in ("", "ai.onnx") else -1
        vector = node.inputs[index] if 0 <= index < len(node.inputs) else None
        if vector is None or vector.is_initializer() or _is_in_pieces(vector):
            continue
        fixed = concrete.fixed.get(vector.name or "")
        if fixed is not None and fixed.any():
            writer = _Writer(graph, node, taken)
            node.replace_input_with(index, writer.write(vector, concrete.values[vector.name or ""], fixed))
            values |= writer.values
    if not values:
        return concrete
    shapes = {name: array.shape for name, array in values.items()}
    return replace(
        concrete,
        shapes={**concrete.shapes, **shapes},
        dynamic={**concrete.dynamic, **dict.fromkeys(shapes, (False,))},
        values={**concrete.values, **values},
    )


def _is_in_pieces(vector: ir.Value) -> bool:
    """Return whether a vector is a Concat of constants and of single numbers."""
    concat = vector.producer()
    if concat is None or concat.op_type != "Concat":
        return False
    return all(
        piece is not None and (piece.is_initializer() or (piece.shape is not None and piece.shape.dims == (1,)))
        for piece in concat.inputs
    )


class _Writer:
    """Writes the pieces of one vector in front of the node that reads it."""

    def __init__(self, graph: ir.Graph, node: ir.Node, taken: set[str]) -> None:
        self._graph, self._node, self._taken = graph, node, taken
        self.values: dict[str, Array] = {}

    def write(self, vector: ir.Value, sizes: Array, fixed: NDArray[np.bool_]) -> ir.Value:
        """Return the vector as runs of constants and single numbers taken from it."""
        stem = f"{self._node.outputs[0].name}.sizes"
        pieces: list[ir.Value] = []
        for is_fixed, run in groupby(range(len(sizes)), key=lambda place: bool(fixed[place])):
            places = list(run)
            if is_fixed:
                pieces.append(self._constant(f"{stem}.{places[0]}", sizes[places[0] : places[-1] + 1]))
            else:
                pieces += [self._taken_from(vector, place, sizes, stem) for place in places]
        return self._add(ir.node("Concat", pieces, {"axis": 0}), stem, sizes)

    def _taken_from(self, vector: ir.Value, place: int, sizes: Array, stem: str) -> ir.Value:
        start, end = (
            self._constant(f"{stem}.{place}.{side}", np.array([bound], np.int64))
            for side, bound in (("start", place), ("end", place + 1))
        )
        return self._add(ir.node("Slice", [vector, start, end]), f"{stem}.{place}", sizes[place : place + 1])

    def _add(self, node: ir.Node, name: str, array: Array) -> ir.Value:
        value = node.outputs[0]
        node.name = value.name = free_name(name, self._taken)
        value.shape, value.type = ir.Shape(array.shape), ir.TensorType(ir.DataType.from_numpy(array.dtype))
        self._graph.insert_before(self._node, node)
        self.values[value.name] = array
        return value

    def _constant(self, name: str, array: Array) -> ir.Value:
        name = free_name(name, self._taken)
        value = ir.Value(name=name, const_value=ir.tensor(array, name=name))
        value.shape, value.type = ir.Shape(array.shape), ir.TensorType(ir.DataType.from_numpy(array.dtype))
        self._graph.register_initializer(value)
        self.values[name] = array
        return value
