"""Statistics of paired comparisons: what was lost, how sure that is, and what would make it surer.

Everything is paired: both engines see the same samples, and latency rounds time both in turn. Randomness comes from a
seed; the same data and seed give the same interval.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from compress.measure.resampling import bootstrap_interval

Floats = NDArray[np.float64]
Reduce = Callable[[Floats], float]

CONFIDENCE: Final = 0.95
_RESAMPLES: Final = 2000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its confidence interval ``[low, high]``; ``method`` says in words how the interval was made."""

    value: float
    low: float
    high: float
    confidence: float
    method: str


@dataclass(frozen=True, slots=True)
class PairedTable:
    """The 2×2 table of samples that both engines, only one of them, or neither got right."""

    both: int
    only_baseline: int
    only_compressed: int
    neither: int

    @classmethod
    def from_rows(cls, baseline: Floats, compressed: Floats) -> "PairedTable":
        """Return the table of two score vectors [samples] whose elements are 1 (right) or 0 (wrong)."""
        a, b = baseline > 0.5, compressed > 0.5
        return cls(int((a & b).sum()), int((a & ~b).sum()), int((~a & b).sum()), int((~a & ~b).sum()))

    @property
    def samples(self) -> int:
        """The number of samples."""
        return self.both + self.only_baseline + self.only_compressed + self.neither


def paired_difference(table: PairedTable, *, confidence: float = CONFIDENCE) -> Estimate:
    """Return the baseline's proportion minus the compressed one's, with Newcombe's paired score interval.

    The interval joins the Wilson intervals of both proportions and takes their correlation into account; it does not
    collapse to a point when no sample changed.

    Raises:
        ValueError: The table is empty.

    Source: R. G. Newcombe, "Improved confidence intervals for the difference between binomial proportions based on
        paired data", Statistics in Medicine 17 (1998), 2635-2650, method 10.
    """
    n = table.samples
    if n == 0:
        raise ValueError("a table without samples has no proportions")
    first, second = table.both + table.only_baseline, table.both + table.only_compressed
    p1, p2 = first / n, second / n
    (l1, u1), (l2, u2) = _wilson(first, n, confidence), _wilson(second, n, confidence)
    phi = _correlation(table)
    value = (table.only_baseline - table.only_compressed) / n
    below = _joined(p1 - l1, u2 - p2, phi)
    above = _joined(p2 - l2, u1 - p1, phi)
    method = "Newcombe's paired score interval (method 10)"
    return Estimate(value, max(-1.0, value - below), min(1.0, value + above), confidence, method)


def mcnemar_p_value(table: PairedTable, *, mid: bool = True) -> float:
    """Return the two-sided p-value that both engines are equally good, from the samples that only one got right.

    The exact test is binomial with probability 1/2; the mid-p version (default) takes half of the observed table's
    probability, which removes the exact test's conservatism.

    Source: M. W. Fagerland, S. Lydersen, P. Laake, "The McNemar test for binary matched-pairs data: mid-p and
        asymptotic are better than exact conditional", BMC Medical Research Methodology 13:91 (2013), section Methods.
    """
    from scipy.stats import binom

    fewer = min(table.only_baseline, table.only_compressed)
    changed = table.only_baseline + table.only_compressed
    if changed == 0:
        return 1.0
    tail, point = float(binom.cdf(fewer, changed, 0.5)), float(binom.pmf(fewer, changed, 0.5))
    if not mid:
        return min(1.0, 2.0 * tail)
    # Both tails hold the middle point when the table is balanced: it is counted once there.
    return 1.0 - 0.5 * point if 2 * fewer == changed else min(1.0, 2.0 * tail - point)


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


def proportion(successes: int, n: int, *, confidence: float = CONFIDENCE) -> Estimate:
    """Return a share of samples with Wilson's score interval.

    Source: E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference" (1927).
    """
    low, high = _wilson(successes, n, confidence)
    return Estimate(successes / n, low, high, confidence, "Wilson's score interval")


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


def samples_to_decide(drop: float, interval: tuple[float, float], budget: float, samples: int) -> int | None:
    """Return about how many samples would put the whole interval on one side of the budget, or None if none would.

    The half-width shrinks with the square root of the number of samples; the estimate takes for granted that the drop
    stays where it is. None where drop and budget are equal, for then no number is enough.

    Source: the n^(-1/2) width of an interval under the central limit theorem, solved for n; derived here.
    """
    gap = abs(budget - drop)
    half_width = interval[1] - drop if drop < budget else drop - interval[0]
    if gap == 0 or half_width / gap > 1e6:
        return None
    return max(samples, math.ceil(samples * (half_width / gap) ** 2))


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
    from scipy.stats import binom

    if len(values) == 0:
        raise ValueError("no values have no percentile")
    ordered, n, tail = np.sort(values), len(values), (1.0 - confidence) / 2.0
    value = float(np.quantile(ordered, share))
    # X(rank) is above the percentile with probability P(B < rank); ranks count from 1.
    lower = max(1, int(binom.ppf(tail, n, share)))
    upper = int(binom.ppf(1.0 - tail, n, share)) + 1
    high = None if upper > n else max(value, float(ordered[upper - 1]))
    return value, min(value, float(ordered[lower - 1])), high


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


def _wilson(successes: int, n: int, confidence: float) -> tuple[float, float]:
    from scipy.stats import binomtest

    interval = binomtest(successes, n).proportion_ci(confidence_level=confidence, method="wilson")
    return float(interval.low), float(interval.high)


def _correlation(table: PairedTable) -> float:
    """Return the φ coefficient, its numerator corrected for continuity where positive (Newcombe's method 10)."""
    a, b, c, d = table.both, table.only_baseline, table.only_compressed, table.neither
    product = (a + b) * (c + d) * (a + c) * (b + d)
    if product == 0:
        return 0.0
    numerator: float = a * d - b * c
    if numerator > 0:
        numerator = max(0.0, numerator - table.samples / 2)
    return numerator / math.sqrt(product)


def _joined(first: float, second: float, phi: float) -> float:
    # Rounding can take a zero below zero.
    return math.sqrt(max(0.0, first * first - 2.0 * phi * first * second + second * second))
