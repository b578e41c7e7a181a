from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from small_reports import accuracy, cpu_target, engine, jetson_target, latency, measurements, unbuilt_target

from compress.errors import ConfigError, ExitCode, UsageError
from compress.gate import Policy, best_record, check_rules, judge, make_policy, override_policy, read_policy, worst
from compress.report.record import Accuracy, Latency, Measurements, Size, TargetRecord, VerdictRecord

SAMPLES = "95 % interval {}, 10000 samples, measured on the engine"
STATED = f"+0.30 points ({SAMPLES.format('+0.10 to +0.50')})"


def measured(*, drop: Accuracy | None = None, timing: Latency | None = None, size: int | None = None) -> Measurements:
    sizes = None if size is None else Size(baseline=4 * size, compressed=size)
    return measurements(accuracy_record=drop, latency_record=timing, size=sizes, engine_record=engine())


def judged(measurement: Measurements, **limits: object) -> tuple[str, int, str]:
    """Return the verdict's status, its exit code and its first reason."""
    verdict = judge(measurement, make_policy(limits, "test"))
    return verdict.status, verdict.exit_code, verdict.reasons[0]


def test_a_drop_whose_whole_interval_is_within_the_budget_passes() -> None:
    assert judged(measured(drop=accuracy())) == (
        "pass",
        0,
        f"The drop of top1 is {STATED}, within the budget of 1.00 points.",
    )


def test_a_drop_whose_whole_interval_is_beyond_the_budget_fails() -> None:
    status, code, reason = judged(measured(drop=accuracy()), max_drop=0)
    assert (status, code) == ("fail", 10)
    assert reason.endswith("beyond the budget of 0.00 points.")


def test_a_drop_with_the_budget_inside_its_interval_is_inconclusive_with_the_samples_that_would_decide() -> None:
    status, code, reason = judged(measured(drop=accuracy()), max_drop=0.4)
    assert (status, code) == ("inconclusive", 13)
    assert reason.endswith("on both sides of the budget of 0.40 points: about 82000 samples would decide.")


def test_a_drop_on_the_budget_is_never_decided() -> None:
    assert "no number of samples would decide" in judged(measured(drop=accuracy()), max_drop=0.3)[2]


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.floats(-0.1, 0.1), st.floats(0, 0.05), st.floats(0, 0.05), st.floats(0, 5), st.floats(0, 5))
def test_a_larger_budget_never_makes_a_verdict_worse(
    drop: float, below: float, above: float, first: float, second: float
) -> None:
    record = measured(drop=accuracy(drop, (drop - below, drop + above)))
    small, large = (judged(record, max_drop=budget)[1] for budget in sorted((first, second)))
    order = [ExitCode.PASS, ExitCode.UNDECIDED, ExitCode.ACCURACY]
    assert order.index(ExitCode(large)) <= order.index(ExitCode(small))


def test_a_run_without_labelled_samples_is_never_a_pass() -> None:
    assert judged(measured()) == (
        "unmeasured",
        13,
        "The accuracy was not measured: there were no labelled samples; give them with --eval or in [data].",
    )


def test_simulated_accuracy_decides_unless_the_policy_wants_it_measured() -> None:
    record = measured(drop=accuracy(simulated=True))
    status, code, reason = judged(record)
    assert (status, code) == ("pass", 0)
    assert "simulated on the CPU" in reason
    assert judged(record, require="measured") == (
        "unmeasured",
        13,
        "The accuracy was simulated, not measured on the engine itself, which the policy requires.",
    )
    assert judged(measured(drop=accuracy()), require="measured")[1] == 0


def test_a_metric_that_is_no_fraction_needs_its_own_budget() -> None:
    record = measured(drop=accuracy(0.3, (0.1, 0.5), fraction=False, metric="mse"))
    status, code, reason = judged(record)
    assert (status, code) == ("unmeasured", 13)
    assert "no default for `mse`" in reason
    assert judged(record, max_drop=0.6)[:2] == ("pass", 0)
    assert judged(record, max_drop=0.05) == (
        "fail",
        10,
        f"The drop of mse is +0.3 ({SAMPLES.format('+0.1 to +0.5')}), beyond the budget of 0.05.",
    )


@pytest.mark.parametrize(
    ("limit", "status", "code", "end"),
    [
        ("5ms", "pass", 0, "within the limit of 5.00 ms."),
        ("1us", "fail", 11, "beyond the limit of 1.00 µs."),
        (
            "4ms",
            "inconclusive",
            13,
            "on both sides of the limit of 4.00 ms: more runs on an idle machine would decide.",
        ),
    ],
)
def test_the_limit_on_latency_is_held_against_the_interval_of_p99(limit: str, status: str, code: int, end: str) -> None:
    found = judge(measured(drop=accuracy(), timing=latency()), make_policy({"max_latency": limit}, "test"))
    reason = next(reason for reason in found.reasons if "p99" in reason)
    assert (found.status, found.exit_code) == (status, code)
    assert reason == f"The p99 latency is 4.00 ms (95 % interval 3.80 ms to 4.20 ms, 400 runs), {end}"


