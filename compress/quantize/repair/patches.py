"""What the outputs of a layer read, as columns: patches of a convolution, rows of a matrix product."""

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from compress.data.samples import Array

_Floats = NDArray[np.float64]
COLUMNS = 1024
"""Columns that are taken of one batch at most, evenly over it."""


@dataclass(frozen=True, slots=True)
class Patches:
    """A layer as matrices: weights [groups, outputs, inputs], columns [groups, inputs, places].

    Attributes:
        shape: Of the weight in the node's layout.
        groups: Of a convolution; 1 for a matrix product.
        transposed: Whether the weight of a matrix product is [inputs, outputs].
        strides: Of a convolution, one for each spatial axis; None for a matrix product.
        pads: Before and after, for each spatial axis.
        dilations: One for each spatial axis.
    """

    shape: tuple[int, ...]
    groups: int
    transposed: bool
    strides: tuple[int, ...] | None
    pads: tuple[tuple[int, int], ...]
    dilations: tuple[int, ...]

    @classmethod
    def of(cls, node: onnx.NodeProto, shape: tuple[int, ...]) -> "Patches":
        """Return the patches of a Conv, Gemm or MatMul with a weight of some shape."""
        attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        if node.op_type != "Conv":
            return cls(shape, 1, not attributes.get("transB", 0), None, (), ())
        axes = len(shape) - 2
        pads = attributes.get("pads", [0] * 2 * axes)
        return cls(
            shape,
            attributes.get("group", 1),
            transposed=False,
            strides=tuple(attributes.get("strides", [1] * axes)),
            pads=tuple(zip(pads[:axes], pads[axes:], strict=True)),
            dilations=tuple(attributes.get("dilations", [1] * axes)),
        )

    @property
    def inputs(self) -> int:
        """How many numbers one output reads."""
        return self.shape[0 if self.transposed else 1] * int(np.prod(self.shape[2:]))

    def rows(self, weight: _Floats) -> _Floats:
        """Return a weight [outputs, inputs, …] as [groups, outputs, inputs]."""
        if self.strides is None:
            return (weight.T if self.transposed else weight)[None]
        return weight.reshape(self.groups, self.shape[0] // self.groups, -1)

    def weight(self, rows: _Floats) -> _Floats:
        """Return [groups, outputs, inputs] as a weight in the node's layout."""
        if self.strides is None:
            return np.ascontiguousarray(rows[0].T if self.transposed else rows[0])
        return rows.reshape(self.shape)

    def grouped(self, scale: _Floats) -> _Floats:
        """Return one number for each output as [groups, outputs]."""
        return scale.reshape(self.groups, -1)

    def columns(self, batch: Array) -> NDArray[np.float32]:
        """Return what some places of a batch [batch, channels, …] or [batch, …, channels] read."""
        if self.strides is None:
            flat = batch.reshape(-1, batch.shape[-1])
            return np.asarray(flat[:: _stride(len(flat))].T[None], np.float32)
        kernel = self.shape[2:]
        padded = np.pad(batch, ((0, 0), (0, 0), *self.pads))
        spans = tuple((size - 1) * step + 1 for size, step in zip(kernel, self.dilations, strict=True))
        axes = tuple(range(2, batch.ndim))
        windows = np.lib.stride_tricks.sliding_window_view(padded, spans, axis=axes)
        places = tuple(slice(None, None, step) for step in self.strides)
        taps = tuple(slice(None, None, step) for step in self.dilations)
        windows = windows[(slice(None), slice(None), *places, *taps)]
        # [batch, channels, places…, taps…] → [channels, taps…, batch, places…]; every k-th place of all.
        count = len(axes)
        moved = np.moveaxis(windows, (1, *range(2 + count, 2 + 2 * count)), tuple(range(1 + count)))
        chosen = _choose(moved, 1 + count)
        return np.asarray(chosen.reshape(self.groups, -1, chosen.shape[-1]), np.float32)


def _choose(windows: Array, leading: int) -> Array:
    """Return [leading axes…, places] of a view [leading axes…, batch, place axes…], ``COLUMNS`` of them at most."""
    shape = windows.shape[leading:]
    places = int(np.prod(shape))
    chosen = np.unravel_index(np.arange(0, places, _stride(places)), shape)
    index: tuple[slice | NDArray[np.intp], ...] = (*(slice(None),) * leading, *chosen)
    return windows[index]


def _stride(places: int) -> int:
    """Return the stride that leaves ``COLUMNS``; odd, so that it walks over all columns of a map of even width."""
    return -(-places // COLUMNS) | 1
