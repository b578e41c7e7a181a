"""Rules that need every sample's outcome."""

from dataclasses import replace

import numpy as np
import pytest
from small_reports import accuracy, engine, measurements

from compress.gate import Policy, RuleOutcome, check_rules, judge
from compress.measure.statistics import PairedTable, paired_difference
from compress.report.measurements import RawMeasurements
from compress.report.record import Measurements

CLASSES, EACH = 4, 500


def record(*, simulated: bool = False) -> Measurements:
    return measurements(accuracy_record=accuracy(simulated=simulated), engine_record=engine())


def outcomes(lost: dict[int, int], *, confidences: bool = True, names: bool = True) -> RawMeasurements:
    """Return samples of four classes that the original has all right; of some classes the engine loses as many."""
    label = np.repeat(np.arange(CLASSES, dtype=np.int32), EACH)
    after = label.copy()
    for number, count in lost.items():
        after[np.flatnonzero(label == number)[:count]] = (number + 1) % CLASSES
    cameras = np.where(np.arange(len(label)) % EACH < EACH // 2, "left", "right")
    sure = np.full(len(label), 0.99, np.float32)
    return RawMeasurements(
        label=label,
        baseline_score=np.ones(len(label), np.float32),
        compressed_score=(after == label).astype(np.float32),
        baseline_prediction=label,
        compressed_prediction=after,
        baseline_confidence=sure if confidences else None,
        compressed_confidence=sure if confidences else None,
        class_names=np.array(["cat", "dog", "bird", "fish"]) if names else None,
        slices={"camera": cameras},
    )


def rule(policy: Policy, raw: RawMeasurements | None, *, simulated: bool = False) -> RuleOutcome:
    """Return the outcome of the one rule beside that on accuracy as a whole."""
    return check_rules(record(simulated=simulated), policy, raw)[1]


def test_the_worst_class_is_named_with_its_own_paired_interval() -> None:
    found = rule(Policy(max_class_drop=5), outcomes({0: 2, 2: 10}))
    exact = paired_difference(PairedTable(EACH - 10, 10, 0, 0))
    assert (found.rule, found.status) == ("class-drop", "pass")
    assert found.measured == pytest.approx(0.02)
    assert found.interval == pytest.approx((exact.low, exact.high))
    assert found.reason == (
        "The worst class is `bird`: its drop is +2.00 points (95 % interval +1.09 to +3.64, 500 samples, of 4 classes),"
        " within the budget of 5.00 points."
    )


def test_every_class_that_is_beyond_is_named_and_the_exit_code_is_that_of_accuracy() -> None:
    found = rule(Policy(max_class_drop=2), outcomes({0: 60, 1: 50, 3: 12}))
    assert (found.status, found.exit_code) == ("fail", 10)
    assert found.reason.startswith("The worst class is `cat`: its drop is +12.00 points")
    assert found.reason.endswith("Beyond too: `dog`.")


def test_a_class_whose_interval_has_the_limit_inside_is_undecided_with_the_samples_that_it_takes() -> None:
    found = rule(Policy(max_class_drop=2), outcomes({3: 12}))
    assert (found.status, found.exit_code) == ("inconclusive", 13)
    assert "on both sides of the budget of 2.00 points: about" in found.reason
    assert found.reason.endswith("samples would decide for it.")


def test_one_of_many_classes_that_is_just_beyond_is_not_called_a_failure() -> None:
    label = np.repeat(np.arange(40, dtype=np.int32), 100)
    right = np.ones(len(label), np.float32)
    after = right.copy()
    after[:7] = 0  # alone, 7 of 100 are beyond 3 points: the interval starts at 3.4
    raw = RawMeasurements(label=label, baseline_score=right, compressed_score=after)
    found = rule(Policy(max_class_drop=3), raw)
    assert found.interval is not None
    assert found.interval[0] > 0.03
    assert (found.status, found.exit_code) == ("inconclusive", 13)
    assert "beyond the budget of 3.00 points: one of 40 looks so by chance too often (Holm's" in found.reason
    alone = RawMeasurements(label=label[:100], baseline_score=right[:100], compressed_score=after[:100])
    assert rule(Policy(max_class_drop=3), alone).status == "fail"


def test_classes_without_names_have_their_numbers() -> None:
    assert "`class 2`" in rule(Policy(max_class_drop=5), outcomes({2: 10}, names=False)).reason


def test_a_thousand_classes_are_judged_at_once() -> None:
    label = np.repeat(np.arange(1000, dtype=np.int32), 10)
    right = np.ones(len(label), np.float32)
    raw = RawMeasurements(label=label, baseline_score=right, compressed_score=right)
    assert rule(Policy(max_class_drop=50), raw).status == "pass"
    assert rule(Policy(max_class_drop=5), raw).status == "inconclusive"
    assert rule(Policy(max_class_drop=5), raw).reason.endswith(" and 994 more.")


def test_a_column_that_names_samples_is_no_slicing_and_is_said_to_be_left_out() -> None:
    raw = outcomes({0: 2})
    named = {"file": np.array([f"{number}.png" for number in range(raw.samples)])}
    texts = {"text": np.array(["a sentence " * 10] * raw.samples)}
    found = rule(Policy(max_slice_drop=5), replace(raw, slices={**raw.slices, **named, **texts}))
    assert found.status == "pass"
    assert "Left out: `file`, `text`, with more than 200 values or whole texts." in found.reason
    none = rule(Policy(max_slice_drop=5), replace(raw, slices={**named, **texts}))
    assert (none.status, none.exit_code) == ("unmeasured", 13)
    assert set(replace(raw, slices={**raw.slices, **named, **texts}).groupings) == set(raw.slices)


def test_the_worst_slice_of_any_column_is_named() -> None:
    found = rule(Policy(max_slice_drop=5), outcomes({0: 60, 1: 60, 2: 60}))  # all of them among the left ones
    assert (found.rule, found.status, found.exit_code) == ("slice-drop", "fail", 10)
    assert found.measured == pytest.approx(180 / 1000)
    assert "The worst slice is `camera = left`" in found.reason
    assert rule(Policy(max_slice_drop=5), outcomes({0: 2})).status == "pass"


def test_flips_are_the_samples_that_turned_wrong_and_gains_do_not_make_up_for_them() -> None:
    raw = outcomes({0: 40})
    assert raw.baseline_score is not None
    assert raw.compressed_score is not None
    mixed = RawMeasurements(baseline_score=raw.compressed_score[::-1], compressed_score=raw.compressed_score)
    for each in (raw, mixed):
        found = rule(Policy(max_flip_rate=5), each)
        assert (found.rule, found.status) == ("flips", "pass")
        assert found.measured == pytest.approx(0.02)
        assert "40 of 2000 samples" in found.reason
    assert judge(record(), Policy(max_flip_rate=1), raw).exit_code == 10
    assert judge(record(), Policy(max_flip_rate=2), raw).exit_code == 13


def test_a_confidence_that_no_longer_fits_is_a_larger_calibration_error() -> None:
    found = rule(Policy(max_calibration_error_change=2), outcomes({0: 200}))
    assert (found.rule, found.status, found.exit_code) == ("calibration", "fail", 10)
    assert found.measured == pytest.approx(0.08, abs=0.002)  # 0.09 now instead of 0.01
    assert "1.00 % before, 9.00 % now" in found.reason
    assert rule(Policy(max_calibration_error_change=2), outcomes({0: 2})).status == "pass"


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        (Policy(max_class_drop=1), "every sample is stored"),
        (Policy(max_slice_drop=1), "no outcome of every sample is stored"),
        (Policy(max_flip_rate=1), "no outcome of every sample is stored"),
        (Policy(max_calibration_error_change=1), "no confidences and classes of every sample are stored"),
    ],
)
@pytest.mark.parametrize("raw", [None, RawMeasurements(baseline_score=np.array([0.25, 3.0], np.float32))])
def test_without_outcomes_of_every_sample_the_rule_is_unmeasured(
    policy: Policy, why: str, raw: RawMeasurements | None
) -> None:
    found = rule(policy, raw)
    assert (found.status, found.exit_code) == ("unmeasured", 13)
    assert "was asked for" in found.reason
    assert why in found.reason


