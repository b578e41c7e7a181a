"""The rules on speed: the latency of a call, and the ratio to the original's."""

from typing import Literal

from compress.errors import ExitCode
from compress.gate.outcome import RuleOutcome
from compress.report.record import Latency
from compress.report.units import format_ratio, format_seconds


def check_latency(latency: Latency | None, limit: float) -> RuleOutcome:
    """Return whether the p99 latency is at most a limit in seconds."""
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


def check_speedup(latency: Latency | None, least: float) -> RuleOutcome:
    """Return whether the engine is faster than the original by a ratio at least."""
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
