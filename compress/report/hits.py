"""Which samples each engine has right, from what is stored of every sample."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compress.measure.statistics import PairedTable
from compress.report.measurements import RawMeasurements

Hits = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class PairedHits:
    """Whether the original (``before``) and the engine (``after``) have each sample [samples] right."""

    before: Hits
    after: Hits

    @property
    def lost(self) -> Hits:
        """The samples that only the original has right."""
        return self.before & ~self.after

    @property
    def won(self) -> Hits:
        """The samples that only the engine has right."""
        return ~self.before & self.after


def find_hits(raw: RawMeasurements) -> PairedHits | None:
    """Return which samples are right: by the metric where it counts samples, else by the predicted class."""
    scores = (raw.baseline_score, raw.compressed_score)
    if scores[0] is not None and scores[1] is not None and all(_counts(score) for score in scores if score is not None):
        return PairedHits(scores[0] > 0.5, scores[1] > 0.5)
    if raw.label is None or raw.baseline_prediction is None or raw.compressed_prediction is None:
        return None
    return PairedHits(raw.baseline_prediction == raw.label, raw.compressed_prediction == raw.label)


def hit_table(raw: RawMeasurements) -> PairedTable | None:
    """Return how many samples both, one or none of the engines have right; None where there is no right or wrong."""
    hits = find_hits(raw)
    if hits is None or len(hits.before) == 0:
        return None
    lost, won, both = int(hits.lost.sum()), int(hits.won.sum()), int((hits.before & hits.after).sum())
    return PairedTable(both, lost, won, len(hits.before) - both - lost - won)


def _counts(scores: NDArray[np.float32]) -> bool:
    return bool(((scores == 0) | (scores == 1)).all())
