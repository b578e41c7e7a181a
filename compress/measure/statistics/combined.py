"""Two values that were measured apart from each other: their difference and their ratio, from their intervals alone.

Source: G. Y. Zou, A. Donner, "Construction of confidence limits about effect measures: a general approach", Statistics
    in Medicine 27 (2008), 1693-1702.
"""

import math

from compress.measure.statistics.estimate import Estimate

_METHOD = "variance recovered from both intervals (Zou and Donner)"


def independent_difference(first: Estimate, second: Estimate) -> Estimate:
    """Return ``first - second`` with its interval; each side takes the halves that reach that way.

    Raises:
        ValueError: The intervals are not of one confidence.
    """
    if first.confidence != second.confidence:
        raise ValueError(f"intervals of different confidence: {first.confidence} and {second.confidence}")
    value = first.value - second.value
    below = math.hypot(first.value - first.low, second.high - second.value)
    above = math.hypot(first.high - first.value, second.value - second.low)
    return Estimate(value, value - below, value + above, first.confidence, _METHOD)


def independent_ratio(first: Estimate, second: Estimate) -> Estimate:
    """Return ``first / second`` with its interval, made where ratios are differences: in logarithms.

    Raises:
        ValueError: The intervals are not of one confidence, or reach zero.
    """
    if min(first.low, second.low) <= 0:
        raise ValueError(f"no logarithms of intervals that reach zero: {first.low:g} and {second.low:g}")
    logs = independent_difference(*(_take_logarithm(one) for one in (first, second)))
    return Estimate(math.exp(logs.value), math.exp(logs.low), math.exp(logs.high), logs.confidence, logs.method)


def _take_logarithm(estimate: Estimate) -> Estimate:
    value, low, high = map(math.log, (estimate.value, estimate.low, estimate.high))
    return Estimate(value, low, high, estimate.confidence, estimate.method)
