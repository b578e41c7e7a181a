"""What slices of the samples lost: each value of each column, both accuracies and the interval of the change."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from compress.measure.statistics import score_interval
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
    hits = _hits(raw)
    if hits is None:
        return []
    rows = [
        row
        for column, values in raw.groupings.items()
        if len(set(values.tolist())) > 1
        for row in _compare_column(column, values, *hits)
    ]
    return sorted(rows, key=lambda row: row.change)


def _hits(raw: RawMeasurements) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
    """Return which samples both engines have right."""
    before, after = raw.baseline_score, raw.compressed_score
    if before is not None and after is not None:
        whole = np.isin(before, (0, 1)).all() and np.isin(after, (0, 1)).all()
        return (before == 1, after == 1) if whole else None
    label, said, says = raw.label, raw.baseline_prediction, raw.compressed_prediction
    if label is None or said is None or says is None:
        return None
    return said == label, says == label


def _compare_column(
    column: str, values: NDArray[np.str_], before: NDArray[np.bool_], after: NDArray[np.bool_]
) -> list[SliceChange]:
    names, places = np.unique(values, return_inverse=True)
    totals = np.bincount(places).astype(np.float64)
    right_before, right_after, lost, gained = (
        np.bincount(places, which, len(names)).astype(np.float64)
        for which in (before, after, before & ~after, ~before & after)
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
