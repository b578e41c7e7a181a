"""Padding: places that a mask hides say nothing of what a model does, and calibration must not listen to them."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from compress.data.samples import Array

_MASK = "mask"


def find_mask(feed: Mapping[str, Array]) -> NDArray[np.bool_] | None:
    """Return which places of a batch are real [batch, places]; None where no input says so, or all are.

    That is an input with ``mask`` in its name (``attention_mask``), of rank 2, with no values but 0 and 1.
    """
    for name, array in feed.items():
        if _MASK not in name or array.ndim != 2 or array.dtype.kind not in "biuf":
            continue
        real = array != 0
        if np.array_equal(real, array) and real.any() and not real.all():
            return np.asarray(real, np.bool_)
    return None


def drop_padding(array: Array, mask: NDArray[np.bool_] | None) -> Array:
    """Return an activation [batch, places, channels] without its hidden places: [1, real places, channels].

    Activations of other shapes, and all where there is no mask, stay as they are.
    """
    if mask is None or array.ndim != 3 or array.shape[:2] != mask.shape:
        return array
    real: Array = array[mask][None]
    return real
