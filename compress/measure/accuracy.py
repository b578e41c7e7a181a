"""Accuracy of an engine, sample by sample beside the original model."""

from collections.abc import Callable
from typing import Literal

import numpy as np

from compress.data.metrics import Metric
from compress.data.samples import Array, SampleSet
from compress.errors import DataError
from compress.measure.fidelity import FidelityMeter, Outputs
from compress.measure.outcomes import OutcomeCollector
from compress.measure.statistics import (
    Estimate,
    Floats,
    PairedTable,
    mcnemar_p_value,
    paired_bootstrap,
    paired_difference,
)
from compress.report.record import Accuracy, Fidelity
from compress.runtimes import Session

Progress = Callable[[int, int], None]

_BCA_UP_TO = 2000
"""Samples: BCa evaluates the metric once a sample, and beyond this many its correction is small."""


def measure_accuracy(
    baseline: Session,
    compressed: Session,
    samples: SampleSet,
    metric: Metric,
    *,
    batch: int,
    measured_on: Literal["engine", "simulated"],
    seed: int,
    progress: Progress | None = None,
    collector: OutcomeCollector | None = None,
) -> tuple[Accuracy | None, Fidelity]:
    """Return what the engine lost against the original, and how near their outputs are, from one pass over the samples.

    The accuracy is None where it cannot be known: no labels that the metric needs, or made-up samples. Only one row of
    scores a sample is kept, never samples or outputs.

    Args:
        baseline: The original model, ready to run.
        compressed: The engine (or its graph, where ``measured_on`` is ``simulated``).
        samples: The evaluation set.
        metric: What to score.
        batch: Samples a call.
        measured_on: Whether ``compressed`` is the engine itself.
        seed: Of the bootstrap.
        progress: Called with samples done and samples in all after every batch.
        collector: Keeps what becomes of every sample; made-up samples are not worth keeping.

    Raises:
        CompressError: An engine's output is not finite, or the two do not have the same outputs.
        DataError: The set is empty.
    """
    meter = FidelityMeter()
    scored = not samples.synthetic and (samples.labelled or not metric.needs_labels)
    rows: tuple[list[Floats], list[Floats]] = ([], [])
    for part in samples.batches(batch):
        original, engine = baseline.run(part.inputs), compressed.run(part.inputs)
        meter.add(original, engine, len(part))
        scores = None
        if scored:
            scores = _score(metric, original, part.labels), _score(metric, engine, part.labels)
            rows[0].append(scores[0])
            rows[1].append(scores[1])
        if collector is not None and not samples.synthetic:
            collector.add(original, engine, part.labels, scores)
        if progress is not None:
            progress(meter.samples, len(samples))
    fidelity = meter.result(synthetic=samples.synthetic)
    if not scored:
        return None, fidelity
    return _compare(np.concatenate(rows[0]), np.concatenate(rows[1]), metric, measured_on, seed), fidelity


def _score(metric: Metric, outputs: Outputs, labels: Array | None) -> Floats:
    rows = np.asarray(metric.score(outputs, labels), dtype=np.float64)
    return rows.reshape(len(rows), -1)


def _compare(
    baseline: Floats, compressed: Floats, metric: Metric, measured_on: Literal["engine", "simulated"], seed: int
) -> Accuracy:
    if len(baseline) < 2 and metric.kind != "proportion":
        raise DataError(
            f"the sample set has one sample: no interval of `{metric.name}` can be made from it",
            hint="give at least two samples; hundreds make the interval useful",
        )
    p_value = None
    if metric.kind == "proportion":
        table = PairedTable.from_rows(baseline[:, 0], compressed[:, 0])
        p_value, difference = mcnemar_p_value(table), paired_difference(table)
    else:
        method: Literal["bca", "percentile"] = "bca" if len(baseline) <= _BCA_UP_TO else "percentile"
        difference = paired_bootstrap(baseline, compressed, metric.reduce, seed=seed, method=method)
    drop, low, high = _as_drop(difference, metric.higher_is_better)
    return Accuracy(
        metric=metric.name,
        unit=metric.unit,
        baseline=metric.reduce(baseline),
        compressed=metric.reduce(compressed),
        drop=drop,
        interval=(low, high),
        confidence=difference.confidence,
        p_value=p_value,
        samples=len(baseline),
        method=difference.method,
        measured_on=measured_on,
        higher_is_better=metric.higher_is_better,
    )


def _as_drop(difference: Estimate, higher_is_better: bool) -> tuple[float, float, float]:
    if higher_is_better:
        return difference.value, difference.low, difference.high
    # A plain minus would turn zero into a negative zero, which reads oddly.
    return 0.0 - difference.value, 0.0 - difference.high, 0.0 - difference.low
