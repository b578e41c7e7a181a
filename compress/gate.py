"""The gate: a policy and what was measured give a verdict, every rule with its reason in a sentence.

A run without a policy is judged too: ``max_drop`` has a default, so a run whose accuracy nobody could measure is never
a pass.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from compress.config import explain, read_toml
from compress.errors import ConfigError, ExitCode, UsageError
from compress.measure.statistics import samples_to_decide
from compress.quantities import Duration, Size
from compress.report.record import Accuracy, Latency, Measurements, Status, TargetRecord, VerdictRecord
from compress.report.units import format_bytes, format_points, format_ratio, format_seconds, format_share, format_value

DEFAULT_MAX_DROP_POINTS: Final = 1.0
"""What a release may lose at most where nobody says otherwise."""

_FLAG_HINTS: Final = {
    "--max-drop": "points of accuracy, zero or more: --max-drop 0.5",
    "--max-latency": "a number and its unit: --max-latency 8ms",
    "--max-size": "a number and its unit: --max-size 5MB",
    "--min-speedup": "a ratio greater than zero: --min-speedup 1.5",
    "--require": "simulated or measured",
}
_SEVERITY: Final = (
    ExitCode.TARGET,
    ExitCode.ACCURACY,
    ExitCode.LATENCY,
    ExitCode.SIZE,
    ExitCode.UNDECIDED,
    ExitCode.PASS,
)


class Policy(BaseModel):
    """What a release demands: the ``[gate]`` table of ``compress.toml`` or of a policy file. Confidence is 95 %.

    Attributes:
        max_drop: In points for metrics that are fractions (by default 1.0), in the metric's own unit for others (no
            default there: one unit says nothing about another).
        max_latency: Seconds that the p99 of one call may take; ``"8ms"`` in TOML.
        max_size: Bytes that the engine may have; ``"5MB"`` in TOML.
        min_speedup: Least ratio of the original's median latency to the engine's.
        require: Whether an accuracy simulated on this CPU may decide, or only one measured on the engine itself.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    max_drop: Annotated[float, Field(ge=0)] | None = None
    max_latency: Duration | None = None
    max_size: Size | None = None
    min_speedup: Annotated[float, Field(gt=0)] | None = None
    require: Literal["simulated", "measured"] = "simulated"


def make_policy(table: Mapping[str, object], place: str) -> Policy:
    """Return the policy that a ``[gate]`` table describes.

    Args:
        table: Parsed TOML.
        place: Where it stands, for messages: ``"policy.toml: [gate]"``.

    Raises:
        ConfigError: An unknown key or a value that is not what the key takes.
    """
    try:
        return Policy.model_validate(dict(table))
    except ValidationError as error:
        raise explain(error, place, Policy) from error


def read_policy(path: Path) -> Policy:
    """Return the policy in the ``[gate]`` table of a TOML file (a ``compress.toml`` is one).

    Raises:
        ConfigError: No such file, not TOML, no ``[gate]`` table, or a mistake in it.
    """
    table = read_toml(path).get("gate")
    if not isinstance(table, dict):
        raise ConfigError(f"{path} has no [gate] table", hint='put the limits under [gate]: max_size = "5MB"')
    return make_policy(table, f"{path}: [gate]")


def override_policy(policy: Policy, flags: Mapping[str, object]) -> Policy:
    """Return a policy with some fields replaced by what flags say (text as typed); None leaves a field as it is.

    Raises:
        UsageError: A value that the flag does not take; the message names the flag.
    """
    given = {key: value for key, value in flags.items() if value is not None}
    try:
        return Policy.model_validate(policy.model_dump(exclude_unset=True) | given)
    except ValidationError as error:
        wrong = error.errors()[0]
        flag = "--" + str(wrong["loc"][0]).replace("_", "-")
        raise UsageError(f"{flag} {wrong['input']}: {wrong['msg']}", hint=_FLAG_HINTS.get(flag)) from error


@dataclass(frozen=True, slots=True)
class RuleOutcome:
    """What one rule says: its name, its outcome, the exit code that it asks for, and why, in a sentence."""

    rule: Literal["engine", "accuracy", "latency", "speed-up", "size"]
    status: Status
    exit_code: ExitCode
    reason: str


def check_rules(measured: Measurements, policy: Policy) -> tuple[RuleOutcome, ...]:
    """Return the outcome of every rule that the policy sets for one target; of ``engine`` alone where there is none."""
    if measured.engine is None:
        reason = f"There is no engine: {measured.error or 'the report does not say why'}."
        return (RuleOutcome("engine", "fail", ExitCode.TARGET, reason),)
    outcomes = [_check_accuracy(measured, policy)]
    if policy.max_latency is not None:
        outcomes.append(_check_latency(measured.latency, policy.max_latency))
    if policy.min_speedup is not None:
        outcomes.append(_check_speedup(measured.latency, policy.min_speedup))
    if policy.max_size is not None:
        outcomes.append(_check_size(None if measured.size is None else measured.size.compressed, policy.max_size))
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


def accuracy_budget(accuracy: Accuracy, policy: Policy) -> float | None:
    """Return what may be lost, in the metric's own unit; None where nobody said and there is no default."""
    if accuracy.unit == "fraction":
        return (DEFAULT_MAX_DROP_POINTS if policy.max_drop is None else policy.max_drop) / 100
    return policy.max_drop


def misses_budget(measured: Measurements, policy: Policy) -> bool:
    """Return whether the measured drop itself, apart from its interval, is beyond the budget: worth another attempt."""
    budget = None if measured.accuracy is None else accuracy_budget(measured.accuracy, policy)
    return measured.accuracy is not None and budget is not None and measured.accuracy.drop > budget


