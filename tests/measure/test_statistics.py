import math
from collections.abc import Callable
from functools import cache

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from scipy.stats import binomtest, multinomial

from compress.measure.statistics import (
    SESSION_SPREAD,
    Estimate,
    Floats,
    PairedTable,
    decide_budget,
    decide_family,
    exceeds_p_value,
    hochberg_adjust,
    holm_adjust,
    mcnemar_p_value,
    newcombe_difference,
    noninferiority_p_value,
    normal_quantile,
    paired_bootstrap,
    paired_difference,
    percentile,
    ratio_of_medians,
    rescale,
    samples_to_decide,
    score_interval,
    speed_ratio,
    widen_ratio,
    wilson_interval,
)

PROPERTY = settings(deadline=None, max_examples=60, derandomize=True)
COUNTS = st.integers(0, 2000)
TABLES = st.builds(PairedTable, COUNTS, COUNTS, COUNTS, COUNTS).filter(lambda table: table.samples > 0)
SECONDS = st.lists(st.floats(1e-6, 10.0), min_size=1, max_size=80).map(np.array)


def mean(rows: Floats) -> float:
    return float(rows.mean())


def swapped(table: PairedTable) -> PairedTable:
    return PairedTable(table.both, table.only_compressed, table.only_baseline, table.neither)


def test_paired_table_counts_the_four_cases() -> None:
    baseline = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 1.0])
    compressed = np.array([1.0, 0.0, 0.0, 1.0, 0.0, 1.0])
    assert PairedTable.from_rows(baseline, compressed) == PairedTable(2, 2, 1, 1)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        # Published with the method in Fagerland, Lydersen, Laake, "Statistical Analysis of Contingency Tables" (2017),
        # chapter 8: Cavo et al. (2012) and Bentur et al. (2009).
        (PairedTable(59, 6, 16, 80), (-0.0621, -0.1186, -0.0046)),
        (PairedTable(1, 1, 7, 12), (-0.2857, -0.5069, -0.0256)),
    ],
)
def test_newcombes_interval_reproduces_published_examples(
    table: PairedTable, expected: tuple[float, float, float]
) -> None:
    found = newcombe_difference(table)
    assert (found.value, found.low, found.high) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        # The same book: Tango's interval of Bentur et al.; of Cavo et al. by solving the score equation.
        (PairedTable(1, 1, 7, 12), (-0.2857, -0.5172, -0.0260)),
        (PairedTable(59, 6, 16, 80), (-0.0621, -0.1240, -0.0054)),
    ],
)
def test_tangos_interval_reproduces_published_examples(
    table: PairedTable, expected: tuple[float, float, float]
) -> None:
    found = paired_difference(table)
    assert (found.value, found.low, found.high) == pytest.approx(expected, abs=6e-5)


INTERVALS = pytest.mark.parametrize("interval", [paired_difference, newcombe_difference])
Interval = Callable[[PairedTable], Estimate]


@INTERVALS
@PROPERTY
@given(table=TABLES)
def test_an_interval_holds_its_estimate_and_stays_within_minus_one_and_one(
    interval: Interval, table: PairedTable
) -> None:
    found = interval(table)
    assert -1 <= found.low <= found.value <= found.high <= 1


@INTERVALS
@PROPERTY
@given(table=TABLES)
def test_swapping_the_engines_mirrors_the_interval(interval: Interval, table: PairedTable) -> None:
    forth, back = interval(table), interval(swapped(table))
    assert (back.value, back.low, back.high) == pytest.approx((-forth.value, -forth.high, -forth.low), abs=1e-9)


@INTERVALS
def test_an_interval_does_not_collapse_when_no_sample_changed(interval: Interval) -> None:
    found = interval(PairedTable(9200, 0, 0, 800))
    assert found.value == 0
    assert 0 < found.high < 0.001
    assert found.low == pytest.approx(-found.high)


@pytest.mark.parametrize("only_compressed", [0.005, 0.02])
def test_the_interval_covers_the_true_drop_as_often_as_it_says(only_compressed: float) -> None:
    # 300 samples, true drop 0.02: coverage over the whole distribution of tables, so no draw is needed.
    changed = [0.02 + only_compressed, only_compressed]
    lost, won = np.meshgrid(np.arange(40.0), np.arange(40.0))
    chances = multinomial.pmf(np.stack([lost, won, 300 - lost - won], axis=-1), 300, [*changed, 1 - sum(changed)])
    low, high = score_interval(lost, won, 300)
    assert chances.sum() == pytest.approx(1, abs=1e-6)
    assert chances[(low <= 0.02) & (high >= 0.02)].sum() == pytest.approx(0.95, abs=0.01)


