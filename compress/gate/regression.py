"""Regression against an earlier report: is the engine less accurate, or slower, than the engine of that one.

Both reports come from runs of their own. Accuracy is compared sample by sample where both saw the same samples. Seconds
of two runs differ for reasons that no interval of one run knows; where both runs timed the same original in turn with
the engine, it is the yardstick, and what still differs from run to run widens the interval.
"""

from dataclasses import dataclass
from typing import Final

from compress.errors import ExitCode, UsageError
from compress.gate.accuracy import remedy_by_samples
from compress.gate.outcome import Finding, RuleOutcome, unmeasured
from compress.gate.policy import DEFAULT_MAX_REGRESSION_POINTS, DEFAULT_MAX_SLOWDOWN_PERCENT, Policy
from compress.gate.speed import IDLE
from compress.measure.statistics import (
    CONFIDENCE,
    Decision,
    Estimate,
    Floats,
    PairedTable,
    Reduce,
    exceeds_p_value,
    independent_difference,
    independent_ratio,
    paired_bootstrap,
    paired_difference,
    percentile,
    proportion,
    ratio_of_medians,
    rescale,
    widen_ratio,
)
from compress.report.diff.accuracy import PROPORTIONS, is_higher_better, pair_scores
from compress.report.diff.latency import have_one_yardstick, machine_differences
from compress.report.measurements import RawMeasurements
from compress.report.record import Accuracy, Latency, Report, TargetRecord

RUN_TO_RUN: Final = 0.025
"""Standard deviation of the logarithm of a ratio of two runs of one engine, with the original as the yardstick."""
RUN_TO_RUN_ALONE: Final = 0.06
"""The same of the medians themselves. Measured for both: the pairs of ten runs on a loaded machine with two cores
(``compress.report.diff.latency``)."""
_SEED: Final = 0


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """A target in one of the two reports.

    Attributes:
        report: The whole report.
        target: Of it.
        raw: What was stored of every sample and round; None where nothing was.
        path: Where the report lies, for messages.
    """

    report: Report
    target: TargetRecord
    raw: RawMeasurements | None
    path: str


def check_regressions(
    before: Side | None, after: Side | None, policy: Policy, *, other_machine: bool = False
) -> tuple[RuleOutcome, ...]:
    """Return the outcomes of both rules; of what neither report has there is none.

    Args:
        before: The target in the earlier report; None where it has no such target.
        after: The target that is judged; None where the report has no such target any more.
        policy: What is demanded.
        other_machine: Whether latencies of different machines may be compared.

    Raises:
        UsageError: Both have a latency, and the machines differ.
    """
    if before is None or after is None:
        which = "baseline" if before is None else "report"
        return (unmeasured("accuracy-regression", f"The {which} has no such target: there is nothing to compare."),)
    if after.target.engine is None:
        return ()
    outcomes = []
    if before.target.accuracy is not None or after.target.accuracy is not None:
        outcomes.append(_check_accuracy(before, after, policy))
    if before.target.latency is not None or after.target.latency is not None:
        outcomes.append(_check_latency(before, after, policy, other_machine=other_machine))
    return tuple(outcomes)


def _check_accuracy(before: Side, after: Side, policy: Policy) -> RuleOutcome:
    first, second = before.target.accuracy, after.target.accuracy
    if first is None or second is None:
        where = before.path if first is None else after.path
        return unmeasured("accuracy-regression", f"Accuracies were to be compared, and {where} has none.")
    if (first.metric, first.unit) != (second.metric, second.unit):
        reason = f"Accuracies were to be compared, and one is {first.metric}, the other {second.metric}."
        return unmeasured("accuracy-regression", reason)
    limit = _accuracy_limit(second, policy)
    if limit is None:
        reason = f"The policy sets no max_accuracy_regression, and there is no default for `{second.metric}`."
        return unmeasured("accuracy-regression", reason)
    compared = _compare_accuracy(before, after, (first, second), policy.confidence)
    if isinstance(compared, str):
        return unmeasured("accuracy-regression", f"Accuracies were to be compared: {compared}.", limit)
    lost, how = compared
    return Finding(
        rule="accuracy-regression",
        subject=f"The loss of {second.metric} against the baseline is",
        value=lost.value,
        interval=(lost.low, lost.high),
        limit=limit,
        unit="points" if second.unit == "fraction" else "value",
        failure=ExitCode.ACCURACY,
        remedy=remedy_by_samples(lost, limit, second.samples),
        details=(f"{second.samples} samples", how),
        confidence=lost.confidence,
    ).settle(policy.inconclusive)


def _accuracy_limit(accuracy: Accuracy, policy: Policy) -> float | None:
    if accuracy.unit == "value":
        return policy.max_accuracy_regression
    points = policy.max_accuracy_regression
    return (DEFAULT_MAX_REGRESSION_POINTS if points is None else points) / 100


