import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as arrays

from compress.errors import DataError
from compress.quantize.histogram import COUNTED, Histogram

FLOATS = arrays.arrays(
    np.float32,
    st.integers(1, 400),
    elements=st.floats(-(2.0**60), 2.0**60, width=32, allow_nan=False, allow_infinity=False),
)
PROPERTY = settings(deadline=None, max_examples=60, derandomize=True)


@PROPERTY
@given(FLOATS)
def test_ends_are_exact_and_every_value_is_counted(values: np.ndarray) -> None:
    histogram = Histogram()
    histogram.observe(values)
    assert (histogram.low, histogram.high) == (values.min(), values.max())
    assert histogram.total == values.size


@PROPERTY
@given(FLOATS, st.integers(1, 50))
def test_observing_in_pieces_is_the_same_as_observing_at_once(values: np.ndarray, size: int) -> None:
    whole, pieces = Histogram(), Histogram()
    whole.observe(values)
    for start in range(0, len(values), size):
        pieces.observe(values[start : start + size])
    assert np.array_equal(whole.counts, pieces.counts)
    assert (whole.low, whole.high) == (pieces.low, pieces.high)


@PROPERTY
@given(FLOATS)
def test_a_bin_centre_is_within_a_hundredth_of_every_value_in_it(values: np.ndarray) -> None:
    histogram = Histogram()
    histogram.observe(values)
    centres, counts = histogram.bins()
    rebuilt = np.repeat(centres, counts)
    normal = np.abs(np.sort(values)) > np.finfo(np.float32).tiny
    error = np.abs(rebuilt - np.sort(values))[normal]
    assert (error <= 0.01 * np.abs(np.sort(values))[normal]).all()


def test_centres_ascend() -> None:
    histogram = Histogram()
    histogram.observe(np.random.default_rng(0).standard_normal(1000).astype(np.float32))
    centres, _ = histogram.bins()
    assert (np.diff(centres) > 0).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_refused(bad: float) -> None:
    histogram = Histogram()
    histogram.observe(np.array([1.0, 2.0], np.float32))
    with pytest.raises(DataError, match="not finite"):
        histogram.observe(np.array([1.0, bad], np.float32))


def test_an_empty_array_changes_nothing() -> None:
    histogram = Histogram()
    histogram.observe(np.zeros((0, 3), np.float32))
    assert histogram.total == 0


def test_a_large_feature_map_is_sampled_alike_in_any_batch_and_its_ends_are_exact() -> None:
    values = np.random.default_rng(0).standard_normal((4, 3, 256, 256)).astype(np.float32)
    values[2, 1, 17, 33] = 40.0
    whole, pieces = Histogram(), Histogram()
    whole.observe(values)
    for sample in values:
        pieces.observe(sample[None])
    assert np.array_equal(whole.counts, pieces.counts)
    assert whole.high == 40.0
    assert COUNTED / 2 <= whole.total / 4 <= COUNTED
    centres, counts = whole.bins()
    share = counts[np.abs(centres) < 1.0].sum() / counts.sum()
    assert share == pytest.approx((np.abs(values) < 1.0).mean(), abs=2e-3)


def test_strided_input_is_counted_like_a_contiguous_copy() -> None:
    values = np.arange(24, dtype=np.float32).reshape(4, 6)[:, ::2]
    a, b = Histogram(), Histogram()
    a.observe(values)
    b.observe(values.copy())
    assert np.array_equal(a.counts, b.counts)
