"""What slices of the samples lost: each value of each column, both accuracies and the interval of the change."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from compress.measure.statistics import score_interval
from compress.report.hits import PairedHits, find_hits
from compress.report.measurements import RawMeasurements

ROWS_SHOWN: Final = 40


@dataclass(frozen=True, slots=True)
class SliceChange:
    """A slice: samples that only one of the engines had right, both shares of right ones, and the change's interval."""

    column: str
    value: str
    samples: int
    lost: int
    gained: int
    before: float
    after: float
    interval: tuple[float, float]

    @property
    def change(self) -> float:
        """What its share gained; negative where it lost."""
        return self.after - self.before


def compare_slices(raw: RawMeasurements) -> list[SliceChange]:
    """Return every slice, the largest loss first; none where samples have no columns, or are not right or wrong."""
    hits = find_hits(raw)
    if hits is None:
        return []
    rows = [
        row
        for column, values in raw.groupings.items()
        if len(set(values.tolist())) > 1
        for row in _compare_column(column, values, hits)
    ]
    return sorted(rows, key=lambda row: row.change)


def _compare_column(column: str, values: NDArray[np.str_], hits: PairedHits) -> list[SliceChange]:
    names, places = np.unique(values, return_inverse=True)
    totals = np.bincount(places).astype(np.float64)
    right_before, right_after, lost, gained = (
        np.bincount(places, which, len(names)).astype(np.float64)
        for which in (hits.before, hits.after, hits.lost, hits.won)
    )
    low, high = score_interval(lost, gained, totals)
    return [
        SliceChange(
            column,
            str(names[k]),
            int(totals[k]),
            int(lost[k]),
            int(gained[k]),
            float(right_before[k] / totals[k]),
            float(right_after[k] / totals[k]),
            (-float(high[k]), -float(low[k])),
        )
        for k in range(len(names))
    ]
