"""Which samples the original had right and the engine has wrong, the worst first."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from compress.report.measurements import RawMeasurements

SHOWN: Final = 24
"""Samples that a page shows, and that pictures are kept of."""


def find_lost(raw: RawMeasurements) -> NDArray[np.bool_] | None:
    """Return for every sample whether only the original has its class right; None where classes are not known."""
    label, before, after = raw.label, raw.baseline_prediction, raw.compressed_prediction
    if label is None or before is None or after is None:
        return None
    return np.asarray((before == label) & (after != label))


def rank_lost(raw: RawMeasurements) -> list[int]:
    """Return the places of the samples that a page shows: those that the engine is surest of being wrong on."""
    lost = find_lost(raw)
    if lost is None:
        return []
    places = np.flatnonzero(lost)
    if raw.compressed_confidence is not None:
        places = places[np.argsort(-raw.compressed_confidence[places], kind="stable")]
    return [int(place) for place in places[:SHOWN]]
