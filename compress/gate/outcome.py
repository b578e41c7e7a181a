"""What one rule of the gate says, and how a measured value with its interval becomes that."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from compress.errors import ExitCode
from compress.measure.statistics import Decision, Estimate, exceeds_p_value
from compress.report.record import OpenInterval, Status
from compress.report.units import (
    format_bytes,
    format_fraction,
    format_joules,
    format_points,
    format_ratio,
    format_seconds,
    format_value,
)

RuleName = Literal[
    "engine",
    "accuracy",
    "relative-drop",
    "class-drop",
    "slice-drop",
    "flips",
    "calibration",
    "latency",
    "p99",
    "speed-up",
    "size",
    "memory",
    "energy",
    "accuracy-regression",
    "latency-regression",
]
RULE_KEYS: Final[Mapping[RuleName, str]] = {
    "accuracy": "max_drop",
    "relative-drop": "max_drop_relative",
    "class-drop": "max_class_drop",
    "slice-drop": "max_slice_drop",
    "flips": "max_flip_rate",
    "calibration": "max_calibration_error_change",
    "latency": "max_latency",
    "p99": "max_p99",
    "speed-up": "min_speedup",
    "size": "max_size",
    "memory": "max_memory",
    "energy": "max_energy",
    "accuracy-regression": "max_accuracy_regression",
    "latency-regression": "max_latency_regression",
}
"""The key of the policy that sets each rule's limit; ``engine`` has none."""

Unit = Literal["points", "percent", "share", "value", "seconds", "ratio", "bytes", "joules"]
"""``points``, ``percent`` and ``share`` are fractions inside; points and shares are differences, shown with a sign."""
Undecided = Literal["fail", "undecided", "pass"]
MORE_SAMPLES: Final = "more samples would decide"

_FORMATS: Final[Mapping[Unit, Callable[[float], str]]] = {
    "points": format_points,
    "percent": format_fraction,
    "share": lambda value: f"{format_points(value)} %",
    "value": lambda value: format_value(value, signed=True),
    "seconds": format_seconds,
    "ratio": format_ratio,
    "bytes": lambda value: format_bytes(round(value)),
    "joules": format_joules,
}
_OPEN: Final[Mapping[Undecided, tuple[Status, ExitCode | None, str]]] = {
    "undecided": ("inconclusive", ExitCode.UNDECIDED, ""),
    "fail": ("fail", None, " The policy counts what is undecided as a failure."),
    "pass": ("pass", ExitCode.PASS, " The policy lets what is undecided pass."),
}
_PLACES: Final[Mapping[Decision, str]] = {"within": "within", "beyond": "beyond", "open": "on both sides of"}
_PLACES_OF_A_LEAST: Final[Mapping[Decision, str]] = {**_PLACES, "within": "not below", "beyond": "below"}


def format_amount(value: float, unit: Unit, *, named: bool = True) -> str:
    """Return an amount for people, points with their name or without.

    >>> format_amount(0.0031, "points")
    '+0.31 points'
    """
    text = _FORMATS[unit](value)
    return f"{text} points" if named and unit == "points" else text


@dataclass(frozen=True, slots=True)
class RuleOutcome:
    """What one rule says.

    Attributes:
        rule: Its name.
        status: What came out.
        exit_code: The code that it asks for.
        reason: Why, in a sentence.
        limit: What the policy allows, in the base unit (fractions, seconds, bytes, joules); None where there is none.
        measured: What was found, in the same unit; None where nothing was.
        interval: Its confidence interval; None where a value has none.
        unit: Of all three.
        finding: What it was settled from; None where nothing was measured.
    """

    rule: RuleName
    status: Status
    exit_code: ExitCode
    reason: str
    limit: float | None = None
    measured: float | None = None
    interval: OpenInterval | None = None
    unit: Unit = "value"
    finding: "Finding | None" = field(default=None, repr=False, compare=False)

    def cells(self) -> tuple[str, str, str]:
        """Return limit, measured value and interval as texts, empty where there is none."""
        limit = "" if self.limit is None else format_limit(self.limit, self.unit)
        found = "" if self.measured is None else format_amount(self.measured, self.unit)
        return limit, found, "" if self.interval is None else format_interval(self.interval, self.unit)


def format_limit(limit: float, unit: Unit) -> str:
    """Return a limit for people; one on a difference has no sign."""
    return format_amount(limit, unit).removeprefix("+")


