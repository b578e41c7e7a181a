"""Proportions of the same samples under two engines: what was lost, how sure that is, and whether it is too much.

The interval and the test are one thing: :func:`paired_difference` holds exactly the drops that the score test of
:func:`score_statistic` does not reject. Only changed samples count; those that both got right, or both wrong, count by
their number alone.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from compress.measure.statistics.estimate import CONFIDENCE, Estimate, Floats, normal_quantile, normal_tail

_HALVINGS: Final = 54
"""Of the interval [-1, 1] until nothing is left of it but the rounding error of a double."""


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
    """Return the baseline's proportion minus the compressed one's, with Tango's paired score interval.

    It does not collapse to a point when no sample changed. Of the intervals that
    ``benchmarks/gate_simulation.py`` compares it is the one whose coverage stays within a point of the confidence from
    a dozen changed samples on; below that it covers more, as any interval of so coarse a count.

    Raises:
        ValueError: The table is empty.

    Source: T. Tango, "Equivalence test and confidence interval for the difference in proportions for the paired-sample
        design", Statistics in Medicine 17 (1998), 891-908.
    """
    n = _counted(table)
    value = (table.only_baseline - table.only_compressed) / n
    lost, won = np.array([table.only_baseline]), np.array([table.only_compressed])
    low, high = score_interval(lost, won, n, confidence=confidence)
    return Estimate(value, float(low[0]), float(high[0]), confidence, "Tango's paired score interval")


def score_interval(
    lost: Floats, won: Floats, samples: int | Floats, *, confidence: float = CONFIDENCE
) -> tuple[Floats, Floats]:
    """Return the ends of Tango's interval for many tables at once.

    Args:
        lost: Samples [tables] that only the baseline got right.
        won: Samples [tables] that only the compressed engine got right.
        samples: In each table; one number, or one a table.
        confidence: Of the intervals.
    """
    z = normal_quantile(confidence)
    lost, won = np.asarray(lost, np.float64), np.asarray(won, np.float64)
    value = (lost - won) / samples

    def search(end: float) -> Floats:
        """Halve the stretch between the estimate, which is inside, and the end of the scale."""
        inside, outside = value.copy(), np.full_like(value, end)
        for _ in range(_HALVINGS):
            middle = (inside + outside) / 2
            within = np.abs(_scores(lost, won, samples, middle)) <= z
            inside, outside = np.where(within, middle, inside), np.where(within, outside, middle)
        return inside

    return search(-1.0), search(1.0)


def score_statistic(table: PairedTable, budget: float) -> float:
    """Return how many standard deviations the observed drop is above a true drop that equals the budget.

    Far below zero speaks against a drop as large as the budget (non-inferiority), far above for one beyond it.
    ``normal_tail`` of it, or of its negative, is the one-sided p-value.

    Source: T. Tango (1998), equation 8.
    """
    lost, won = np.array([float(table.only_baseline)]), np.array([float(table.only_compressed)])
    return float(_scores(lost, won, _counted(table), np.array([budget]))[0])


def noninferiority_p_value(table: PairedTable, budget: float) -> float:
    """Return the one-sided p-value of "the drop is the budget or more": small where the drop is within the budget."""
    return normal_tail(-score_statistic(table, budget))


def newcombe_difference(table: PairedTable, *, confidence: float = CONFIDENCE) -> Estimate:
    """Return the same difference with Newcombe's paired score interval, for comparison.

    The interval joins the Wilson intervals of both proportions and takes their correlation into account.

    Raises:
        ValueError: The table is empty.

    Source: R. G. Newcombe, "Improved confidence intervals for the difference between binomial proportions based on
        paired data", Statistics in Medicine 17 (1998), 2635-2650, method 10.
    """
    n = _counted(table)
    first, second = table.both + table.only_baseline, table.both + table.only_compressed
    p1, p2 = first / n, second / n
    (l1, u1), (l2, u2) = wilson_interval(first, n, confidence), wilson_interval(second, n, confidence)
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


def proportion(successes: int, n: int, *, confidence: float = CONFIDENCE) -> Estimate:
    """Return a share of samples with Wilson's score interval.

    Source: E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference" (1927).
    """
    low, high = wilson_interval(successes, n, confidence)
    return Estimate(successes / n, low, high, confidence, "Wilson's score interval")


def wilson_interval(successes: int, n: int, confidence: float) -> tuple[float, float]:
    """Return the ends of Wilson's interval; SciPy has it too, behind an import that takes longer than a gate may."""
    z = normal_quantile(confidence)
    share, scale = successes / n, 1.0 + z * z / n
    middle = (share + z * z / (2 * n)) / scale
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / scale
    return (0.0 if successes == 0 else middle - half), (1.0 if successes == n else middle + half)


def _scores(lost: Floats, won: Floats, n: int | Floats, drop: Floats) -> Floats:
    """Return Tango's statistic at an assumed true drop; the other parameter at its most likely value there."""
    linear = (2 * n - lost + won) * drop - lost - won
    constant = -won * drop * (1.0 - drop)
    only_compressed = (np.sqrt(np.maximum(linear * linear - 8.0 * n * constant, 0.0)) - linear) / (4.0 * n)
    variance = n * (2.0 * only_compressed + drop * (1.0 - drop))
    above = lost - won - n * drop
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = above / np.sqrt(np.maximum(variance, 0.0))
    return np.where(above == 0, 0.0, scores)


def _counted(table: PairedTable) -> int:
    if table.samples == 0:
        raise ValueError("a table without samples has no proportions")
    return table.samples


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
