from pathlib import Path

import pytest
from small_reports import accuracy, engine, latency, measurements

from compress.errors import ConfigError
from compress.gate import Policy, accuracy_budget, check_rules, judge, make_policy, misses_budget, read_policy
from compress.report.record import PeakMemory
from compress.report.speed_record import Energy


def test_a_preset_is_a_share_of_the_originals_accuracy_and_takes_the_place_of_the_default_drop() -> None:
    record = measurements(accuracy_record=accuracy(), engine_record=engine())
    (rule,) = check_rules(record, Policy(preset="mlperf-99"))
    assert (rule.rule, rule.status) == ("relative-drop", "pass")
    assert rule.reason == (
        "As a share of the original's 92.31 %, the drop of top1 is +0.32 % (95 % interval +0.11 % to +0.54 %, "
        "10000 samples, measured on the engine), within the budget of 1.00 %."
    )
    assert rule.cells() == ("1.00 %", "+0.32 %", "+0.11 % to +0.54 %")
    assert judge(record, Policy(preset="mlperf-99.9")).exit_code == 10


def test_of_a_drop_in_points_and_one_in_percent_both_are_judged_and_the_stricter_is_the_budget() -> None:
    record = accuracy()
    both = Policy(preset="mlperf-99.9", max_drop=1.0)
    assert [rule.rule for rule in check_rules(measurements(accuracy_record=record, engine_record=engine()), both)] == [
        "accuracy",
        "relative-drop",
    ]
    assert accuracy_budget(record, both) == pytest.approx(0.001 * 0.9231)
    assert accuracy_budget(record, Policy(preset="mlperf-99.9", max_drop_relative=50)) == pytest.approx(0.46155)
    assert misses_budget(measurements(accuracy_record=record), both)
    assert not misses_budget(measurements(accuracy_record=record), Policy(max_drop_relative=0.4))


def test_a_relative_drop_works_for_a_metric_that_is_no_fraction_and_not_for_an_original_of_zero() -> None:
    record = accuracy(0.3, (0.1, 0.5), fraction=False, metric="mse")
    (rule,) = check_rules(measurements(accuracy_record=record, engine_record=engine()), Policy(max_drop_relative=60))
    assert rule.status == "pass"
    assert "the original's 0.9231, the drop of mse is +32.50 %" in rule.reason
    zero = record.model_copy(update={"baseline": 0.0})
    (rule,) = check_rules(measurements(accuracy_record=zero, engine_record=engine()), Policy(preset="mlperf-99"))
    assert (rule.status, rule.exit_code) == ("unmeasured", 13)
    assert "is 0: there is no share" in rule.reason


@pytest.mark.parametrize(
    ("says", "status", "code", "end"),
    [
        ("undecided", "inconclusive", 13, "samples would decide."),
        ("fail", "fail", 10, "The policy counts what is undecided as a failure."),
        ("pass", "pass", 0, "The policy lets what is undecided pass."),
    ],
)
def test_the_policy_says_what_an_undecided_rule_is(says: str, status: str, code: int, end: str) -> None:
    record = measurements(accuracy_record=accuracy(), engine_record=engine())
    found = judge(record, make_policy({"max_drop": 0.4, "inconclusive": says}, "test"))
    assert (found.status, found.exit_code) == (status, code)
    assert found.reasons[0].endswith(end)


def test_what_nobody_measured_is_13_even_where_the_undecided_passes() -> None:
    lenient = Policy(inconclusive="pass", max_latency=1.0)
    assert judge(measurements(engine_record=engine()), lenient).exit_code == 13


def test_another_confidence_stretches_the_stored_interval_where_no_outcomes_are_stored() -> None:
    record = measurements(accuracy_record=accuracy(), engine_record=engine(), latency_record=latency())
    (rule,) = check_rules(record, Policy(confidence=0.99))
    assert rule.interval == pytest.approx((0.00037, 0.00563), abs=1e-5)
    assert "99 % interval" in rule.reason
    narrow = judge(record, Policy(max_drop=0.48, confidence=0.9))
    assert (narrow.exit_code, judge(record, Policy(max_drop=0.48)).exit_code) == (0, 13)


