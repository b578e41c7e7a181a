import numpy as np
import pytest

from compress.measure.statistics import calibration_change, calibration_error


def test_the_calibration_error_is_the_weighted_gap_of_the_bins() -> None:
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55])
    right = np.array([True, True, True, False, True, False])
    # Bins (14/15, 1] with four samples, |3/4 - 0.95| = 0.2, and (8/15, 9/15] with two, |1/2 - 0.55| = 0.05.
    assert calibration_error(confidence, right) == pytest.approx((4 * 0.2 + 2 * 0.05) / 6)


def test_confidences_of_nought_and_one_have_a_bin() -> None:
    assert calibration_error(np.array([0.0, 1.0]), np.array([False, True])) == 0.0


def test_equal_engines_have_no_change_and_no_interval() -> None:
    random = np.random.default_rng(0)
    same = random.random(500), random.random(500) < 0.5
    found = calibration_change(same, same).change
    assert (found.value, found.low, found.high) == pytest.approx((0.0, 0.0, 0.0), abs=1e-6)


def test_the_interval_holds_a_change_that_noise_hides_in_the_plain_difference() -> None:
    """The original is calibrated, the engine claims 5 points too much; the plain difference is 2 points on average."""
    random = np.random.default_rng(1)
    held, plain = 0, []
    for _ in range(100):
        chances = random.uniform(0.3, 0.94, 1000)
        right = random.random(1000) < chances
        found = calibration_change((chances, right), (chances + 0.05, right))
        held += found.change.low <= 0.05 <= found.change.high
        plain.append(found.compressed - found.baseline)
    assert held >= 90
    assert np.mean(plain) < 0.025


def test_drawings_come_from_the_seed() -> None:
    random = np.random.default_rng(2)
    pair = [(random.random(300), random.random(300) < 0.5) for _ in range(2)]
    first, second = (calibration_change(pair[0], pair[1], seed=4).change for _ in range(2))
    assert (first.low, first.high) == (second.low, second.high)


def test_samples_have_to_match() -> None:
    one, two = (np.array([0.5] * n) for n in (1, 2))
    with pytest.raises(ValueError, match="needs matching samples, got 1 and 2"):
        calibration_change((one, one > 0), (two, two > 0))
