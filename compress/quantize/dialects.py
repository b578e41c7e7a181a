"""Dialects: what INT8 means for a runtime on an instruction set (DESIGN: dialects)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from compress.targets import DialectName


@dataclass(frozen=True, slots=True)
class Grid:
    """An integer grid: value = (q − zero point)·scale, with ``low ≤ q ≤ high``."""

    dtype: Literal["int8", "uint8"]
    low: int
    high: int
    symmetric: bool

    @property
    def steps(self) -> int:
        """The number of steps between the ends."""
        return self.high - self.low

    @property
    def numpy_dtype(self) -> np.dtype[np.generic]:
        """The storage type."""
        return np.dtype(self.dtype)


@dataclass(frozen=True, slots=True)
class Dialect:
    """Which operators become integer, and in what form their operands are written.

    Attributes:
        weighted: Operators with a constant second operand that get Q/DQ on their input and integer weights.
        output: Those of them that are integer only if their output is quantized too (ONNX Runtime's QLinearConv).
        follows: Operators without weights that are integer when every operand comes from an integer operator.
        moves_data: Operators that only move elements: input and output share one scale.
        quantize_bias: Whether the bias is written as int32 with scale = input scale · weight scale.
        residual_branch: Whether only the branch of a residual Add that is *not* fused into a convolution is quantized.
    """

    name: DialectName
    activation: Grid
    weight: Grid
    weighted: frozenset[str]
    output: frozenset[str]
    follows: frozenset[str]
    moves_data: frozenset[str]
    quantize_bias: bool
    residual_branch: bool


_UINT8 = Grid("uint8", 0, 255, symmetric=False)
_INT8 = Grid("int8", -127, 127, symmetric=True)
# Two products of uint8 and 7-bit int8 always fit the 16-bit sum of vpmaddubsw: 2 · 255 · 64 < 32,768.
_INT7 = Grid("int8", -63, 63, symmetric=True)

_MOVES = frozenset(
    {"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "MaxPool", "DepthToSpace", "SpaceToDepth"}
)
_FOLLOWS = frozenset({"Add", "Mul", "Concat", "AveragePool", "GlobalAveragePool", "LeakyRelu", "Sigmoid"})


def _onnxruntime(name: DialectName, weight: Grid) -> Dialect:
    return Dialect(
        name=name,
        activation=_UINT8,
        weight=weight,
        weighted=frozenset({"Conv", "Gemm", "MatMul"}),
        output=frozenset({"Conv"}),
        follows=_FOLLOWS,
        moves_data=_MOVES,
        quantize_bias=True,
        residual_branch=False,
    )


DIALECTS: dict[DialectName, Dialect] = {
    "u8s8": _onnxruntime("u8s8", _INT8),
    "u8s8-7bit": _onnxruntime("u8s8-7bit", _INT7),
    "s8s8-symmetric": Dialect(
        name="s8s8-symmetric",
        activation=_INT8,
        weight=_INT8,
        weighted=frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"}),
        output=frozenset(),
        follows=frozenset(),
        moves_data=frozenset(),
        quantize_bias=False,
        residual_branch=True,
    ),
}
