"""The verdict: every rule that the policy sets, and what their outcomes add up to."""

from collections.abc import Sequence
from typing import Final

from compress.errors import ExitCode
from compress.gate.accuracy import check_accuracy
from compress.gate.outcome import RuleOutcome
from compress.gate.policy import Policy
from compress.gate.resources import check_size
from compress.gate.speed import check_latency, check_speedup
from compress.report.record import Measurements, Status, TargetRecord, VerdictRecord

_SEVERITY: Final = (
    ExitCode.TARGET,
    ExitCode.ACCURACY,
    ExitCode.LATENCY,
    ExitCode.SIZE,
    ExitCode.UNDECIDED,
    ExitCode.PASS,
)


def check_rules(measured: Measurements, policy: Policy) -> tuple[RuleOutcome, ...]:
    """Return the outcome of every rule that the policy sets for one target; of ``engine`` alone where there is none."""
    if measured.engine is None:
        reason = f"There is no engine: {measured.error or 'the report does not say why'}."
        return (RuleOutcome("engine", "fail", ExitCode.TARGET, reason),)
    outcomes = [check_accuracy(measured, policy)]
    if policy.max_latency is not None:
        outcomes.append(check_latency(measured.latency, policy.max_latency))
    if policy.min_speedup is not None:
        outcomes.append(check_speedup(measured.latency, policy.min_speedup))
    if policy.max_size is not None:
        outcomes.append(check_size(None if measured.size is None else measured.size.compressed, policy.max_size))
    return tuple(outcomes)


def judge(measured: Measurements, policy: Policy) -> VerdictRecord:
    """Return the verdict on one target: the worst outcome of its rules, every rule's reason listed, worst first."""
    return conclude(check_rules(measured, policy))


def conclude(outcomes: tuple[RuleOutcome, ...]) -> VerdictRecord:
    """Return the verdict that rule outcomes add up to; of several failures accuracy comes first, then latency, size."""
    ranked = sorted(outcomes, key=lambda outcome: _SEVERITY.index(outcome.exit_code))
    code = ranked[0].exit_code
    status = _joint_status([outcome.status for outcome in ranked if outcome.exit_code == code])
    return VerdictRecord(status=status, exit_code=code, reasons=tuple(outcome.reason for outcome in ranked))


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
    ranked = sorted(pairs, key=lambda pair: _SEVERITY.index(ExitCode(pair[1].exit_code)))
    code = ranked[0][1].exit_code
    return VerdictRecord(
        status=_joint_status([verdict.status for _, verdict in ranked if verdict.exit_code == code]),
        exit_code=code,
        reasons=tuple(prefix + reason for prefix, verdict in ranked for reason in verdict.reasons),
    )


def best_record(records: Sequence[TargetRecord]) -> TargetRecord:
    """Return the record with the best verdict; of equals the one that lost least, then the earliest."""

    def rank(record: TargetRecord) -> tuple[int, float]:
        drop = record.accuracy.drop if record.accuracy else 0.0
        return -_SEVERITY.index(ExitCode(record.verdict.exit_code)), drop

    return min(records, key=rank)


def _joint_status(statuses: Sequence[Status]) -> Status:
    # Only the exit code 13 has two: what nobody measured is worse than what too few samples left open.
    return "unmeasured" if "unmeasured" in statuses else statuses[0]