@pytest.mark.parametrize(("limit", "code"), [("4.1ms", 0), ("3.9ms", 11)])
def test_too_few_runs_let_the_estimate_of_p99_decide_and_say_so(limit: str, code: int) -> None:
    record = measured(drop=accuracy(), timing=latency(p99_interval=(0.003, None)))
    found = judge(record, make_policy({"max_latency": limit}, "test"))
    assert found.exit_code == code
    assert any("(400 runs, too few for an interval)" in reason for reason in found.reasons)


@pytest.mark.parametrize(
    ("least", "status", "code", "place"),
    [
        (1.5, "pass", 0, "not below"),
        (2.5, "fail", 11, "below"),
        (2.0, "inconclusive", 13, "on both sides of"),
    ],
)
def test_the_least_speedup_is_held_against_its_interval(least: float, status: str, code: int, place: str) -> None:
    found = judge(measured(drop=accuracy(), timing=latency()), Policy(min_speedup=least))
    assert (found.status, found.exit_code) == (status, code)
    start = f"The speed-up is 2.00× (95 % interval 1.95× to 2.05×), {place} the limit of {least:.2f}×"
    assert any(reason.startswith(start) for reason in found.reasons)


@pytest.mark.parametrize(("limit", "code", "word"), [("1KB", 12, "beyond"), ("312KB", 0, "within")])
def test_the_limit_on_size_is_held_against_the_engine(limit: str, code: int, word: str) -> None:
    found = judge(measured(drop=accuracy(), size=312_000), make_policy({"max_size": limit}, "test"))
    assert found.exit_code == code
    assert any(f"The engine has 312 KB, {word} the limit of" in reason for reason in found.reasons)


@pytest.mark.parametrize("limits", [{"max_latency": "8ms"}, {"min_speedup": 1.5}, {"max_size": "5MB"}])
def test_a_limit_on_what_nobody_measured_is_never_a_pass(limits: dict[str, object]) -> None:
    status, code, reason = judged(measured(drop=accuracy()), **limits)
    assert (status, code) == ("unmeasured", 13)
    assert "was asked for, and" in reason
    assert "measured" in reason


def test_what_nobody_measured_weighs_more_than_what_is_open() -> None:
    assert judged(measured(drop=accuracy()), max_drop=0.4, max_latency="8ms")[:2] == ("unmeasured", 13)


def test_of_several_failures_accuracy_comes_first_and_all_reasons_are_listed() -> None:
    record = measured(drop=accuracy(), timing=latency(), size=312_000)
    everything = {"max_drop": 0, "max_latency": "1us", "max_size": "1KB", "min_speedup": 9}
    found = judge(record, make_policy(everything, "test"))
    assert (found.status, found.exit_code) == ("fail", 10)
    assert [reason.split()[1] for reason in found.reasons] == ["drop", "p99", "speed-up", "engine"]
    del everything["max_drop"]
    assert judged(record, **everything)[1] == 11
    assert judged(record, max_size="1KB", min_speedup=2.0)[1] == 12


def test_a_target_without_an_engine_is_exit_20_with_the_reason() -> None:
    assert judged(unbuilt_target()) == ("fail", 20, "There is no engine: TensorRT-RTX is not installed.")
    assert "does not say why" in judged(measurements())[2]


def test_only_the_rules_that_a_policy_sets_are_checked() -> None:
    assert [rule.rule for rule in check_rules(cpu_target(), Policy())] == ["accuracy"]
    every = Policy(max_latency=1.0, max_size=10**6, min_speedup=1.0)
    assert [rule.rule for rule in check_rules(cpu_target(), every)] == ["accuracy", "latency", "speed-up", "size"]
    assert [rule.rule for rule in check_rules(unbuilt_target(), every)] == ["engine"]
    assert judge(jetson_target(), every).exit_code == 13


PASS, OPEN, UNMEASURED, SLOW, INEXACT, ABSENT = (
    VerdictRecord(status="pass", exit_code=ExitCode(0), reasons=("a",)),
    VerdictRecord(status="inconclusive", exit_code=ExitCode(13), reasons=("b",)),
    VerdictRecord(status="unmeasured", exit_code=ExitCode(13), reasons=("c",)),
    VerdictRecord(status="fail", exit_code=ExitCode(11), reasons=("d",)),
    VerdictRecord(status="fail", exit_code=ExitCode(10), reasons=("e",)),
    VerdictRecord(status="fail", exit_code=ExitCode(20), reasons=("f",)),
)


def test_the_worst_verdict_comes_first_with_everybodys_reasons_by_name() -> None:
    found = worst([PASS, OPEN, SLOW, INEXACT, UNMEASURED], ["p", "o", "s", "i", "u"])
    assert (found.status, found.exit_code) == ("fail", 10)
    assert found.reasons == ("i: e", "s: d", "o: b", "u: c", "p: a")
    assert worst([INEXACT, ABSENT]).exit_code == 20
    assert worst([OPEN, UNMEASURED]).status == "unmeasured"
    assert worst([PASS, PASS]).reasons == ("a", "a")