def test_what_a_sample_set_does_not_have_is_unmeasured() -> None:
    scores = np.ones(10, np.float32)
    bare = RawMeasurements(baseline_score=scores, compressed_score=scores)
    assert "no class of every sample is stored" in rule(Policy(max_class_drop=1), bare).reason
    assert "no column and no folders to slice them by" in rule(Policy(max_slice_drop=1), bare).reason
    unsure = outcomes({}, confidences=False)
    assert rule(Policy(max_calibration_error_change=1), unsure).status == "unmeasured"


def test_simulated_outcomes_do_not_decide_where_the_policy_wants_them_measured() -> None:
    for limit in ("max_class_drop", "max_slice_drop", "max_flip_rate", "max_calibration_error_change"):
        policy = Policy.model_validate({limit: 50, "require": "measured"})
        assert rule(policy, outcomes({}), simulated=True).status == "unmeasured"
        assert rule(policy, outcomes({})).status == "pass"


def test_at_another_confidence_the_interval_is_that_of_the_outcomes() -> None:
    raw = outcomes({0: 40})
    (found,) = check_rules(record(), Policy(confidence=0.99), raw)
    exact = paired_difference(PairedTable(1960, 40, 0, 0), confidence=0.99)
    assert found.interval == pytest.approx((exact.low, exact.high))


def test_seconds_of_every_round_give_latencies_at_another_confidence() -> None:
    from small_reports import latency

    seconds = np.random.default_rng(0).gamma(20.0, 1e-4, 2000)
    raw = RawMeasurements(baseline_seconds=2 * seconds, compressed_seconds=seconds)
    timed = record().model_copy(update={"latency": latency()})
    widths = []
    for confidence in (0.9, 0.999):
        _, p99, speed = check_rules(timed, Policy(confidence=confidence, max_p99=1.0, min_speedup=1.1), raw)
        assert p99.interval is not None
        assert p99.interval[1] is not None
        assert p99.measured == pytest.approx(np.quantile(seconds, 0.99))
        assert speed.measured == pytest.approx(2.0)
        widths.append(p99.interval[1] - p99.interval[0])
    assert widths[1] > widths[0]
