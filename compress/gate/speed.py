"""The rules on speed: the latency of a call, and the ratio to the original's."""

from typing import Literal

from compress.errors import ExitCode
from compress.gate.outcome import Finding, RuleOutcome, format_limit, unmeasured
from compress.gate.policy import Policy
from compress.measure.statistics import CONFIDENCE, Floats, percentile, speed_ratio
from compress.report.measurements import RawMeasurements
from compress.report.record import Measurements

IDLE = "more runs on an idle machine would decide"
_SEED = 0


def check_latency(measured: Measurements, policy: Policy, raw: RawMeasurements | None) -> RuleOutcome:
    """Return whether the p99 latency is at most ``max_latency``."""
    return _check_p99("latency", policy.max_latency or 0.0, measured, policy, raw)


def check_p99(measured: Measurements, policy: Policy, raw: RawMeasurements | None) -> RuleOutcome:
    """Return whether the p99 latency is at most ``max_p99``."""
    return _check_p99("p99", policy.max_p99 or 0.0, measured, policy, raw)


def check_speedup(measured: Measurements, policy: Policy, raw: RawMeasurements | None) -> RuleOutcome:
    """Return whether the engine is faster than the original by ``min_speedup`` at least."""
    least = policy.min_speedup or 0.0
    if measured.latency is None:
        reason = f"A speed-up of at least {format_limit(least, 'ratio')} was asked for, and no latency was measured."
        return unmeasured("speed-up", reason, least, "ratio")
    ratio, interval, confidence = measured.latency.speedup, measured.latency.interval, CONFIDENCE
    seconds = _seconds(policy, raw)
    if seconds is not None:
        found = speed_ratio(*seconds, seed=_SEED, confidence=policy.confidence)
        ratio, interval, confidence = found.value, (found.low, found.high), policy.confidence
    return Finding(
        rule="speed-up",
        subject="The speed-up is",
        value=ratio,
        interval=interval,
        limit=least,
        unit="ratio",
        failure=ExitCode.LATENCY,
        remedy=IDLE,
        confidence=confidence,
        at_least=True,
    ).settle(policy.inconclusive)


def _check_p99(
    rule: Literal["latency", "p99"],
    limit: float,
    measured: Measurements,
    policy: Policy,
    raw: RawMeasurements | None,
) -> RuleOutcome:
    if measured.latency is None:
        reason = f"A latency of at most {format_limit(limit, 'seconds')} was asked for, and none was measured."
        return unmeasured(rule, reason, limit, "seconds")
    known = measured.latency.compressed
    p99, (low, high), confidence = known.p99, known.p99_interval, CONFIDENCE
    seconds = _seconds(policy, raw)
    if seconds is not None:
        p99, low, high = percentile(seconds[1], 0.99, confidence=policy.confidence)
        confidence = policy.confidence
    # Where too few runs bound p99 from above the estimate decides, and the reason says so.
    few = () if high is not None else ("too few for an interval",)
    return Finding(
        rule=rule,
        subject="The p99 latency is",
        value=p99,
        interval=None if high is None else (low, high),
        limit=limit,
        unit="seconds",
        failure=ExitCode.LATENCY,
        remedy=IDLE,
        details=(f"{known.runs} runs", *few),
        confidence=confidence,
    ).settle(policy.inconclusive)


def _seconds(policy: Policy, raw: RawMeasurements | None) -> tuple[Floats, Floats] | None:
    """Return every round's seconds where the stored intervals are not at the policy's confidence."""
    if policy.confidence == CONFIDENCE or raw is None or raw.baseline_seconds is None or raw.compressed_seconds is None:
        return None
    return raw.baseline_seconds, raw.compressed_seconds
