"""What became of the accuracy, sample by sample where both reports are of the same samples."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from compress.measure.statistics import (
    Estimate,
    Floats,
    PairedTable,
    Reduce,
    independent_difference,
    mcnemar_p_value,
    paired_bootstrap,
    paired_difference,
    proportion,
)
from compress.report.diff.record import AccuracyChange, Word
from compress.report.measurements import RawMeasurements
from compress.report.record import Accuracy

_SEED: Final = 0
PROPORTIONS: Final = ("top1", "top5")
"""Metrics that are a share of samples, by name."""


def compare_accuracy(
    before: Accuracy | None,
    after: Accuracy | None,
    raw: tuple[RawMeasurements | str, RawMeasurements | str],
    *,
    same_data: bool,
) -> AccuracyChange | None:
    """Return the change from one engine's accuracy to another's; None where either is missing or of another metric.

    Args:
        before: Of the first report.
        after: Of the second.
        raw: What was stored of every sample, or the reason why there is nothing.
        same_data: Whether both evaluation sets have the same digest.
    """
    if before is None or after is None or before.metric != after.metric or before.unit != after.unit:
        return None
    change = AccuracyChange(
        metric=after.metric,
        unit=after.unit,
        higher_is_better=is_higher_better(after),
        before=before.compressed,
        after=after.compressed,
        change=after.compressed - before.compressed,
        samples=(before.samples, after.samples),
        word="not comparable",
        notes=_notes(before, after),
    )
    if not same_data:
        return _noted(change, "the samples are not the same: the numbers say little about each other")
    if isinstance(raw[0], str) or isinstance(raw[1], str):
        reasons = [reason for reason in raw if isinstance(reason, str)]
        return _compare_apart(change, f"not paired: {reasons[0]}")
    return _compare_paired(change, raw[0], raw[1])


def is_higher_better(accuracy: Accuracy) -> bool:
    """Return whether a larger number of the metric is a better one."""
    if accuracy.higher_is_better is not None:
        return accuracy.higher_is_better
    if accuracy.metric in PROPORTIONS:
        return True
    from compress.data.metrics import METRICS, load_metric  # imports the model's graph: not for every comparison

    if accuracy.metric in METRICS:
        return load_metric(accuracy.metric, Path()).higher_is_better
    # Reports older than that field: a drop is what was lost, whatever the direction.
    return (accuracy.baseline - accuracy.compressed) * accuracy.drop >= 0


def _notes(before: Accuracy, after: Accuracy) -> tuple[str, ...]:
    if before.measured_on == after.measured_on:
        return ()
    words = {"engine": "measured on the engine", "simulated": "simulated"}
    return (f"the first was {words[before.measured_on]}, the second {words[after.measured_on]}",)


def _noted(change: AccuracyChange, note: str) -> AccuracyChange:
    return change.model_copy(update={"notes": (*change.notes, note)})


def _compare_apart(change: AccuracyChange, why: str) -> AccuracyChange:
    """Return the change with the interval that two measurements have which are not paired; it is wider."""
    if change.metric not in PROPORTIONS:
        return _noted(change, why)
    shares = zip((change.before, change.after), change.samples, strict=True)
    first, second = (proportion(round(share * samples), samples) for share, samples in shares)
    return _noted(_with_estimate(change, independent_difference(first, second), equal=False), why)


def _compare_paired(change: AccuracyChange, before: RawMeasurements, after: RawMeasurements) -> AccuracyChange:
    found = pair_scores(change.metric, before, after)
    if isinstance(found, str):
        return _compare_apart(change, f"not paired: {found}")
    first, second, reduce = found
    equal = bool(np.array_equal(first, second))
    if reduce is None:
        table = PairedTable.from_rows(first[:, 0], second[:, 0])
        counted = {"p_value": mcnemar_p_value(table), "lost": table.only_baseline, "won": table.only_compressed}
        change = change.model_copy(update=counted)
        estimate = paired_difference(table)
    else:
        estimate = paired_bootstrap(first, second, reduce, seed=_SEED)
    return _with_estimate(change.model_copy(update={"paired": True}), estimate, equal=equal)


def pair_scores(
    metric: str, before: RawMeasurements, after: RawMeasurements
) -> tuple[Floats, Floats, Callable[[Floats], float] | None] | str:
    """Return the score rows [samples, k] of both engines and the metric of such rows, or why they cannot be paired.

    The metric is None for a share of samples.

    Args:
        metric: Its name.
        before: What was stored beside the first report.
        after: The same of the second.
    """
    if before.samples != after.samples or not before.samples:
        return f"{before.samples} and {after.samples} samples are stored"
    labels = before.label, after.label
    if labels[0] is not None and labels[1] is not None and not np.array_equal(labels[0], labels[1]):
        return "the samples are stored in another order"
    if before.compressed_rows is not None and after.compressed_rows is not None:
        reduce = _find_reduce(metric)
        if reduce is None:
            return f"the metric {metric} is code, which a report may not name"
        return before.compressed_rows.astype(np.float64), after.compressed_rows.astype(np.float64), reduce
    if before.compressed_score is None or after.compressed_score is None:
        return "no scores of single samples are stored"
    first, second = (
        each[:, np.newaxis].astype(np.float64) for each in (before.compressed_score, after.compressed_score)
    )
    return first, second, None if metric in PROPORTIONS else lambda rows: float(rows.mean())


def _find_reduce(metric: str) -> Reduce | None:
    from compress.data.metrics import METRICS, load_metric

    return load_metric(metric, Path()).reduce if metric in METRICS else None


def _with_estimate(change: AccuracyChange, lost: Estimate, *, equal: bool) -> AccuracyChange:
    """Return the change with the interval of what was lost turned into one of the change, and the word for it."""
    low, high = 0.0 - lost.high, 0.0 - lost.low
    word: Word = "equal" if equal else "no sure difference"
    if low > 0 or high < 0:
        word = "better" if (low > 0) == change.higher_is_better else "worse"
    return change.model_copy(
        update={"interval": (low, high), "confidence": lost.confidence, "method": lost.method, "word": word}
    )
