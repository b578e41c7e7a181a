import numpy as np
import pytest
from small_reports import accuracy, cpu_target, latency, machine, report, unbuilt_target
from two_reports import hits, target_of

from compress.errors import UsageError
from compress.gate import Policy, RuleOutcome
from compress.gate.regression import Side, check_regressions, decide_slowdown
from compress.measure.statistics import Estimate, PairedTable, paired_difference
from compress.report.measurements import RawMeasurements
from compress.report.record import Report, TargetRecord, Tool


def side(target: TargetRecord, raw: RawMeasurements | None = None, path: str = "old", **changes: object) -> Side:
    made: Report = report(target).model_copy(update=changes)
    return Side(made, target, raw, path)


def outcome_sides(before: RawMeasurements, after: RawMeasurements, **changes: object) -> tuple[Side, Side]:
    """Return two sides without a latency."""
    first, second = (target_of(raw, latency=None) for raw in (before, after))
    return side(first, before), side(second, after, "new", **changes)


def only(sides: tuple[Side, Side], policy: Policy | None = None) -> RuleOutcome:
    (found,) = check_regressions(*sides, policy or Policy())
    return found


def test_accuracy_is_compared_sample_by_sample_where_the_samples_are_the_same() -> None:
    found = only(outcome_sides(hits(10), hits(12)))
    exact = paired_difference(PairedTable(988, 2, 0, 10))
    assert (found.rule, found.status) == ("accuracy-regression", "inconclusive")
    assert found.interval == pytest.approx((exact.low, exact.high))
    assert "1000 samples, paired sample by sample" in found.reason
    assert only(outcome_sides(hits(10), hits(12)), Policy(max_accuracy_regression=1)).status == "pass"


def test_a_sure_loss_against_the_baseline_is_exit_10_and_a_gain_passes() -> None:
    lost = only(outcome_sides(hits(10), hits(60)))
    assert (lost.status, lost.exit_code) == ("fail", 10)
    assert lost.reason.startswith("The loss of top1 against the baseline is +5.00 points")
    assert only(outcome_sides(hits(60), hits(10))).status == "pass"


def test_other_samples_are_compared_unpaired_and_the_reason_says_so() -> None:
    other = report().data.model_copy(update={"evaluation": report().data.calibration})
    found = only(outcome_sides(hits(10), hits(10), data=other))
    assert "not paired: the evaluation samples are not the same" in found.reason
    paired = only(outcome_sides(hits(10), hits(10)))
    assert found.interval is not None
    assert paired.interval is not None
    assert found.interval[1] > 2 * paired.interval[1]  # type: ignore[operator]


def test_a_report_without_outcomes_is_compared_by_its_summary() -> None:
    before, after = outcome_sides(hits(10), hits(10))
    found = only((Side(before.report, before.target, None, "old"), after))
    assert "not paired: old has no outcomes of single samples" in found.reason


@pytest.mark.parametrize("higher", [True, False])
def test_of_any_metric_the_worse_direction_is_the_loss(higher: bool) -> None:
    random = np.random.default_rng(0)
    score = random.random(200).astype(np.float32)
    worse = score - np.float32(0.1) if higher else score + np.float32(0.1)
    sides = []
    for path, scores in (("old", score), ("new", worse)):
        record = accuracy(0.1, (0.0, 0.2), fraction=False, metric="python:mine:score", samples=200)
        target = cpu_target().model_copy(
            update={"accuracy": record.model_copy(update={"higher_is_better": higher}), "latency": None}
        )
        sides.append(side(target, RawMeasurements(baseline_score=scores, compressed_score=scores), path))
    found = only((sides[0], sides[1]), Policy(max_accuracy_regression=0.05))
    assert found.status == "fail"
    assert found.measured == pytest.approx(0.1, abs=1e-6)
    assert only((sides[0], sides[1])).status == "unmeasured"  # no default for such a metric


def timed(speedup: float, *, share: float = 0.01, p99: float = 0.004, **changes: object) -> TargetRecord:
    record = latency(p99=p99, speedup=speedup, interval=(speedup * (1 - share), speedup * (1 + share)))
    return cpu_target().model_copy(update={"accuracy": None, "latency": record, **changes})


@pytest.mark.parametrize(
    ("speedup", "share", "status", "code"),
    [
        (2.0, 0.01, "pass", 0),
        (1.85, 0.01, "pass", 0),  # 8 % slower: two runs of one engine on a busy machine differ by as much
        (1.80, 0.01, "fail", 11),  # 11 % slower
        (2.40, 0.01, "pass", 0),
        (1.80, 0.20, "inconclusive", 13),  # slower by more than the limit, and not surely slower
        (2.0, 0.20, "inconclusive", 13),  # nothing is known of it
    ],
)
def test_the_original_is_the_yardstick_of_latency(speedup: float, share: float, status: str, code: int) -> None:
    # The second machine was half as fast as a whole: p99 is twice as large.
    sides = side(timed(2.0)), side(timed(speedup, share=share, p99=0.008), path="new")
    found = only(sides)
    assert (found.rule, found.status, int(found.exit_code)) == ("latency-regression", status, code)
    assert found.measured == pytest.approx(2.0 / speedup)
    assert "each beside the same original" in found.reason


