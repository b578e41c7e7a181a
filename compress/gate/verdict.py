"""The verdict: every rule that the policy sets, and what their outcomes add up to."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from compress.errors import ExitCode
from compress.gate.accuracy import check_accuracy, check_relative_drop
from compress.gate.family import Outcomes, correct_family
from compress.gate.groups import check_classes, check_slices
from compress.gate.outcome import RuleOutcome
from compress.gate.policy import Policy
from compress.gate.resources import check_energy, check_memory, check_size
from compress.gate.samples import check_calibration, check_flips
from compress.gate.speed import check_latency, check_p99, check_speedup
from compress.report.measurements import RawMeasurements
from compress.report.record import Measurements, Status, TargetRecord, VerdictRecord

_SEVERITY: Final = (
    ExitCode.TARGET,
    ExitCode.ACCURACY,
    ExitCode.LATENCY,
    ExitCode.SIZE,
    ExitCode.UNDECIDED,
    ExitCode.PASS,
)
_AS_FAST: Final = 1.1
"""Up to which ratio of two speed-ups, each of a run of its own, two engines are as fast (decision 0044)."""

_Check = Callable[[Measurements, Policy, RawMeasurements | None], RuleOutcome]
_RULES: Final[tuple[tuple[Callable[[Policy], bool], _Check], ...]] = (
    (lambda policy: policy.max_drop is not None or policy.relative_drop is None, check_accuracy),
    (lambda policy: policy.relative_drop is not None, check_relative_drop),
    (lambda policy: policy.max_class_drop is not None, check_classes),
    (lambda policy: policy.max_slice_drop is not None, check_slices),
    (lambda policy: policy.max_flip_rate is not None, check_flips),
    (lambda policy: policy.max_calibration_error_change is not None, check_calibration),
    (lambda policy: policy.max_latency is not None, check_latency),
    (lambda policy: policy.max_p99 is not None, check_p99),
    (lambda policy: policy.min_speedup is not None, check_speedup),
    (lambda policy: policy.max_size is not None, check_size),
    (lambda policy: policy.max_memory is not None, check_memory),
    (lambda policy: policy.max_energy is not None, check_energy),
)
"""When a policy sets a rule, and the rule, in the order that they are told."""


def check_rules(measured: Measurements, policy: Policy, raw: RawMeasurements | None = None) -> tuple[RuleOutcome, ...]:
    """Return the outcome of every rule that the policy sets for one target; of ``engine`` alone where there is none.

    Args:
        measured: The summary of what was measured.
        policy: What is demanded.
        raw: Every sample's outcome and every round's seconds; rules that need them are ``unmeasured`` without.
    """
    if measured.engine is None:
        reason = f"There is no engine: {measured.error or 'the report does not say why'}."
        return (RuleOutcome("engine", "fail", ExitCode.TARGET, reason),)
    return tuple(check(measured, policy, raw) for applies, check in _RULES if applies(policy))


def check_targets(
    targets: Sequence[Measurements], policy: Policy, raw: Mapping[str, RawMeasurements | str]
) -> Outcomes:
    """Return the outcomes of every target's rules, by target, corrected for how many targets there are.

    Args:
        targets: What was measured.
        policy: What is demanded.
        raw: By target, every sample's outcome and every round's seconds, or why they are not there.
    """
    stored = {name: found for name, found in raw.items() if isinstance(found, RawMeasurements)}
    outcomes = {each.target: check_rules(each, policy, stored.get(each.target)) for each in targets}
    return correct_family(outcomes, policy.inconclusive)


def judge(measured: Measurements, policy: Policy, raw: RawMeasurements | None = None) -> VerdictRecord:
    """Return the verdict on one target: the worst outcome of its rules, every rule's reason listed, worst first."""
    return conclude(check_rules(measured, policy, raw))


def conclude(outcomes: tuple[RuleOutcome, ...]) -> VerdictRecord:
    """Return the verdict that rule outcomes add up to; of several failures accuracy comes first, then latency, size."""
    ranked = sorted(outcomes, key=lambda outcome: _SEVERITY.index(outcome.exit_code))
    code = ranked[0].exit_code
    status = _joint_status([outcome.status for outcome in ranked if outcome.exit_code == code])
    return VerdictRecord(status=status, exit_code=code, reasons=tuple(outcome.reason for outcome in ranked))


def judge_targets(
    targets: Sequence[TargetRecord], outcomes: Outcomes
) -> tuple[tuple[TargetRecord, ...], VerdictRecord]:
    """Return targets with the verdicts that the outcomes of all of them give, and the verdict on them all.

    Raises:
        ValueError: No targets.
    """
    verdicts = {name: conclude(rules) for name, rules in outcomes.items()}
    judged = tuple(_with_verdict(each, verdicts[each.target]) for each in targets)
    return judged, worst(list(verdicts.values()), list(verdicts))


def _with_verdict(record: TargetRecord, verdict: VerdictRecord) -> TargetRecord:
    attempts = [
        attempt.model_copy(update={"status": verdict.status}) if attempt.kept else attempt
        for attempt in record.attempts
    ]
    return record.model_copy(update={"verdict": verdict, "attempts": tuple(attempts)})


def worst(verdicts: Sequence[VerdictRecord], names: Sequence[str] = ()) -> VerdictRecord:
    """Return the worst of some targets' verdicts with everybody's reasons, the worst first.

    Args:
        verdicts: At least one.
        names: Whose they are; where there are several, each reason then says so.

    Raises:
        ValueError: No verdicts.
    """
    if not verdicts:
        raise ValueError("no verdicts have no worst one")
    if len(verdicts) == 1:
        return verdicts[0]
    prefixes = [f"{name}: " for name in names] or [""] * len(verdicts)
    pairs = zip(prefixes, verdicts, strict=True)
    ranked = sorted(pairs, key=lambda pair: _SEVERITY.index(pair[1].exit_code))
    code = ranked[0][1].exit_code
    return VerdictRecord(
        status=_joint_status([verdict.status for _, verdict in ranked if verdict.exit_code == code]),
        exit_code=code,
        reasons=tuple(prefix + reason for prefix, verdict in ranked for reason in verdict.reasons),
    )


def best_record(records: Sequence[TargetRecord]) -> TargetRecord:
    """Return the record with the best verdict.

    Of those that pass, it is one of the fastest: a drop within the budget is paid for speed, and an original that was
    shipped because nothing beat it loses nothing at all. Of equals it is the one that lost least, then the earliest.
    """

    def severity(record: TargetRecord) -> int:
        return -_SEVERITY.index(record.verdict.exit_code)

    least = min(map(severity, records))
    equals = [record for record in records if severity(record) == least]
    if equals[0].verdict.exit_code == ExitCode.PASS:
        equals = _fastest(equals)
    return min(equals, key=lambda record: record.accuracy.drop if record.accuracy else 0.0)


def _fastest(records: Sequence[TargetRecord]) -> list[TargetRecord]:
    """Return those that are as fast as the fastest one, as far as two runs can tell; all where one has no latency."""
    speedups = [record.latency.speedup for record in records if record.latency is not None]
    if len(speedups) < len(records):
        return list(records)
    return [record for record, speedup in zip(records, speedups, strict=True) if speedup * _AS_FAST >= max(speedups)]


def _joint_status(statuses: Sequence[Status]) -> Status:
    # Only the exit code 13 has two: what nobody measured is worse than what too few samples left open.
    return "unmeasured" if "unmeasured" in statuses else statuses[0]