@PROPERTY
@given(TABLES, st.floats(-0.5, 0.5))
def test_the_noninferiority_test_says_what_the_interval_says(table: PairedTable, budget: float) -> None:
    found = paired_difference(table)
    if abs(found.high - budget) > 1e-9:
        assert (noninferiority_p_value(table, budget) < 0.025) == (found.high < budget)


@PROPERTY
@given(st.integers(0, 500), st.integers(1, 500), st.sampled_from([0.9, 0.95, 0.99]))
def test_wilsons_interval_is_that_of_scipy(successes: int, more: int, confidence: float) -> None:
    n = successes + more
    expected = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    assert wilson_interval(successes, n, confidence) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_a_loss_is_within_the_budget_beyond_it_or_open() -> None:
    def around(value: float) -> Estimate:
        return Estimate(value, value - 0.01, value + 0.01, 0.95, "")

    assert decide_budget(around(0.0), 0.01) == "within"
    assert decide_budget(around(0.03), 0.01) == "beyond"
    assert decide_budget(around(0.01), 0.01) == "open"
    # The p-value is at 2.5 % where the interval's end is at the budget.
    assert exceeds_p_value(around(0.02), 0.01) == pytest.approx(0.025)
    assert exceeds_p_value(Estimate(0.1, 0.1, 0.1, 0.95, ""), 0.0) == 0
    assert exceeds_p_value(Estimate(0.0, 0.0, 0.0, 0.95, ""), 0.0) == 1


def test_holms_correction_agrees_with_the_textbook() -> None:
    # 0.01 * 4, 0.02 * 3 , 0.03 * 2 (not below the one before), 0.04.
    assert holm_adjust([0.01, 0.04, 0.03, 0.02]) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert holm_adjust([]) == []


def test_hochbergs_correction_agrees_with_the_textbook_and_is_never_above_holms() -> None:
    # 0.04, then the least of it and 0.03 * 2, of that and 0.02 * 3, of that and 0.01 * 4.
    assert hochberg_adjust([0.01, 0.04, 0.03, 0.02]) == pytest.approx([0.04] * 4)
    assert hochberg_adjust([0.001, 0.5, 0.04]) == pytest.approx([0.003, 0.5, 0.08])
    assert hochberg_adjust([0.02] * 5) == pytest.approx([0.02] * 5)
    assert hochberg_adjust([]) == []


@settings(deadline=None, derandomize=True)
@given(st.lists(st.floats(0, 1), max_size=8))
def test_a_corrected_p_value_is_between_its_own_and_holms(p_values: list[float]) -> None:
    for own, ours, holm in zip(p_values, hochberg_adjust(p_values), holm_adjust(p_values), strict=True):
        assert own <= ours <= holm + 1e-12


def test_of_many_groups_one_that_fails_barely_is_left_open_and_one_that_fails_clearly_is_not() -> None:
    barely, clearly = Estimate(0.03, 0.011, 0.049, 0.95, ""), Estimate(0.05, 0.031, 0.069, 0.95, "")
    fine = Estimate(0.0, -0.005, 0.005, 0.95, "")
    assert decide_family([barely], 0.01) == ["beyond"]
    assert decide_family([barely, *[fine] * 9], 0.01) == ["open", *["within"] * 9]
    assert decide_family([clearly, *[fine] * 9], 0.01) == ["beyond", *["within"] * 9]


def test_an_interval_is_stretched_to_another_confidence_on_each_side() -> None:
    found = rescale(Estimate(0.0, -0.0196, 0.0392, 0.95, "x"), 0.99)
    assert (found.low, found.high) == pytest.approx((-0.02576, 0.05152), abs=1e-4)
    assert rescale(found, 0.99) is found


def test_an_empty_table_has_no_difference() -> None:
    with pytest.raises(ValueError, match="without samples"):
        paired_difference(PairedTable(0, 0, 0, 0))


@pytest.mark.parametrize(
    ("table", "mid", "expected"),
    [
        # By hand: 8 changed samples, 1 against 7: two-sided exact 2 * (1 + 8) / 256, mid-p takes 8 / 256 off.
        (PairedTable(1, 1, 7, 12), False, 18 / 256),
        (PairedTable(1, 1, 7, 12), True, 10 / 256),
        # Balanced, 2 against 2: exact is capped at 1, mid-p is 1 - (6 / 16) / 2.
        (PairedTable(5, 2, 2, 5), False, 1.0),
        (PairedTable(5, 2, 2, 5), True, 13 / 16),
        (PairedTable(5, 0, 0, 5), True, 1.0),
    ],
)
def test_mcnemars_test_agrees_with_counting_by_hand(table: PairedTable, mid: bool, expected: float) -> None:
    assert mcnemar_p_value(table, mid=mid) == pytest.approx(expected, rel=1e-12)