def test_p99_memory_and_energy_have_their_limits() -> None:
    record = measurements(accuracy_record=accuracy(), engine_record=engine(), latency_record=latency()).model_copy(
        update={
            "memory": PeakMemory(baseline_peak=9_000_000, compressed_peak=4_000_000),
            "energy": Energy(compressed_joules=0.004, method="a test"),
        }
    )
    table = {"max_p99": "5ms", "max_memory": "5MB", "max_energy": "5mJ"}
    rules = check_rules(record, make_policy(table, "test"))
    assert [(rule.rule, rule.status) for rule in rules[1:]] == [("p99", "pass"), ("memory", "pass"), ("energy", "pass")]
    assert [rule.cells()[:2] for rule in rules[1:]] == [
        ("5.00 ms", "4.00 ms"),
        ("5.00 MB", "4.00 MB"),
        ("5.00 mJ", "4.00 mJ"),
    ]
    tight = {"max_p99": "3ms", "max_memory": "3MB", "max_energy": "3mJ"}
    assert [judge(record, make_policy({key: value}, "test")).exit_code for key, value in tight.items()] == [11, 12, 12]


@pytest.mark.parametrize("limits", [{"max_p99": "8ms"}, {"max_memory": "5MB"}, {"max_energy": "5mJ"}])
def test_a_limit_on_what_this_machine_could_not_measure_is_13(limits: dict[str, object]) -> None:
    record = measurements(accuracy_record=accuracy(), engine_record=engine())
    found = judge(record, make_policy(limits, "test"))
    assert (found.status, found.exit_code) == ("unmeasured", 13)
    assert "was asked for, and none was measured" in found.reasons[0]


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("max_drop_relative = 5000", "`max_drop_relative`: Input should be less than or equal to 100", "percent, 0 to"),
        ("max_flip_rate = 101", "`max_flip_rate`", "percent, 0 to 100"),
        ("max_class_drop = -1", "`max_class_drop`", "points, 0 to 100"),
        ("confidence = 95", "`confidence`: Input should be less than 1 (got 95)", "a share between 0.5 and 1: 0.95"),
        ('preset = "mlperf"', "`preset`: Input should be 'mlperf-99' or 'mlperf-99.9'", "correct"),
        ('inconclusive = "maybe"', "`inconclusive`", "correct"),
        ('max_energy = "5"', "`5` is not an energy", "correct"),
        ("max_clas_drop = 1", "unknown key `max_clas_drop`", "Did you mean `max_class_drop`?"),
    ],
)
def test_a_limit_that_makes_no_sense_is_named_with_file_key_and_what_it_takes(
    tmp_path: Path, line: str, message: str, hint: str
) -> None:
    path = tmp_path / "gate.toml"
    path.write_text(f"[gate]\n{line}\n")
    with pytest.raises(ConfigError) as caught:
        read_policy(path)
    assert caught.value.message.startswith(f"{path}: [gate]: ")
    assert message in caught.value.message
    assert hint in str(caught.value.hint)


def test_a_drop_of_5000_points_is_for_a_metric_with_a_unit_of_its_own_only() -> None:
    policy = Policy(max_drop=5000)
    policy.refuse_impossible("value", "[gate]")
    with pytest.raises(ConfigError, match="`max_drop` is 5000 points, and the metric has 100 at most"):
        policy.refuse_impossible("fraction", "[gate]")


def test_a_search_aims_at_what_the_policy_allows() -> None:
    assert Policy().points_aimed_at("fraction") == 1.0
    assert Policy().points_aimed_at("value") is None
    assert Policy(preset="mlperf-99.9").points_aimed_at("fraction") == pytest.approx(0.1)
    assert Policy(preset="mlperf-99.9", max_drop=0.5).points_aimed_at("fraction") == 0.5