def test_the_limit_on_latency_is_the_policys() -> None:
    sides = side(timed(2.0)), side(timed(1.8), path="new")
    assert only(sides, Policy(max_latency_regression=20)).status == "pass"
    assert only(sides, Policy(max_latency_regression=5, inconclusive="pass")).status == "fail"


def test_rounds_that_are_stored_give_the_interval() -> None:
    random = np.random.default_rng(0)
    sides = []
    for path, factor in (("old", 1.0), ("new", 1.2)):
        seconds = random.gamma(50.0, 2e-5, (2, 500))
        raw = RawMeasurements(baseline_seconds=seconds[0] * 2, compressed_seconds=seconds[1] * factor)
        sides.append(side(timed(9.9), raw, path))  # the summary is not what counts
    found = only((sides[0], sides[1]))
    assert found.measured == pytest.approx(1.2, rel=0.03)
    assert found.status == "fail"
    wider = only((sides[0], sides[1]), Policy(confidence=0.999))
    assert found.interval is not None
    assert wider.interval is not None
    assert wider.interval[0] < found.interval[0]


def test_without_an_original_in_common_the_medians_are_compared_with_a_wider_interval() -> None:
    other = Tool(version="0.1.0", packages={"onnxruntime": "9.9.9"})
    found = only((side(timed(2.0)), side(timed(2.0), path="new", tool=other)), Policy(max_latency_regression=5))
    assert "in two runs, without an original in common" in found.reason
    assert found.status == "inconclusive"
    slow = only((side(timed(2.0)), side(timed(2.0, p99=0.008), path="new", tool=other)))
    assert slow.status == "fail"
    assert slow.measured == pytest.approx(2.0)


def test_rounds_of_such_runs_count_too() -> None:
    other = Tool(version="0.1.0", packages={"onnxruntime": "9.9.9"})
    seconds = np.linspace(0.001, 0.0011, 300)
    raws = [RawMeasurements(baseline_seconds=seconds, compressed_seconds=seconds * factor) for factor in (1, 1.5)]
    found = only((side(timed(2.0), raws[0]), side(timed(2.0), raws[1], "new", tool=other)))
    assert found.status == "fail"
    assert found.measured == pytest.approx(1.5)


def test_latencies_of_different_machines_are_refused_unless_that_is_wanted() -> None:
    elsewhere = machine().model_copy(update={"cpu": "Another CPU"})
    sides = side(timed(2.0)), side(timed(2.0, device=elsewhere), path="new")
    with pytest.raises(UsageError, match="the machines differ: cpu Imaginary CPU and Another CPU") as caught:
        check_regressions(*sides, Policy())
    assert "old and new do not compare" in caught.value.message
    assert "--allow-other-machine" in str(caught.value.hint)
    (found,) = check_regressions(*sides, Policy(), other_machine=True)
    assert "on another machine" in found.reason


def test_accuracies_of_different_machines_are_compared() -> None:
    before, after = outcome_sides(hits(10), hits(10))
    elsewhere = after.target.model_copy(update={"device": machine().model_copy(update={"cores": 64})})
    assert only((before, Side(after.report, elsewhere, after.raw, "new"))).status == "pass"


def test_threads_and_batches_have_to_be_the_same() -> None:
    slow = timed(2.0)
    assert slow.latency is not None
    other = slow.model_copy(update={"latency": slow.latency.model_copy(update={"threads": 4})})
    found = only((side(slow), side(other, path="new")))
    assert (found.status, found.exit_code) == ("unmeasured", 13)
    assert "threads 1 and 4" in found.reason


def test_what_only_one_report_has_is_unmeasured_and_what_neither_has_is_no_rule() -> None:
    whole, bare = cpu_target(), cpu_target().model_copy(update={"accuracy": None, "latency": None})
    found = check_regressions(side(whole), side(bare, path="new"), Policy())
    assert [(rule.rule, rule.exit_code) for rule in found] == [("accuracy-regression", 13), ("latency-regression", 13)]
    assert all("new has none" in rule.reason for rule in found)
    assert check_regressions(side(bare), side(bare, path="new"), Policy()) == ()
    assert check_regressions(side(whole), side(unbuilt_target(), path="new"), Policy()) == ()


def test_a_target_that_only_one_report_has_is_not_a_pass() -> None:
    there = side(cpu_target())
    for found in (*check_regressions(None, there, Policy()), *check_regressions(there, None, Policy())):
        assert (found.status, found.exit_code) == ("unmeasured", 13)
        assert "has no such target" in found.reason


def test_another_metric_does_not_compare() -> None:
    before, after = outcome_sides(hits(10), hits(10))
    record = after.target.accuracy
    assert record is not None
    other = after.target.model_copy(update={"accuracy": record.model_copy(update={"metric": "f1"})})
    assert "one is top1, the other f1" in only((before, Side(after.report, other, after.raw, "new"))).reason


def test_two_of_three_conditions_leave_a_slowdown_open() -> None:
    def decide(value: float, low: float, high: float) -> str:
        return decide_slowdown(Estimate(value, low, high, 0.95, ""), 1.05)

    assert decide(1.0, 0.95, 1.10) == "within"
    assert decide(1.0, 0.90, 1.11) == "open"
    assert decide(1.06, 0.99, 1.12) == "open"
    assert decide(1.06, 1.01, 1.12) == "beyond"
    assert decide(1.04, 1.02, 1.06) == "within"