def format_interval(interval: OpenInterval, unit: Unit) -> str:
    """Return an interval for people: ``"+0.10 to +0.50"``."""
    low, high = interval
    end = "open" if high is None else format_amount(high, unit, named=False)
    return f"{format_amount(low, unit, named=False)} to {end}"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was measured for a rule, before anything is decided.

    Attributes:
        rule: Its name.
        subject: The start of the sentence, up to the value: ``"The drop of top1 is"``.
        value: In the base unit of ``unit``.
        interval: At ``confidence``; None for what is known exactly, or where there is none.
        limit: What is allowed.
        unit: Of all four.
        failure: The exit code of a limit that is broken.
        remedy: What would decide where the interval is on both sides of the limit.
        details: What stands behind the interval in brackets.
        confidence: Of the interval.
        at_least: Whether the limit is the least value that is allowed, not the most.
        noun: What the sentence calls the limit.
        decision: Where it is not the interval of this value alone that decides.
        p_value: One-sided, of "the limit is kept", where it is not that of the interval.
        placed: Where the interval is, in words, if not where the decision says.
        remark: A sentence behind it.
    """

    rule: RuleName
    subject: str
    value: float
    interval: tuple[float, float] | None
    limit: float
    unit: Unit
    failure: ExitCode
    remedy: str = ""
    details: tuple[str, ...] = ()
    confidence: float = 0.95
    at_least: bool = False
    noun: Literal["limit", "budget"] = "limit"
    decision: Decision | None = None
    p_value: float | None = None
    placed: str = ""
    remark: str = ""

    def settle(self, undecided: Undecided = "undecided") -> RuleOutcome:
        """Return the outcome: within the limit, beyond it, or what the policy makes of neither."""
        decision = self.decide()
        if decision == "open":
            status, code, addition = _OPEN[undecided]
            code = self.failure if code is None else code
        else:
            status, code, addition = ("pass", ExitCode.PASS, "") if decision == "within" else ("fail", self.failure, "")
        remedy = f": {self.remedy}" if decision == "open" and self.remedy else ""
        limit = format_limit(self.limit, self.unit)
        place = self.placed or (_PLACES_OF_A_LEAST if self.at_least else _PLACES)[decision]
        reason = f"{self._state()}, {place} the {self.noun} of {limit}{remedy}.{addition}"
        if self.remark:
            reason = f"{reason} {self.remark}"
        return RuleOutcome(self.rule, status, code, reason, self.limit, self.value, self.interval, self.unit, self)

    def decide(self) -> Decision:
        """Return whether the limit is surely kept, surely broken, or neither."""
        if self.decision is not None:
            return self.decision
        low, high = self.interval or (self.value, self.value)
        if self.at_least:
            return "within" if low >= self.limit else "beyond" if high < self.limit else "open"
        return "within" if high <= self.limit else "beyond" if low > self.limit else "open"

    def exceeds_p_value(self) -> float | None:
        """Return the one-sided p-value of "the limit is kept"; None of a value that chance has no part in."""
        if self.p_value is not None or self.interval is None:
            return self.p_value
        low, high = self.interval
        if self.at_least:
            return exceeds_p_value(Estimate(-self.value, -high, -low, self.confidence, ""), -self.limit)
        return exceeds_p_value(Estimate(self.value, low, high, self.confidence, ""), self.limit)

    def _state(self) -> str:
        interval = () if self.interval is None else (self._interval(self.interval),)
        details = ", ".join((*interval, *self.details))
        amount = format_amount(self.value, self.unit)
        return f"{self.subject} {amount} ({details})" if details else f"{self.subject} {amount}"

    def _interval(self, interval: tuple[float, float]) -> str:
        return f"{100 * self.confidence:.4g} % interval {format_interval(interval, self.unit)}"


def unmeasured(rule: RuleName, reason: str, limit: float | None = None, unit: Unit = "value") -> RuleOutcome:
    """Return the outcome of a rule on something that nobody measured: never a pass."""
    return RuleOutcome(rule, "unmeasured", ExitCode.UNDECIDED, reason, limit=limit, unit=unit)


def many(count: int) -> str:
    """Return a number of samples or runs as a sentence names it, with two significant digits."""
    return f"{float(f'{count:.2g}'):.0f}"
