"""Calibration: how far a model's confidences are from the share of samples that it has right."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from compress.measure.statistics.estimate import CONFIDENCE, Estimate, Floats

BINS: Final = 15
"""Of confidence, of equal width. Source: Guo et al. (2017), section 4."""
_DRAWINGS: Final = 2000
_HIDDEN: Final = 0.7
"""Standard deviations of a bin by which its change may be misjudged on average: √(m² - s²) of a normal m is 0.34 too
large where the true gap is 0 and 0.33 too small where it is 1.5, in units of s."""

Hits = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class CalibrationChange:
    """Expected calibration errors of the original and of the engine, as fractions, and how much the error grew."""

    baseline: float
    compressed: float
    change: Estimate


def calibration_error(confidence: Floats, right: Hits) -> float:
    """Return the expected calibration error of confidences [samples]: Σ over bins |Σ (right - confidence)| / samples.

    Source: C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On Calibration of Modern Neural Networks", ICML (2017),
        equation 3.
    """
    bins, gaps = _gaps(confidence, right)
    return float(np.abs(np.bincount(bins, gaps, BINS)).sum() / len(gaps))


def calibration_change(
    baseline: tuple[Floats, Hits], compressed: tuple[Floats, Hits], *, seed: int = 0, confidence: float = CONFIDENCE
) -> CalibrationChange:
    """Return how much the calibration error of the same samples grew, with its interval.

    The errors themselves are the usual ones, which are too large on few samples: the absolute value of noise is not
    zero. A well calibrated model has more of that than a badly calibrated one, so their plain difference would hide a
    change. Each bin's gap m with the standard deviation s counts as √(m² - s²) instead, or as nothing below it. The
    interval is that of drawn bin sums: those are nearly normal, and their joint covariance is known from the samples.
    It is widened by what the correction can still misjudge, which is no more than the bins' gaps changed.

    Args:
        baseline: Confidences and what is right [samples] of the original.
        compressed: The same of the engine, same samples, same order.
        seed: Of the drawings.
        confidence: Of the interval, which covers more than that as a rule (``benchmarks/gate_simulation.py``).

    Raises:
        ValueError: No samples, or not as many of each.

    Source: the correction in squares is that of A. Kumar, P. Liang, T. Ma, "Verified Uncertainty Calibration",
        NeurIPS (2019), section 5.
    """
    if len(baseline[0]) == 0 or len(baseline[0]) != len(compressed[0]):
        raise ValueError(f"needs matching samples, got {len(baseline[0])} and {len(compressed[0])}")
    errors = calibration_error(*baseline), calibration_error(*compressed)
    means, covariance = _bin_moments(_gaps(*baseline), _gaps(*compressed))
    noise = np.diag(covariance)
    value = float(_grown(means, noise))
    drawn = np.random.default_rng(seed).multivariate_normal(means, covariance, _DRAWINGS, check_valid="ignore")
    # Drawn from sums that have the noise already, these have it twice.
    changes = _grown(drawn, 2 * noise)
    low, high = np.quantile(changes + (value - changes.mean()), [(1 - confidence) / 2, (1 + confidence) / 2])
    hidden = _hidden(means, noise)
    method = f"normal bin sums less their noise, {_DRAWINGS} drawings, seed {seed}"
    change = Estimate(value, min(float(low), value) - hidden, max(float(high), value) + hidden, confidence, method)
    return CalibrationChange(*errors, change)


def _gaps(confidence: Floats, right: Hits) -> tuple[NDArray[np.int64], Floats]:
    """Return the bin of each sample, and what is right there minus what was expected."""
    expected = np.asarray(confidence, np.float64)
    bins = np.clip(np.ceil(expected * BINS).astype(np.int64) - 1, 0, BINS - 1)
    return bins, right.astype(np.float64) - expected


def _bin_moments(
    first: tuple[NDArray[np.int64], Floats], second: tuple[NDArray[np.int64], Floats]
) -> tuple[Floats, Floats]:
    """Return the gaps [2 bins] of both engines' bins as shares of all samples, and their covariance."""
    (bins, gaps), (others, other_gaps) = first, second
    n = len(bins)
    means = np.concatenate((np.bincount(bins, gaps, BINS), np.bincount(others, other_gaps, BINS))) / n
    squares = np.concatenate((np.bincount(bins, gaps**2, BINS), np.bincount(others, other_gaps**2, BINS)))
    products = np.diag(squares)
    cross = np.bincount(bins * BINS + others, gaps * other_gaps, BINS * BINS).reshape(BINS, BINS)
    products[:BINS, BINS:], products[BINS:, :BINS] = cross, cross.T
    return means, (products / n - np.outer(means, means)) / n


def _grown(means: Floats, noise: Floats) -> Floats:
    """Return by how much the error of the second half of the bins [..., 2 bins] is above that of the first half."""
    errors = np.sqrt(np.maximum(means * means - noise, 0.0))
    return np.asarray(errors[..., BINS:].sum(axis=-1) - errors[..., :BINS].sum(axis=-1))


def _hidden(means: Floats, noise: Floats) -> float:
    """Return what noise may still hide of the change: of each bin no more than its gap changed."""
    deviations = np.sqrt(np.maximum(noise, 0.0)).reshape(2, BINS).max(axis=0)
    return float(np.minimum(_HIDDEN * deviations, np.abs(means[BINS:] - means[:BINS])).sum())
