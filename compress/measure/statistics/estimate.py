"""A value with its confidence interval, and the normal distribution behind most of them."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Reduce = Callable[[Floats], float]

CONFIDENCE: Final = 0.95
_NORMAL: Final = NormalDist()


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its confidence interval ``[low, high]``; ``method`` says in words how the interval was made."""

    value: float
    low: float
    high: float
    confidence: float
    method: str


def normal_quantile(confidence: float) -> float:
    """Return how many standard deviations a two-sided normal interval reaches: 1.96 for 0.95."""
    return _NORMAL.inv_cdf((1.0 + confidence) / 2.0)


def normal_tail(deviations: float) -> float:
    """Return the probability that a standard normal variable is above some value."""
    return _NORMAL.cdf(-deviations)


def rescale(estimate: Estimate, confidence: float) -> Estimate:
    """Return an estimate with its interval stretched to another confidence, each side by itself.

    Exact for a normal distribution; for others it is what can be had from an interval alone.
    """
    factor = normal_quantile(confidence) / normal_quantile(estimate.confidence)
    if factor == 1.0:
        return estimate
    return Estimate(
        estimate.value,
        estimate.value - factor * (estimate.value - estimate.low),
        estimate.value + factor * (estimate.high - estimate.value),
        confidence,
        f"{estimate.method}, stretched from {estimate.confidence:.3g} to {confidence:.3g} confidence",
    )
