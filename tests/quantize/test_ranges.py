import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as arrays

from compress.quantize.dialects import DIALECTS, Grid
from compress.quantize.histogram import Histogram
from compress.quantize.ranges import RANGES, Method, Quantization, choose_range, fit_grid

UINT8, INT8 = DIALECTS["u8s8"].activation, DIALECTS["s8s8-symmetric"].activation
GRIDS = [UINT8, INT8]
FLOATS = arrays.arrays(np.float32, st.integers(2, 300), elements=st.floats(-1e4, 1e4, width=32))
PROPERTY = settings(deadline=None, max_examples=40, derandomize=True)


def observe(values: np.ndarray) -> Histogram:
    histogram = Histogram()
    histogram.observe(values.astype(np.float32))
    return histogram


def fake_quantize(values: np.ndarray, q: Quantization, grid: Grid) -> np.ndarray:
    codes = np.clip(np.rint(values / q.scale) + q.zero_point, grid.low, grid.high)
    return np.asarray((codes - q.zero_point) * q.scale)


def squared_error(values: np.ndarray, method: Method, grid: Grid) -> float:
    q = fit_grid(choose_range(observe(values), grid, method, 99.9), grid)
    return float(((fake_quantize(values, q, grid) - values) ** 2).mean())


@PROPERTY
@given(FLOATS, st.sampled_from(GRIDS))
def test_min_max_quantization_errs_by_half_a_step_at_most(values: np.ndarray, grid: Grid) -> None:
    q = fit_grid(choose_range(observe(values), grid, "minmax", 100), grid)
    # Zero point and scale are rounded, which costs at most one more half step at the ends.
    assert np.abs(fake_quantize(values, q, grid) - values).max() <= q.scale * 1.01 + 1e-6
    inner = np.abs(values) < 0.45 * np.abs(values).max()
    assert (np.abs(fake_quantize(values, q, grid) - values)[inner] <= q.scale * 0.5 + 1e-3 * q.scale).all()


@PROPERTY
@given(FLOATS, st.sampled_from(GRIDS), st.sampled_from(sorted(RANGES)))
def test_zero_is_exact_and_codes_are_in_range_for_every_observer(
    values: np.ndarray, grid: Grid, method: Method
) -> None:
    q = fit_grid(choose_range(observe(values), grid, method, 99.9), grid)
    assert fake_quantize(np.zeros(1), q, grid) == 0
    assert grid.low <= q.zero_point <= grid.high
    assert np.isfinite(q.scale)
    assert q.scale > 0


@PROPERTY
@given(FLOATS, st.sampled_from(sorted(RANGES)))
def test_a_symmetric_range_is_symmetric_and_has_zero_point_0(values: np.ndarray, method: Method) -> None:
    low, high = choose_range(observe(values), INT8, method, 99.9)
    assert low == -high
    assert fit_grid((low, high), INT8).zero_point == 0


@PROPERTY
@given(FLOATS, st.sampled_from(sorted(RANGES)), st.sampled_from(GRIDS))
def test_no_observer_leaves_the_observed_range(values: np.ndarray, method: Method, grid: Grid) -> None:
    low, high = choose_range(observe(values), grid, method, 99.9)
    largest = float(np.abs(values).max())
    assert -largest <= low <= 0 <= high <= largest


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_mse_beats_min_max_where_one_outlier_would_stretch_the_range(grid: Grid, scale: float) -> None:
    values = scale * np.append(np.random.default_rng(1).standard_normal(200_000), [-15.0, 15.0])
    assert squared_error(values, "mse", grid) < 0.8 * squared_error(values, "minmax", grid)


@pytest.mark.parametrize("grid", GRIDS)
def test_mse_equals_min_max_on_a_uniform_distribution(grid: Grid) -> None:
    values = np.random.default_rng(1).uniform(-1, 1, 20_000)
    assert squared_error(values, "mse", grid) <= 1.02 * squared_error(values, "minmax", grid)


@pytest.mark.parametrize("grid", GRIDS)
def test_mse_is_near_the_best_of_an_exhaustive_search(grid: Grid) -> None:
    values = np.random.default_rng(2).laplace(size=20_000)
    largest = np.abs(values).max()
    best = min(
        float(((fake_quantize(values, fit_grid((-largest * s, largest * s), grid), grid) - values) ** 2).mean())
        for s in np.linspace(0.05, 1, 200)
    )
    assert squared_error(values, "mse", grid) <= 1.05 * best


def test_percentile_agrees_with_numpy() -> None:
    values = np.random.default_rng(3).standard_normal(100_000)
    low, high = choose_range(observe(values), UINT8, "percentile", 99.9)
    assert low == pytest.approx(np.quantile(values, 0.001), rel=0.02)
    assert high == pytest.approx(np.quantile(values, 0.999), rel=0.02)
    _, end = choose_range(observe(values), INT8, "percentile", 99.9)
    assert end == pytest.approx(np.quantile(np.abs(values), 0.999), rel=0.02)


@pytest.mark.parametrize("grid", GRIDS)
def test_entropy_cuts_a_lone_outlier_off(grid: Grid) -> None:
    values = np.append(np.abs(np.random.default_rng(4).standard_normal(50_000)), 60.0)
    _, high = choose_range(observe(values), grid, "entropy", 100)
    assert 3 < high < 20


def test_entropy_keeps_the_range_of_a_uniform_distribution() -> None:
    values = np.random.default_rng(5).uniform(0, 1, 50_000)
    _, high = choose_range(observe(values), UINT8, "entropy", 100)
    assert high > 0.9


@pytest.mark.parametrize("method", sorted(RANGES))
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("constant", [0.0, 2.5, -2.5])
def test_a_constant_activation_is_held(method: Method, grid: Grid, constant: float) -> None:
    q = fit_grid(choose_range(observe(np.full(100, constant)), grid, method, 99.9), grid)
    assert fake_quantize(np.array([constant]), q, grid)[0] == pytest.approx(constant, rel=0.01)


@pytest.mark.parametrize("high", [6.0, 1.0, 5.999999, 0.1, 3.3333333])
def test_the_top_code_never_passes_the_end_of_a_one_sided_range(high: float) -> None:
    q = fit_grid((0.0, high), UINT8)
    assert np.float32(255) * q.scale <= np.float32(high)
    assert float(np.float32(255) * q.scale) == pytest.approx(high, rel=1e-5)


@PROPERTY
@given(FLOATS, st.sampled_from(GRIDS))
def test_auto_is_as_good_as_the_best_of_the_others(values: np.ndarray, grid: Grid) -> None:
    observed = observe(values)
    centres, counts = observed.bins()

    def error(method: Method) -> float:
        q = fit_grid(choose_range(observed, grid, method, 99.9), grid)
        return float(counts @ (fake_quantize(centres, q, grid) - centres) ** 2)

    assert error("auto") <= min(error(method) for method in RANGES) * (1 + 1e-9)