def _compare_accuracy(
    before: Side, after: Side, records: tuple[Accuracy, Accuracy], confidence: float
) -> tuple[Estimate, str] | str:
    """Return what was lost and how that was found, or why it cannot be known."""
    higher = is_higher_better(records[1])
    pairs = _pair(before, after, records[1].metric)
    if not isinstance(pairs, str):
        first, second, reduce = pairs
        if reduce is None:
            table = PairedTable.from_rows(first[:, 0], second[:, 0])
            return paired_difference(table, confidence=confidence), "paired sample by sample"
        # The worse side comes first: what was lost is positive.
        rows = (first, second) if higher else (second, first)
        return paired_bootstrap(*rows, reduce, seed=_SEED, confidence=confidence), "paired sample by sample"
    if records[1].metric not in PROPORTIONS or not all(0 <= one.compressed <= 1 for one in records):
        return f"not paired, because {pairs}, and {records[1].metric} has no interval of its own"
    shares = (proportion(round(one.compressed * one.samples), one.samples, confidence=confidence) for one in records)
    return independent_difference(*shares), f"not paired: {pairs}"


def _pair(before: Side, after: Side, metric: str) -> tuple[Floats, Floats, Reduce | None] | str:
    first, second = before.report.data.evaluation, after.report.data.evaluation
    if first is None or second is None or first.digest != second.digest:
        return "the evaluation samples are not the same"
    if before.raw is None or after.raw is None:
        return f"{before.path if before.raw is None else after.path} has no outcomes of single samples"
    return pair_scores(metric, before.raw, after.raw)


def _check_latency(before: Side, after: Side, policy: Policy, *, other_machine: bool) -> RuleOutcome:
    first, second = before.target.latency, after.target.latency
    if first is None or second is None:
        where = before.path if first is None else after.path
        return unmeasured("latency-regression", f"Latencies were to be compared, and {where} has none.")
    others = machine_differences(before.target.device, after.target.device)
    if others and not other_machine:
        raise UsageError(
            f"latencies of {after.target.target} in {before.path} and {after.path} do not compare, the machines "
            f"differ: {others}",
            hint="measure both on one machine; --allow-other-machine compares them all the same",
        )
    if (first.threads, first.batch) != (second.threads, second.batch):
        alike = f"threads {first.threads} and {second.threads}, batches of {first.batch} and {second.batch}"
        return unmeasured("latency-regression", f"Latencies were to be compared, and they are of {alike}.")
    percent = policy.max_latency_regression
    limit = 1 + (DEFAULT_MAX_SLOWDOWN_PERCENT if percent is None else percent) / 100
    yardstick = have_one_yardstick(before.target, after.target, (before.report, after.report))
    found = _slowdown(before, after, policy.confidence, yardstick=yardstick)
    if found is None:
        return unmeasured("latency-regression", "Latencies were to be compared, and there were too few runs.", limit)
    how = "each beside the same original" if yardstick else "in two runs, without an original in common"
    return Finding(
        rule="latency-regression",
        subject="Relative to that of the baseline, the latency is",
        value=found.value,
        interval=(found.low, found.high),
        limit=limit,
        unit="ratio",
        failure=ExitCode.LATENCY,
        remedy=IDLE,
        details=(how, *(("on another machine",) if others else ())),
        confidence=found.confidence,
        decision=decide_slowdown(found, limit),
        p_value=exceeds_p_value(found, 1.0),
        placed="not surely within or beyond" if decide_slowdown(found, limit) == "open" else "",
    ).settle(policy.inconclusive)


def decide_slowdown(slowdown: Estimate, limit: float) -> Decision:
    """Return whether an engine became slower by more than a limit, a ratio above 1 that is worth a name.

    It did where the ratio is above the limit and the whole interval above 1; it did not where the ratio is within the
    limit and the interval leaves out twice as much. Demanding that the whole interval is within the limit would leave
    most equal engines undecided: two runs differ by about as much as the limit.
    """
    if slowdown.value > limit and slowdown.low > 1:
        return "beyond"
    return "within" if slowdown.value <= limit and slowdown.high <= limit**2 else "open"


def _slowdown(before: Side, after: Side, confidence: float, *, yardstick: bool) -> Estimate | None:
    """Return how many times longer the engine takes than that of the baseline; None where there is no interval."""
    if yardstick:
        ratio, deviation = independent_ratio(_speedup(before, confidence), _speedup(after, confidence)), RUN_TO_RUN
    else:
        # How long it takes is the inverse of how fast it is: here the later one is above the line.
        later, earlier = _median(after, confidence), _median(before, confidence)
        if later is None or earlier is None:
            return None
        ratio, deviation = independent_ratio(later, earlier), RUN_TO_RUN_ALONE
    return widen_ratio(ratio, deviation, f"{ratio.method}, and the spread from run to run")


def _speedup(side: Side, confidence: float) -> Estimate:
    latency, raw = _latency(side), side.raw
    if raw is not None and raw.baseline_seconds is not None and raw.compressed_seconds is not None:
        return ratio_of_medians(raw.baseline_seconds, raw.compressed_seconds, seed=_SEED, confidence=confidence)
    return rescale(Estimate(latency.speedup, *latency.interval, CONFIDENCE, ""), confidence)


def _median(side: Side, confidence: float) -> Estimate | None:
    if side.raw is not None and side.raw.compressed_seconds is not None:
        value, low, high = percentile(side.raw.compressed_seconds, 0.5, confidence=confidence)
        return None if high is None else Estimate(value, low, high, confidence, "")
    known = _latency(side).compressed
    low, high = known.p50_interval
    return None if high is None else rescale(Estimate(known.p50, low, high, CONFIDENCE, ""), confidence)


def _latency(side: Side) -> Latency:
    assert side.target.latency is not None  # noqa: S101 - for the type checker: the caller has looked
    return side.target.latency
