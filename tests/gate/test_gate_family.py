"""Several targets under one policy."""

import pytest
from small_reports import accuracy, cpu_target, engine, jetson_target, latency, measurements, unbuilt_target

from compress.errors import ExitCode
from compress.gate import Outcomes, check_targets, judge_targets, make_policy
from compress.report.record import Accuracy, Attempt, Latency, Measurements

FINE = accuracy(0.0, (-0.002, 0.002))
BARELY = accuracy(0.015, (0.0102, 0.0198))
"""Beyond a budget of one point with p = 0.021 where 0.025 is needed."""
CLEARLY = accuracy(0.02, (0.015, 0.025))


def target(name: str, drop: Accuracy | None = None, timing: Latency | None = None) -> Measurements:
    made = measurements(accuracy_record=drop, latency_record=timing, engine_record=engine())
    return made.model_copy(update={"target": name})


def check(drops: list[Accuracy], **limits: object) -> Outcomes:
    targets = [target(f"t{number}", drop) for number, drop in enumerate(drops)]
    return check_targets(targets, make_policy(limits, "test"), {})


def statuses(outcomes: Outcomes) -> list[str]:
    return [rules[0].status for rules in outcomes.values()]


def test_of_several_targets_one_that_fails_barely_is_left_open_and_says_why() -> None:
    assert statuses(check([BARELY])) == ["fail"]
    found = check([BARELY, FINE, FINE])
    assert statuses(found) == ["inconclusive", "pass", "pass"]
    outcome = found["t0"][0]
    assert (outcome.exit_code, outcome.measured, outcome.interval) == (ExitCode.UNDECIDED, 0.015, (0.0102, 0.0198))
    assert outcome.reason.endswith(
        "beyond the budget of 1.00 points: one of 3 targets looks so by chance too often (Hochberg's correction), "
        "more samples would decide."
    )


def test_one_that_fails_clearly_and_several_that_agree_fail_all_the_same() -> None:
    assert statuses(check([CLEARLY, FINE, FINE])) == ["fail", "pass", "pass"]
    assert statuses(check([BARELY, BARELY, BARELY])) == ["fail"] * 3
    # What is sure in spite of the correction does not make the other one so.
    assert statuses(check([CLEARLY, BARELY, FINE])) == ["fail", "inconclusive", "pass"]


def test_more_targets_never_turn_a_failure_into_a_pass_unless_the_policy_says_so() -> None:
    assert statuses(check([BARELY, FINE], inconclusive="fail")) == ["fail", "pass"]
    assert check([BARELY, FINE], inconclusive="fail")["t0"][0].exit_code == ExitCode.ACCURACY
    assert statuses(check([BARELY, FINE], inconclusive="pass")) == ["pass", "pass"]


def slow(ratio: float, interval: tuple[float, float]) -> Latency:
    return latency().model_copy(update={"speedup": ratio, "interval": interval})


def test_a_speed_up_is_corrected_from_its_other_side() -> None:
    def judge(*timings: Latency) -> list[str]:
        targets = [target(f"t{number}", FINE, timing) for number, timing in enumerate(timings)]
        found = check_targets(targets, make_policy({"min_speedup": 1.5}, "test"), {})
        return [outcome.status for rules in found.values() for outcome in rules if outcome.rule == "speed-up"]

    barely, fast = slow(1.4, (1.305, 1.495)), slow(2.0, (1.9, 2.1))
    assert judge(barely) == ["fail"]
    assert judge(barely, fast) == ["inconclusive", "pass"]
    assert judge(slow(1.2, (1.1, 1.3)), fast) == ["fail", "pass"]


def test_what_chance_has_no_part_in_is_not_corrected_and_counts_for_nobody() -> None:
    targets = [cpu_target(), jetson_target()]
    found = check_targets(targets, make_policy({"max_size": "1KB"}, "test"), {})
    assert [rules[-1].status for rules in found.values()] == ["fail", "fail"]
    alone = [target("t0", BARELY), unbuilt_target()]
    assert statuses(check_targets(alone, make_policy({}, "test"), {})) == ["fail", "fail"]


@pytest.mark.parametrize(("second", "status", "code"), [(FINE, "inconclusive", 13), (BARELY, "fail", 10)])
def test_the_verdict_of_a_report_is_that_of_its_corrected_targets(second: Accuracy, status: str, code: int) -> None:
    tried = (
        Attempt(steps=("quantize",), status="fail", drop=0.015, sqnr_db=None, kept=True),
        Attempt(steps=("mixed",), status="fail", drop=0.03, sqnr_db=None, kept=False),
    )
    first = cpu_target().model_copy(update={"accuracy": BARELY, "attempts": tried})
    other = jetson_target().model_copy(update={"accuracy": second})
    targets, verdict = judge_targets([first, other], check_targets([first, other], make_policy({}, "test"), {}))
    assert (targets[0].verdict.status, targets[0].verdict.exit_code) == (status, code)
    assert (verdict.status, verdict.exit_code) == (status, code)
    assert verdict.reasons[0].startswith("cpu: The drop of top1 is +1.50 points")
    assert [attempt.status for attempt in targets[0].attempts] == [status, "fail"]
