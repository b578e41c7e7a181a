"""Compensated rounding: what one weight loses when it is rounded, weights that are still float make up for."""

from collections.abc import Iterable

import numpy as np
import onnx
from numpy.typing import NDArray

from compress.data.samples import Array
from compress.quantize.dialects import Grid
from compress.quantize.repair.open_graph import OpenGraph
from compress.quantize.repair.patches import Patches

_Floats = NDArray[np.float64]
MOST_INPUTS = 4096
"""Inputs of one output at most: their covariance takes 128 MiB."""
_DAMPING = 0.01
"""Share of the mean diagonal that is added to it: what few samples say of many inputs is not wholly trusted."""


def round_layer(read: Iterable[Array], graph: OpenGraph, stop: str, weight: Array, grid: Grid) -> None:
    """Store the integers of a layer's weight such that its outputs keep their spread; its bias is corrected afterwards.

    The error of the outputs, but for their mean, is Σ (w - ŵ)ᵀ C (w - ŵ), with C the covariance of what the layer reads
    behind the layers that are rounded already. Inputs are rounded one by one, the strongest first; the error of each
    is passed on to those that are left, in the proportion that C says. Scales stay as they are, and so do zeros: they
    may be a pattern that a runtime looks for.

    Args:
        read: What the layer reads, dequantized, in batches.
        graph: The quantized graph; changed in place.
        stop: Name of the Conv, Gemm or MatMul.
        weight: Its float weight, in the node's layout.
        grid: Of the weights.

    Source: Frantar et al., GPTQ (2023), section 3, algorithm 1, the largest diagonal first; Hassibi, Stork: Optimal
    Brain Surgeon (1993).
    """
    node = graph.node(stop)
    patches = Patches.of(node, weight.shape)
    dequantize = graph.producer(node.input[1])
    assert dequantize is not None  # noqa: S101 - the plan stored it as integers
    scale = graph.constant(dequantize.input[1]).astype(np.float64)
    rows = patches.rows(weight.astype(np.float64))
    covariance = measure_covariance(read, patches)
    codes = round_compensated(rows, patches.grouped(scale), covariance, grid)
    graph.change(dequantize.input[0], patches.weight(codes).astype(np.int8))


def measure_covariance(batches: Iterable[Array], patches: Patches) -> _Floats:
    """Return the covariance of what a layer's outputs read: [groups, inputs, inputs]."""
    total: _Floats = np.zeros(())
    square: _Floats = np.zeros(())
    count = 0
    for batch in batches:
        columns = patches.columns(np.asarray(batch, np.float32))
        total = total + columns.sum(axis=2, dtype=np.float64)
        square = square + (columns @ columns.transpose(0, 2, 1)).astype(np.float64)
        count += columns.shape[2]
    mean = total / max(count, 1)
    covariance: _Floats = square / max(count, 1) - mean[:, :, None] * mean[:, None, :]
    return covariance


def round_compensated(rows: _Floats, scale: _Floats, covariance: _Floats, grid: Grid) -> _Floats:
    """Return the codes [groups, outputs, inputs] of weights with scales [groups, outputs] and inputs' covariance."""
    inputs = rows.shape[2]
    diagonal = np.einsum("gii->gi", covariance)
    damping = _DAMPING * diagonal.mean(axis=1) + np.finfo(np.float32).tiny
    order = np.argsort(-diagonal, axis=1, kind="stable")
    left = np.take_along_axis(rows, order[:, None, :], 2)
    sorted_ = np.take_along_axis(np.take_along_axis(covariance, order[:, :, None], 1), order[:, None, :], 2)
    inverse = np.linalg.inv(sorted_ + damping[:, None, None] * np.eye(inputs))
    # The upper factor of the inverse: its row i says how those that are left take over the error of i.
    factor = np.linalg.cholesky((inverse + inverse.transpose(0, 2, 1)) / 2).transpose(0, 2, 1)
    codes = np.empty_like(left)
    zero = left == 0
    for i in range(inputs):
        rounded = np.clip(np.rint(left[:, :, i] / scale), grid.low, grid.high)
        codes[:, :, i] = np.where(zero[:, :, i], 0.0, rounded)
        error = (left[:, :, i] - codes[:, :, i] * scale) / factor[:, i, i, None]
        left[:, :, i + 1 :] -= error[:, :, None] * factor[:, None, i, i + 1 :]
    found = np.empty_like(codes)
    np.put_along_axis(found, order[:, None, :], codes, 2)
    return found


def is_roundable(node: onnx.NodeProto, shape: tuple[int, ...]) -> bool:
    """Return whether compensated rounding can be had for a layer with a weight of some shape.

    A convolution must state its padding, and what an output reads must not be so much that its covariance is a burden.
    """
    inputs = Patches.of(node, shape).inputs
    stated = all(each.name != "auto_pad" or each.s in (b"NOTSET", b"VALID") for each in node.attribute)
    return node.op_type in ("Conv", "Gemm", "MatMul") and stated and inputs <= MOST_INPUTS
