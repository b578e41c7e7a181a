"""Streaming histogram of activations: one pass, fixed memory, no range needed beforehand."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from compress.errors import DataError

BINS = 1 << 16
COUNTED = 1 << 17
"""Values of one sample of one tensor that are counted at most; of a larger one, every k-th, k odd."""

_CHUNK = 1 << 18


@dataclass(slots=True)
class Histogram:
    """Counts of float32 values by their upper 16 bits, and the exact ends.

    A bin is a bfloat16 number: sign, 8 bits of exponent, 7 of mantissa. Bins are at most 0.8 % wide relative to the
    value, whatever the range, so no first pass is needed to find it, and two histograms add up exactly. Memory: 512 KiB
    a tensor, however many samples there are.

    Of a feature map with more than ``COUNTED`` values a sample, every k-th is counted: its distribution is known to a
    thousandth by then, and counting is what calibration spends its time on. The ends are always those of all values.
    """

    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))
    low: float = np.inf
    high: float = -np.inf

    def observe(self, values: NDArray[np.float32]) -> None:
        """Add the elements of an array [batch, …]; how samples are grouped into batches makes no difference.

        Raises:
            DataError: One of them is not finite.
        """
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise DataError("not finite", hint="check the model and the samples for NaN and infinity")
        self.low, self.high = min(self.low, low), max(self.high, high)
        each = values.reshape(len(values), -1) if values.ndim else values.reshape(1, 1)
        # An odd stride walks over all columns of a feature map, whose width is even as a rule.
        stride = -(-each.shape[1] // COUNTED) | 1
        flat = np.ascontiguousarray(each[:, ::stride], np.float32).reshape(-1)
        upper = flat.view(np.uint16)[1 if np.little_endian else 0 :: 2]
        for start in range(0, flat.size, _CHUNK):
            # In pieces that stay in the cache: twice as fast as one call, and no int64 copy of a whole activation.
            self.counts += np.bincount(upper[start : start + _CHUNK], minlength=BINS)

    def bins(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the centres of the non-empty bins in ascending order, and their counts."""
        used = np.flatnonzero(self.counts).astype(np.uint32)
        centres = ((used << 16) | 0x8000).astype(np.uint32).view(np.float32).astype(np.float64)
        centres[(used & 0x7FFF) == 0] = 0.0
        order = np.argsort(centres, kind="stable")
        return np.clip(centres[order], self.low, self.high), self.counts[used[order]]

    @property
    def total(self) -> int:
        """The number of values counted."""
        return int(self.counts.sum())
