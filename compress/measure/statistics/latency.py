"""Latencies: percentiles with intervals, and the ratio of two engines that were timed in turn."""

import math
from typing import Final

import numpy as np

from compress.measure.statistics.estimate import CONFIDENCE, Estimate, Floats, normal_quantile

SESSION_SPREAD: Final = 0.025
"""Standard deviation of the logarithm of the ratio of two sessions of one engine: each is as fast as the memory that it
happened to get, and keeps that for the whole run. Measured on a busy machine: 0.015 to 0.017; the rest is room
(``benchmarks/aa_latency.py``, decision 0044)."""


def percentile(values: Floats, share: float, *, confidence: float = CONFIDENCE) -> tuple[float, float, float | None]:
    """Return the percentile of some values [n] and the ends of its distribution-free interval.

    The ends are two of the values themselves (order statistics), so the interval holds for any continuous
    distribution. Where n is too small to bound the percentile from above the upper end is None (p99 needs 368 values at
    95 %); below, the smallest value stands in.

    Args:
        values: In any order.
        share: 0.5 for the median, 0.99 for p99.
        confidence: Of the interval.

    Raises:
        ValueError: No values.

    Source: G. J. Hahn, W. Q. Meeker, "Statistical Intervals" (1991), section 5.2.
    """
    if len(values) == 0:
        raise ValueError("no values have no percentile")
    ordered, n, tail = np.sort(values), len(values), (1.0 - confidence) / 2.0
    value = float(np.quantile(ordered, share))
    # X(rank) is above the percentile with probability P(B < rank); ranks count from 1.
    lower = max(1, _binomial_quantile(tail, n, share))
    upper = _binomial_quantile(1.0 - tail, n, share) + 1
    high = None if upper > n else max(value, float(ordered[upper - 1]))
    return value, min(value, float(ordered[lower - 1])), high


def _binomial_quantile(probability: float, n: int, share: float) -> int:
    """Return the least k with P(B ≤ k) ≥ probability; ``scipy.stats`` has it behind a second of imports."""
    from scipy.special import bdtr, bdtrik

    k = max(0, math.ceil(float(bdtrik(probability, n, share))))
    return k - 1 if k > 0 and bdtr(k - 1, n, share) >= probability else k


def speed_ratio(baseline: Floats, compressed: Floats, *, seed: int, confidence: float = CONFIDENCE) -> Estimate:
    """Return how many times faster the second engine is over interleaved rounds [n], with the interval to claim it by.

    It is that of :func:`ratio_of_medians`, which is of these two sessions, widened by what two sessions of one and the
    same engine differ by.

    Raises:
        ValueError: No rounds, or vectors of unequal length.
    """
    found = ratio_of_medians(baseline, compressed, seed=seed, confidence=confidence)
    return widen_ratio(found, SESSION_SPREAD, f"{found.method}, and the spread between sessions")


def widen_ratio(ratio: Estimate, spread: float, method: str) -> Estimate:
    """Return a ratio with what is not in its interval added: another spread, as a deviation of the logarithm."""
    reach = normal_quantile(ratio.confidence) * spread
    below, above = math.log(ratio.value / ratio.low), math.log(ratio.high / ratio.value)
    low, high = ratio.value * math.exp(-math.hypot(below, reach)), ratio.value * math.exp(math.hypot(above, reach))
    return Estimate(ratio.value, low, high, ratio.confidence, method)


def ratio_of_medians(
    baseline: Floats, compressed: Floats, *, seed: int, confidence: float = CONFIDENCE, resamples: int = 1000
) -> Estimate:
    """Return median(baseline) / median(compressed) over interleaved rounds [n] with its bootstrap interval.

    Whole rounds are resampled, so what slows both engines alike cancels out; consecutive rounds are drawn in blocks of
    about n^(1/3), because noise on a machine comes in bursts and independent draws would make the interval too narrow.

    Raises:
        ValueError: No rounds, or vectors of unequal length.

    Source: D. N. Politis, J. P. Romano, "A circular block-resampling procedure for stationary data", in "Exploring the
        Limits of Bootstrap" (1992), 263-270; block length n^(1/3): P. Hall, J. L. Horowitz, B.-Y. Jing, "On blocking
        rules for the bootstrap with dependent data", Biometrika 82 (1995), 561-574.
    """
    n = len(baseline)
    if n == 0 or n != len(compressed):
        raise ValueError(f"needs matching rounds, got {n} and {len(compressed)}")
    value = float(np.median(baseline) / np.median(compressed))
    block = max(1, round(n ** (1 / 3)))
    starts = np.random.default_rng(seed).integers(0, n, size=(resamples, math.ceil(n / block)))
    rounds = ((starts[:, :, None] + np.arange(block)) % n).reshape(resamples, -1)[:, :n]
    ratios = np.median(baseline[rounds], axis=1) / np.median(compressed[rounds], axis=1)
    low, high = np.quantile(ratios, [(1 - confidence) / 2, (1 + confidence) / 2])
    method = f"circular block bootstrap, {resamples} resamples of blocks of {block}, seed {seed}"
    return Estimate(value, min(float(low), value), max(float(high), value), confidence, method)
