"""Bootstrap intervals for metrics that are not shares of samples: any function of the samples' rows will do."""

import math
from functools import partial
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from compress.measure.resampling import bootstrap_interval
from compress.measure.statistics.estimate import CONFIDENCE, Estimate, Floats, Reduce

_RESAMPLES: Final = 2000


def paired_bootstrap(
    baseline: Floats,
    compressed: Floats,
    reduce: Reduce,
    *,
    seed: int,
    method: Literal["percentile", "bca"] = "percentile",
    confidence: float = CONFIDENCE,
    resamples: int = _RESAMPLES,
) -> Estimate:
    """Return ``reduce(baseline) - reduce(compressed)`` with a bootstrap interval over samples.

    A resample draws the same samples for both engines. The interval is widened where needed to hold the estimate, and
    BCa falls back to the percentile interval where it is not defined (the method's name says so).

    Args:
        baseline: Score rows [samples, k] of the original.
        compressed: Score rows [samples, k] of the compressed engine, same samples, same order.
        reduce: The metric of some rows [any, k].
        seed: Of the resampling.
        method: ``bca`` is second-order accurate and costs one ``reduce`` a sample more.
        confidence: Of the interval.
        resamples: How many.

    Raises:
        ValueError: Fewer than two samples, or rows that do not match.

    Source: B. Efron, R. J. Tibshirani, "An Introduction to the Bootstrap" (1993), sections 13.3 (percentile) and 14.3
        (BCa).
    """
    if baseline.shape != compressed.shape or len(baseline) < 2:
        raise ValueError(f"needs two or more matching rows, got {baseline.shape} and {compressed.shape}")

    def difference(rows: NDArray[np.int64]) -> float:
        return float(reduce(baseline[rows]) - reduce(compressed[rows]))

    everything = np.arange(len(baseline))
    value = difference(everything)
    if np.array_equal(baseline, compressed):
        return Estimate(value, value, value, confidence, "no sample's score changed")
    draw = partial(bootstrap_interval, everything, difference, seed=seed, confidence=confidence, resamples=resamples)
    low, high = draw(method=method)
    name = "BCa bootstrap" if method == "bca" else "percentile bootstrap"
    if not (math.isfinite(low) and math.isfinite(high)):
        low, high = draw(method="percentile")
        name = "percentile bootstrap (BCa is not defined here)"
    name = f"paired {name}, {resamples} resamples, seed {seed}"
    return Estimate(value, min(low, value), max(high, value), confidence, name)


def bootstrap_value(
    rows: Floats, reduce: Reduce, *, seed: int, confidence: float = CONFIDENCE, resamples: int = _RESAMPLES
) -> Estimate:
    """Return ``reduce(rows)`` of score rows [samples, k] with a percentile bootstrap interval over samples.

    Source: B. Efron, R. J. Tibshirani, "An Introduction to the Bootstrap" (1993), section 13.3.
    """
    everything = np.arange(len(rows))
    value = float(reduce(rows))
    if len(rows) < 2:
        return Estimate(value, value, value, confidence, "one sample has no interval")
    low, high = bootstrap_interval(
        everything,
        lambda drawn: float(reduce(rows[drawn])),
        seed=seed,
        method="percentile",
        confidence=confidence,
        resamples=resamples,
    )
    name = f"percentile bootstrap, {resamples} resamples, seed {seed}"
    return Estimate(value, min(low, value), max(high, value), confidence, name)
