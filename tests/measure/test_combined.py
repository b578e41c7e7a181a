import math

import numpy as np
import pytest

from compress.measure.statistics import Estimate, independent_difference, independent_ratio, normal_quantile


def estimate(value: float, low: float, high: float, confidence: float = 0.95) -> Estimate:
    return Estimate(value, low, high, confidence, "")


def test_symmetric_intervals_join_as_standard_deviations_do() -> None:
    found = independent_difference(estimate(5, 2, 8), estimate(1, -3, 5))
    assert (found.value, found.low, found.high) == (4, -1, 9)


def test_each_side_takes_the_halves_that_reach_that_way() -> None:
    found = independent_difference(estimate(5, 4, 8), estimate(1, 0, 3))
    assert found.low == pytest.approx(4 - math.hypot(1, 2))
    assert found.high == pytest.approx(4 + math.hypot(3, 1))


def test_a_ratio_upside_down_is_the_inverse() -> None:
    first, second = estimate(2, 1.9, 2.2), estimate(3, 2.5, 3.1)
    forth, back = independent_ratio(first, second), independent_ratio(second, first)
    assert (1 / back.value, 1 / back.high, 1 / back.low) == pytest.approx((forth.value, forth.low, forth.high))


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    draws, z = np.random.default_rng(0).normal((3.0, 2.0), (0.2, 0.1), (2000, 2)), normal_quantile(0.95)
    covered = 0
    for one, other in draws:
        first, second = estimate(one, one - 0.2 * z, one + 0.2 * z), estimate(other, other - 0.1 * z, other + 0.1 * z)
        found = independent_difference(first, second)
        covered += found.low <= 1.0 <= found.high
    assert covered / 2000 == pytest.approx(0.95, abs=0.01)  # 0.9515 with this seed


def test_intervals_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ValueError, match="different confidence"):
        independent_difference(estimate(1, 0, 2), estimate(1, 0, 2, 0.9))
    with pytest.raises(ValueError, match="reach zero"):
        independent_ratio(estimate(1, 0, 2), estimate(1, 0.5, 2))