@PROPERTY
@given(TABLES)
def test_mid_p_is_a_probability_below_the_exact_one_and_symmetric(table: PairedTable) -> None:
    mid, exact = mcnemar_p_value(table), mcnemar_p_value(table, mid=False)
    assert 0 <= mid <= exact <= 1
    assert mid == pytest.approx(mcnemar_p_value(swapped(table)))


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_the_bootstrap_agrees_with_the_normal_interval_of_a_mean(method: str) -> None:
    generator = np.random.default_rng(3)
    baseline = generator.normal(1.0, 1.0, (400, 1))
    compressed = baseline - generator.normal(0.1, 0.2, (400, 1))
    found = paired_bootstrap(baseline, compressed, mean, seed=0, method=method)  # type: ignore[arg-type]
    differences = baseline - compressed
    half = 1.96 * differences.std(ddof=1) / math.sqrt(400)
    assert found.value == pytest.approx(differences.mean())
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), abs=0.1 * half)
    assert method in found.method.lower()


def test_the_bootstrap_takes_metrics_that_are_no_means() -> None:
    rows = np.random.default_rng(5).integers(0, 2, (200, 2)).astype(np.float64)

    def ratio(part: Floats) -> float:
        return float(part[:, 0].sum() / max(1.0, part[:, 1].sum()))

    found = paired_bootstrap(rows, np.ones_like(rows), ratio, seed=1)
    assert found.low <= found.value <= found.high
    assert found.value == pytest.approx(ratio(rows) - 1.0)


def test_the_bootstrap_repeats_under_a_seed_and_mirrors_when_swapped() -> None:
    a, b = np.random.default_rng(2).normal(size=(2, 60, 1))
    forth, again, back = (paired_bootstrap(*pair, mean, seed=4, resamples=400) for pair in ((a, b), (a, b), (b, a)))
    assert forth == again
    assert (back.low, back.high) == pytest.approx((-forth.high, -forth.low))


def test_the_bootstrap_of_equal_rows_is_a_point_that_says_why() -> None:
    rows = np.arange(10.0)[:, None]
    found = paired_bootstrap(rows, rows, mean, seed=0)
    assert (found.low, found.value, found.high) == (0, 0, 0)
    assert found.method == "no sample's score changed"


def test_a_constant_difference_falls_back_from_bca_and_says_so() -> None:
    rows = np.arange(10.0)[:, None]
    found = paired_bootstrap(rows + 1.0, rows, mean, seed=0, method="bca", resamples=200)
    assert found.method.startswith("paired percentile bootstrap (BCa is not defined here)")
    assert (found.low, found.high) == pytest.approx((1.0, 1.0))


@pytest.mark.parametrize(("first", "second"), [((1, 1), (1, 1)), ((5, 1), (4, 1))])
def test_the_bootstrap_refuses_too_few_or_unequal_rows(first: tuple[int, int], second: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="two or more matching rows"):
        paired_bootstrap(np.zeros(first), np.zeros(second), mean, seed=0)


def test_samples_to_decide_shrinks_the_interval_to_the_gap() -> None:
    # Half-width 0.004 must become 0.002: four times the samples; and room for chance, ((1.96 + 0.84) / 1.96)^2.
    assert samples_to_decide(0.008, (0.004, 0.012), 0.010, 1000) == pytest.approx(8173, abs=1)
    assert samples_to_decide(0.012, (0.008, 0.016), 0.010, 1000) == pytest.approx(8173, abs=1)


def test_no_number_of_samples_decides_a_drop_that_lies_on_the_budget() -> None:
    assert samples_to_decide(0.01, (0.0, 0.02), 0.01, 1000) is None
    assert samples_to_decide(0.01, (0.0, 0.02), 0.01 + 1e-12, 1000) is None


@PROPERTY
@given(TABLES, st.floats(0.0, 0.5))
def test_an_undecided_table_needs_more_samples_than_it_has(table: PairedTable, budget: float) -> None:
    found = paired_difference(table)
    needed = samples_to_decide(found.value, (found.low, found.high), budget, table.samples)
    if found.low <= budget < found.high and needed is not None:
        assert needed >= table.samples


