"""Small pictures of samples, as they lie in their source, for people who look at mistakes."""

from collections.abc import Iterator, Sequence
from typing import Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from compress.data.samples import Array, SampleSet
from compress.data.sources import Sample
from compress.data.subset import narrow

LONGER_SIDE: Final = 64
"""Of a picture, in pixels, at most."""

Picture = NDArray[np.uint8]
"""[height, width], or [height, width, 3] in red, green and blue."""

_SHORTER_SIDE: Final = 8
"""Of what may be a picture; shorter is a table of numbers."""
_PROPORTION: Final = 8
"""Of the sides of what may be a picture."""
_CHANNELS: Final = (1, 3, 4)


@runtime_checkable
class Sourced(Protocol):
    """A sample set that can give its samples as they are before any transform."""

    def read_source(self) -> Iterator[Sample]:
        """Yield every sample as it lies in the source."""
        ...


def take_pictures(samples: SampleSet, places: Sequence[int]) -> dict[int, Picture]:
    """Return a picture of each sample at some places that looks like an image; nothing of sets that cannot tell.

    Args:
        samples: Any set.
        places: Of samples there, in any order.
    """
    wanted = sorted(places)
    if not wanted or samples.synthetic:
        return {}
    chosen = narrow(samples, wanted)
    if not isinstance(chosen, Sourced):
        return {}
    found: dict[int, Picture] = {}
    for place, sample in zip(wanted, chosen.read_source(), strict=False):
        pictures = (draw_picture(array) for array in sample.inputs.values())
        first = next((picture for picture in pictures if picture is not None), None)
        if first is not None:
            found[place] = first
    return found


def draw_picture(array: Array) -> Picture | None:
    """Return an array as a picture of at most 64 pixels a side; None where it does not look like an image.

    Bytes are taken as they are, floats from 0 to 1 too; other numbers are stretched from the least to the largest.

    Args:
        array: [height, width], with 1, 3 or 4 channels before or behind.
    """
    pixels = _pixels(array)
    if pixels is None:
        return None
    image = Image.fromarray(pixels)
    image.thumbnail((LONGER_SIDE, LONGER_SIDE), Image.Resampling.LANCZOS)
    return np.asarray(image)


def _pixels(array: Array) -> Picture | None:
    if array.ndim == 3 and array.shape[-1] not in _CHANNELS and array.shape[0] in _CHANNELS:
        array = np.moveaxis(array, 0, -1)
    if array.ndim == 3 and array.shape[-1] in _CHANNELS:
        array = array[..., 0] if array.shape[-1] == 1 else array[..., :3]
    elif array.ndim != 2:
        return None
    short, long = sorted(array.shape[:2])
    if short < _SHORTER_SIDE or long > _PROPORTION * short or array.dtype.kind not in "buif":
        return None
    return _as_bytes(array)


def _as_bytes(array: Array) -> Picture:
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array, np.uint8)
    values = np.nan_to_num(array.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 1:
        values = (values - low) / (high - low or 1.0)
    return np.ascontiguousarray(np.rint(255 * values), np.uint8)
