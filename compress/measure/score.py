"""The score of one engine by itself, with its interval."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from compress.data.metrics import Metric
from compress.data.samples import SampleSet
from compress.errors import DataError
from compress.measure.statistics import Estimate, bootstrap_value, proportion
from compress.runtimes import Session


@dataclass(frozen=True, slots=True)
class Score:
    """A metric on some samples, with a 95 % interval; fractions, or the metric's own unit."""

    metric: str
    unit: str
    estimate: Estimate
    samples: int


def measure_score(
    session: Session,
    samples: SampleSet,
    metric: Metric,
    *,
    batch: int,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Score:
    """Return the metric of an engine over all samples, in one streaming pass.

    Raises:
        DataError: The samples have no labels though the metric needs them, or there are none.
    """
    if metric.needs_labels and not samples.labelled:
        raise DataError(f"{samples.name} has no labels, which {metric.name} needs", hint="give labelled samples")
    rows = []
    done = 0
    for part in samples.batches(batch):
        rows.append(np.asarray(metric.score(session.run(part.inputs), part.labels), np.float64).reshape(len(part), -1))
        done += len(part)
        if progress is not None:
            progress(done, len(samples))
    if not rows:
        raise DataError(f"{samples.name} has no samples", hint="give at least one; hundreds make the interval useful")
    scores = np.concatenate(rows)
    if metric.kind == "proportion":
        estimate = proportion(int(scores[:, 0].sum()), len(scores))
    else:
        estimate = bootstrap_value(scores, metric.reduce, seed=seed)
    return Score(metric.name, metric.unit, estimate, len(scores))