def best_record(records: Sequence[TargetRecord]) -> TargetRecord:
    """Return the record with the best verdict; of equals the one that lost least, then the earliest."""

    def rank(record: TargetRecord) -> tuple[int, float]:
        drop = record.accuracy.drop if record.accuracy else 0.0
        return -_SEVERITY.index(ExitCode(record.verdict.exit_code)), drop

    return min(records, key=rank)


def _joint_status(statuses: Sequence[Status]) -> Status:
    # Only the exit code 13 has two: what nobody measured is worse than what too few samples left open.
    return "unmeasured" if "unmeasured" in statuses else statuses[0]


def _check_accuracy(measured: Measurements, policy: Policy) -> RuleOutcome:
    accuracy = measured.accuracy
    if accuracy is None:
        return _accuracy_unmeasured(
            "The accuracy was not measured: there were no labelled samples; give them with --eval or in [data]."
        )
    if policy.require == "measured" and accuracy.measured_on == "simulated":
        return _accuracy_unmeasured(
            "The accuracy was simulated, not measured on the engine itself, which the policy requires."
        )
    budget = accuracy_budget(accuracy, policy)
    if budget is None:
        return _accuracy_unmeasured(
            f"The policy sets no max_drop, and there is no default for `{accuracy.metric}`, which is not a fraction."
        )
    low, high = accuracy.interval
    stated = _state_drop(accuracy, measured.accuracy_place)
    limit = _amount(accuracy, budget).removeprefix("+")
    if high <= budget:
        return RuleOutcome("accuracy", "pass", ExitCode.PASS, f"{stated}, within the budget of {limit}.")
    if low > budget:
        return RuleOutcome("accuracy", "fail", ExitCode.ACCURACY, f"{stated}, beyond the budget of {limit}.")
    needed = samples_to_decide(accuracy.drop, accuracy.interval, budget, accuracy.samples)
    remedy = (
        "no number of samples would decide, the drop lies on the budget"
        if needed is None
        else f"about {float(f'{needed:.2g}'):.0f} samples would decide"
    )
    reason = f"{stated}, on both sides of the budget of {limit}: {remedy}."
    return RuleOutcome("accuracy", "inconclusive", ExitCode.UNDECIDED, reason)


def _accuracy_unmeasured(reason: str) -> RuleOutcome:
    return RuleOutcome("accuracy", "unmeasured", ExitCode.UNDECIDED, reason)


def _state_drop(accuracy: Accuracy, where: str) -> str:
    low, high = (_amount(accuracy, end, unit=False) for end in accuracy.interval)
    return (
        f"The drop of {accuracy.metric} is {_amount(accuracy, accuracy.drop)} "
        f"({format_share(accuracy.confidence)} interval {low} to {high}, {accuracy.samples} samples, {where})"
    )


def _amount(accuracy: Accuracy, amount: float, *, unit: bool = True) -> str:
    if accuracy.unit == "value":
        return format_value(amount, signed=True)
    return f"{format_points(amount)} points" if unit else format_points(amount)


def _check_latency(latency: Latency | None, limit: float) -> RuleOutcome:
    wanted = format_seconds(limit)
    if latency is None:
        reason = f"A latency of at most {wanted} was asked for, and none was measured."
        return RuleOutcome("latency", "unmeasured", ExitCode.UNDECIDED, reason)
    p99, (low, high) = latency.compressed.p99, latency.compressed.p99_interval
    runs = latency.compressed.runs
    if high is None:
        # Too few runs to bound p99 from above: the estimate decides, and the reason says so.
        low = high = p99
        stated = f"The p99 latency is {format_seconds(p99)} ({runs} runs, too few for an interval)"
    else:
        interval = f"95 % interval {format_seconds(low)} to {format_seconds(high)}, {runs} runs"
        stated = f"The p99 latency is {format_seconds(p99)} ({interval})"
    return _compare("latency", stated, wanted, low > limit, high <= limit)


def _check_speedup(latency: Latency | None, least: float) -> RuleOutcome:
    wanted = format_ratio(least)
    if latency is None:
        reason = f"A speed-up of at least {wanted} was asked for, and no latency was measured."
        return RuleOutcome("speed-up", "unmeasured", ExitCode.UNDECIDED, reason)
    low, high = latency.interval
    stated = (
        f"The speed-up is {format_ratio(latency.speedup)} (95 % interval {format_ratio(low)} to {format_ratio(high)})"
    )
    return _compare("speed-up", stated, wanted, high < least, low >= least)


def _compare(rule: Literal["latency", "speed-up"], stated: str, wanted: str, broken: bool, kept: bool) -> RuleOutcome:
    if broken:
        return RuleOutcome(rule, "fail", ExitCode.LATENCY, f"{stated}, beyond the limit of {wanted}.")
    if kept:
        return RuleOutcome(rule, "pass", ExitCode.PASS, f"{stated}, within the limit of {wanted}.")
    reason = f"{stated}, on both sides of the limit of {wanted}: more runs on an idle machine would decide."
    return RuleOutcome(rule, "inconclusive", ExitCode.UNDECIDED, reason)


def _check_size(size: int | None, limit: int) -> RuleOutcome:
    wanted = format_bytes(limit)
    if size is None:
        reason = f"A size of at most {wanted} was asked for, and none was measured."
        return RuleOutcome("size", "unmeasured", ExitCode.UNDECIDED, reason)
    stated = f"The engine has {format_bytes(size)}"
    if size > limit:
        return RuleOutcome("size", "fail", ExitCode.SIZE, f"{stated}, beyond the limit of {wanted}.")
    return RuleOutcome("size", "pass", ExitCode.PASS, f"{stated}, within the limit of {wanted}.")
