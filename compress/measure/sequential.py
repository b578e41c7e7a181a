"""Sequential tests: a candidate is accepted or rejected as soon as its interval allows."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from compress.measure.statistics import CONFIDENCE, Estimate

Decision = Literal["accepted", "rejected", "undecided"]

FIRST_LOOK: Final = 16
"""Samples at the first look: fewer decide nothing, and the intervals' approximations need some."""


@dataclass(frozen=True, slots=True)
class Looks:
    """How often, and when, a test looks at what it has.

    Every look is a chance to err, so each one takes an equal share of the error that is allowed (Bonferroni): whatever
    the number of looks, a wrong decision comes with at most the probability ``error``.

    Source: C. Jennison, B. W. Turnbull, "Group Sequential Methods with Applications to Clinical Trials" (2000),
        section 1.3 (why repeated looks need it); Bonferroni's inequality.

    Attributes:
        counts: Samples in all at each look, rising.
        error: Probability of a wrong decision, over all looks together.
    """

    counts: tuple[int, ...]
    error: float = 1.0 - CONFIDENCE

    @property
    def confidence(self) -> float:
        """Confidence of the interval at each look."""
        return 1.0 - self.error / len(self.counts)


def plan_looks(samples: int, *, first: int = FIRST_LOOK, error: float = 1.0 - CONFIDENCE) -> Looks:
    """Return looks after ``first`` samples, twice as many, and so on, the last one after all.

    >>> plan_looks(100).counts
    (16, 32, 64, 100)
    """
    counts = []
    count = min(first, samples)
    while count < samples:
        counts.append(count)
        count *= 2
    return Looks((*counts, samples), error)


def decide(excesses: Iterable[Estimate]) -> Decision:
    """Return what intervals say of a candidate that may exceed none of its budgets.

    Args:
        excesses: What each loss is above its budget: 0 or less is within.
    """
    found = list(excesses)
    if any(excess.low > 0 for excess in found):
        return "rejected"
    return "accepted" if all(excess.high <= 0 for excess in found) else "undecided"