@PROPERTY
@given(SECONDS, st.sampled_from([0.5, 0.9, 0.99]))
def test_a_percentile_lies_within_its_interval_whatever_the_order(values: Floats, share: float) -> None:
    value, low, high = percentile(values, share)
    assert value == pytest.approx(float(np.quantile(values, share)))
    assert low <= value
    assert high is None or value <= high
    assert percentile(values[::-1].copy(), share) == (value, low, high)


def test_p99_is_bounded_from_above_from_368_values_on() -> None:
    # 1 - 0.99^n >= 0.975 where n >= ln(0.025) / ln(0.99) = 367.04.
    assert percentile(np.arange(367.0), 0.99)[2] is None
    assert percentile(np.arange(368.0), 0.99)[2] == 367.0


def test_the_interval_of_the_median_is_made_of_the_tabled_order_statistics() -> None:
    # n = 20 at 95 %: the 6th and the 15th value (Hahn and Meeker, table A.15a).
    assert percentile(np.arange(1.0, 21.0), 0.5) == (10.5, 6.0, 15.0)


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_the_interval_of_a_percentile_covers_it_at_least_as_often_as_it_says(share: float) -> None:
    generator = np.random.default_rng(11)
    true = -math.log(1 - share)
    intervals = [percentile(generator.exponential(size=120), share) for _ in range(400)]
    coverage = np.mean([low <= true and (high is None or true <= high) for _, low, high in intervals])
    assert coverage >= 0.93


def test_no_values_have_no_percentile() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile(np.array([]), 0.5)


@cache
def noisy_rounds() -> tuple[Floats, Floats]:
    generator = np.random.default_rng(9)
    burst = 1.0 + (np.arange(300) // 30 % 3 == 0) * 0.4
    first, second = generator.gamma(50, 0.02, (2, 300)) * burst
    return first, second


def test_an_engine_against_itself_has_an_interval_that_holds_one() -> None:
    first, second = noisy_rounds()
    found = ratio_of_medians(first, second, seed=0)
    assert found.low <= 1.0 <= found.high
    assert found.high - found.low < 0.2


def test_the_ratio_of_a_twice_as_fast_engine_is_two() -> None:
    first, second = noisy_rounds()
    found = ratio_of_medians(first, second / 2, seed=0)
    assert found.low <= 2.0 <= found.high


def test_the_ratio_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(13)
    found = [ratio_of_medians(*generator.normal(1, 0.05, (2, 100)), seed=i, resamples=300) for i in range(150)]
    assert np.mean([one.low <= 1.0 <= one.high for one in found]) >= 0.88


@PROPERTY
@given(SECONDS, st.integers(0, 5))
def test_equal_rounds_have_a_ratio_of_one_and_swapping_inverts(values: Floats, seed: int) -> None:
    same = ratio_of_medians(values, values, seed=seed, resamples=50)
    assert (same.low, same.value, same.high) == (1, 1, 1)
    other = values[::-1] * 1.5
    forth = ratio_of_medians(values, other, seed=seed, resamples=51)
    back = ratio_of_medians(other, values, seed=seed, resamples=51)
    assert back.value == pytest.approx(1 / forth.value)
    assert forth.low <= forth.value <= forth.high


def test_rounds_of_unequal_number_have_no_ratio() -> None:
    with pytest.raises(ValueError, match="matching rounds"):
        ratio_of_medians(np.ones(3), np.ones(2), seed=0)


def test_a_speed_up_that_is_reported_knows_what_two_sessions_of_one_engine_differ_by() -> None:
    first, second = np.random.default_rng(0).normal(1, 0.05, (2, 4000))
    rounds, reported = ratio_of_medians(first, second, seed=0), speed_ratio(first, second, seed=0)
    reach = normal_quantile(0.95) * SESSION_SPREAD
    assert reported.value == rounds.value
    assert math.log(reported.high / reported.value) == pytest.approx(
        math.hypot(math.log(rounds.high / rounds.value), reach)
    )
    assert math.log(reported.value / reported.low) == pytest.approx(
        math.hypot(math.log(rounds.value / rounds.low), reach)
    )
    assert "spread between sessions" in reported.method


def test_an_exact_ratio_is_as_sure_as_the_spread() -> None:
    exact = Estimate(2.0, 2.0, 2.0, 0.95, "exact")
    widened = widen_ratio(exact, 0.1, "more")
    assert (widened.low, widened.high) == pytest.approx((2 * math.exp(-0.196), 2 * math.exp(0.196)), abs=1e-4)
