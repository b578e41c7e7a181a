"""The rows that a linear layer multiplies with: a convolution's windows, a product's vectors, at some places only."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compress.weight_matrices import WeightMatrix

Array = NDArray[np.generic]
Floats = NDArray[np.float64]


def pick_rows(total: int, wanted: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Return ascending places of rows, all of them where no more are there than wanted."""
    if total <= wanted:
        return np.arange(total)
    return np.sort(generator.choice(total, wanted, replace=False))


def count_rows(output: Array, matrix: WeightMatrix) -> int:
    """Return how many rows a layer's output has: one for each place of a convolution, each vector of a product."""
    channels = output.shape[1] if matrix.op == "Conv" else output.shape[-1]
    return int(output.size) // max(int(channels), 1)


def output_rows(output: Array, matrix: WeightMatrix, rows: NDArray[np.int64]) -> Floats:
    """Return rows [rows, outputs] of an output [batch, outputs, …] of a Conv or [batch, …, outputs] of a product."""
    last = np.moveaxis(output, 1, -1) if matrix.op == "Conv" else output
    return last.reshape(-1, last.shape[-1])[rows].astype(np.float64)


def input_rows(
    node: ir.Node,
    matrix: WeightMatrix,
    given: Array,
    weight: Sequence[int],
    output: Sequence[int],
    rows: NDArray[np.int64],
) -> Floats:
    """Return what each row of the output is computed from, [rows, features], in the order of the weight's elements.

    Args:
        node: The layer.
        matrix: Its weight.
        given: Its first input.
        weight: Shape of the weight.
        output: Shape of the output.
        rows: Which rows.
    """
    if matrix.op != "Conv":
        return given.reshape(-1, given.shape[-1])[rows].astype(np.float64)
    kernel, places = weight[2:], output[2:]
    rank = len(kernel)
    strides = node.attributes.get_ints("strides", [1] * rank)
    dilations = node.attributes.get_ints("dilations", [1] * rank)
    pads = _pads(node, given.shape[2:], kernel, places, strides, dilations)
    padded = np.pad(given, [(0, 0), (0, 0), *pads])
    sample, *starts = np.unravel_index(rows, (len(given), *places))
    windows = []
    for axis, start in enumerate(starts):
        offsets = np.arange(kernel[axis]) * dilations[axis]
        index = start[:, None] * strides[axis] + offsets[None, :]
        windows.append(index.reshape(len(rows), *[1] * axis, kernel[axis], *[1] * (rank - axis - 1)))
    # Two runs of indices around the channels: NumPy puts them in front, [rows, kernel…, channels].
    where: tuple[Any, ...] = (sample.reshape(-1, *[1] * rank), slice(None), *windows)
    taken: Array = padded[where]
    return np.moveaxis(taken, -1, 1).reshape(len(rows), -1).astype(np.float64)


def _pads(
    node: ir.Node,
    sizes: Sequence[int],
    kernel: Sequence[int],
    places: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> list[tuple[int, int]]:
    """Return padding before and after each spatial axis."""
    kind = node.attributes.get_string("auto_pad", "NOTSET")
    if kind in ("NOTSET", "VALID"):
        given = node.attributes.get_ints("pads", [0] * (2 * len(kernel))) if kind == "NOTSET" else [0] * 2 * len(kernel)
        return list(zip(given[: len(kernel)], given[len(kernel) :], strict=True))
    found = []
    for size, width, count, stride, dilation in zip(sizes, kernel, places, strides, dilations, strict=True):
        total = max(0, (count - 1) * stride + (width - 1) * dilation + 1 - size)
        before = total // 2 if kind == "SAME_UPPER" else math.ceil(total / 2)
        found.append((before, total - before))
    return found