def test_a_single_verdict_is_the_worst_as_it_is() -> None:
    assert worst([SLOW], ["cpu"]) == SLOW


def test_no_verdicts_have_no_worst() -> None:
    with pytest.raises(ValueError, match="no verdicts"):
        worst([])


def test_a_policy_file_is_the_gate_table(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(
        '[gate]\nmax_drop = 0.5\nmax_latency = "8ms"\nmax_size = "5MB"\nmin_speedup = 1.5\nrequire = "measured"\n'
    )
    assert read_policy(path) == Policy(
        max_drop=0.5, max_latency=0.008, max_size=5_000_000, min_speedup=1.5, require="measured"
    )


def test_numbers_in_a_policy_are_seconds_and_bytes() -> None:
    assert make_policy({"max_latency": 0.008, "max_size": 4096}, "test") == Policy(max_latency=0.008, max_size=4096)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("max_size = 1", "has no [gate] table", "[gate]"),
        ("gate = 3", "has no [gate] table", "[gate]"),
        ("[gate]\nmax_drp = 1", "unknown key `max_drp`", "`max_drop`"),
        ("[gate]\nmax_drop = -1", "`max_drop`", "correct"),
        ("[gate]\nmax_drop = nan", "`max_drop`", "correct"),
        ('[gate]\nmax_latency = "8"', "`8` is not a duration", "correct"),
        ("[gate]\nmax_latency = true", "`True` is not a duration", "correct"),
        ("[gate]\nmax_latency = []", "`[]` is not a duration", "correct"),
        (f"[gate]\nmax_latency = {'9' * 400}", "that a policy can use", "correct"),
        ("[gate]\nmax_size = 0", "`0` is not a size that a policy can use", "correct"),
        ("[gate]\nmin_speedup = 0", "`min_speedup`", "correct"),
        ('[gate]\nrequire = "guessed"', "`require`", "correct"),
        ("[gate", "not valid TOML", "line"),
    ],
)
def test_a_mistake_in_a_policy_is_named_with_file_and_key(tmp_path: Path, text: str, message: str, hint: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_policy(path)
    assert str(path) in caught.value.message
    assert message in caught.value.message
    assert hint in str(caught.value.hint)


def test_flags_win_over_a_policy_and_those_not_given_leave_it() -> None:
    policy = Policy(max_drop=0.5, max_size=1000)
    flags = {"max_drop": "2", "max_latency": "8ms", "max_size": None, "min_speedup": "1.5", "require": None}
    assert override_policy(policy, flags) == Policy(max_drop=2.0, max_latency=0.008, max_size=1000, min_speedup=1.5)


@pytest.mark.parametrize(
    ("flag", "value", "hint"),
    [
        ("max_drop", "1%", "--max-drop 0.5"),
        ("max_drop", "nan", "--max-drop 0.5"),
        ("max_latency", "8", "--max-latency 8ms"),
        ("max_size", "5", "--max-size 5MB"),
        ("min_speedup", "fast", "--min-speedup 1.5"),
        ("require", "guessed", "simulated or measured"),
    ],
)
def test_a_flag_without_sense_is_named_with_its_value(flag: str, value: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        override_policy(Policy(), {flag: value})
    assert caught.value.message.startswith(f"--{flag.replace('_', '-')} {value}: ")
    assert hint in str(caught.value.hint)


def attempt(drop: float, speedup: float | None, status: str = "pass", code: int = 0) -> TargetRecord:
    timing = latency().model_copy(update={"speedup": speedup}) if speedup is not None else None
    verdict = VerdictRecord(status=status, exit_code=code, reasons=())  # type: ignore[arg-type]
    return cpu_target().model_copy(update={"accuracy": accuracy(drop), "latency": timing, "verdict": verdict})


@pytest.mark.parametrize(
    ("attempts", "best"),
    [
        ([attempt(0.008, 2.4), attempt(0.0, 1.0)], 0),  # the original, shipped because nothing beat it
        ([attempt(0.008, 2.4), attempt(0.001, 2.3)], 1),  # as fast, as far as two runs can tell
        ([attempt(0.008, 2.4), attempt(0.001, 2.3), attempt(0.0, 2.0)], 1),
        ([attempt(0.008, None), attempt(0.001, 1.0)], 1),  # nobody knows which one is faster
        ([attempt(0.03, 2.4, "fail", 10), attempt(0.02, 1.0, "fail", 10)], 1),
        ([attempt(0.03, 2.4, "fail", 10), attempt(0.005, 1.0)], 1),
        ([attempt(0.0, 1.0, "inconclusive", 13), attempt(0.02, 9.0, "fail", 10)], 0),
        ([attempt(0.001, 2.0), attempt(0.001, 2.0)], 0),
    ],
)
def test_of_several_attempts_that_pass_one_of_the_fastest_is_kept(attempts: list[TargetRecord], best: int) -> None:
    assert best_record(attempts) is attempts[best]
