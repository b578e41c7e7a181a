"""Integer codes of a weight in blocks: each block of a row has a scale of its own, and a zero point where wanted."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float32]
_Codes = NDArray[np.int16]

Bits = Literal[4, 8]
Search = Literal["nearest", "mse"]

_SHARES = np.linspace(1.0, 0.5, 26, dtype=np.float32)
"""How much of a block's range the search keeps at most and at least; what lies beyond is clipped."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """The codes of a weight [N, K] in B = ceil(K / block) blocks a row; value = (code − zero point)·scale.

    Attributes:
        codes: [N, B, block], unsigned: 0 to 2^bits − 1; a last block that is not full is filled with zero points.
        scale: [N, B], positive.
        zero_point: [N, B], unsigned; 2^(bits−1) everywhere where the blocks are symmetric.
        columns: K.
        symmetric: Whether every zero point is the middle.
    """

    codes: _Codes
    scale: _Floats
    zero_point: _Codes
    columns: int
    bits: Bits
    symmetric: bool

    @property
    def size(self) -> int:
        """Elements of a block."""
        return int(self.codes.shape[-1])

    def dequantize(self) -> _Floats:
        """Return the weight [N, K] that the codes stand for."""
        values = (self.codes - self.zero_point[..., None]).astype(np.float32) * self.scale[..., None]
        whole: _Floats = values.reshape(len(values), -1)[:, : self.columns]
        return whole


def quantize_blocks(weight: _Floats, bits: Bits, block: int, *, symmetric: bool, search: Search) -> Blocks:
    """Return the codes of a weight, rounded to nearest.

    Args:
        weight: [N, K], blocks run along K.
        bits: Of a code.
        block: Elements that share a scale.
        symmetric: One zero point in the middle, or one for each block.
        search: ``nearest`` takes each block's whole range; ``mse`` tries to clip it to 100, 98, … 50 % and keeps what
            gives the least squared error of the weights.

    Source: Choi, Nahshan and others on clipping (e.g. R. Banner et al., "Post training 4-bit quantization of
        convolutional networks for rapid-deployment", NeurIPS 2019, section 3): a clipped range trades a larger error of
        few outliers for a finer grid of the others. Here the trade is evaluated, not modelled.
    """
    rows, columns = weight.shape
    missing = -columns % block
    padded = np.pad(weight, ((0, 0), (0, missing))).reshape(rows, -1, block)
    shares = _SHARES if search == "mse" else _SHARES[:1]
    scale, zero = _grid(padded, bits, symmetric, float(shares[0]))
    least = _errors(padded, scale, zero, bits)
    for share in shares[1:]:
        tried_scale, tried_zero = _grid(padded, bits, symmetric, float(share))
        errors = _errors(padded, tried_scale, tried_zero, bits)
        better = errors < least
        scale, zero = np.where(better, tried_scale, scale), np.where(better, tried_zero, zero)
        least = np.where(better, errors, least)
    return Blocks(_encode(padded, scale, zero, bits), scale, zero, columns, bits, symmetric)


def _grid(padded: _Floats, bits: Bits, symmetric: bool, share: float) -> tuple[_Floats, _Codes]:
    """Return scale and zero point [N, B] of a grid that holds a share of each block's range."""
    if symmetric:
        half = 2 ** (bits - 1)
        scale = _positive(share * np.abs(padded).max(-1) / np.float32(half - 1))
        return scale, np.full(scale.shape, half, np.int16)
    # Zero is always on the grid: pruned weights stay pruned, and the filling of a last block costs nothing.
    low, high = np.minimum(padded.min(-1), 0) * share, np.maximum(padded.max(-1), 0) * share
    top = 2**bits - 1
    scale = _positive((high - low) / np.float32(top))
    return scale, np.clip(np.rint(-low / scale), 0, top).astype(np.int16)


def _positive(scale: _Floats) -> _Floats:
    """Return the scales; a block of zeros gets 1."""
    return np.where(scale >= np.finfo(np.float32).tiny, scale, np.float32(1)).astype(np.float32)


def _encode(padded: _Floats, scale: _Floats, zero: _Codes, bits: Bits) -> _Codes:
    codes = np.rint(padded / scale[..., None]) + zero[..., None]
    clipped: _Codes = np.clip(codes, 0, 2**bits - 1).astype(np.int16)
    return clipped


def _errors(padded: _Floats, scale: _Floats, zero: _Codes, bits: Bits) -> _Floats:
    """Return the squared error [N, B] of each block."""
    codes = _encode(padded, scale, zero, bits)
    difference = (codes - zero[..., None]).astype(np.float32) * scale[..., None] - padded
    errors: _Floats = np.einsum("nbk,nbk->nb", difference, difference)
    return errors


def pack_codes(codes: _Codes, bits: Bits) -> NDArray[np.uint8]:
    """Return codes [..., n] as bytes [..., ceil(n·bits / 8)]: of two 4-bit codes the first is in the low half.

    Source: ONNX Runtime, contrib operator MatMulNBits, inputs B and zero_points.
    """
    if bits == 8:
        return codes.astype(np.uint8)
    odd = codes.shape[-1] % 2
    even = np.pad(codes, [(0, 0)] * (codes.ndim - 1) + [(0, odd)]).astype(np.uint8)
    packed: NDArray[np.uint8] = (even[..., 0::2] | (even[..., 1::2] << 4)).astype(np.uint8)
    return packed
