"""The rules on what an engine takes: bytes on disk and in memory, joules."""

from compress.errors import ExitCode
from compress.gate.outcome import Finding, RuleName, RuleOutcome, Unit, format_limit, unmeasured
from compress.gate.policy import Policy
from compress.report.measurements import RawMeasurements
from compress.report.record import Measurements


def check_size(measured: Measurements, policy: Policy, raw: RawMeasurements | None) -> RuleOutcome:  # noqa: ARG001
    """Return whether the engine's files have at most ``max_size`` bytes."""
    size = None if measured.size is None else measured.size.compressed
    return _check("size", "A size", "The engine has", size, policy.max_size, "bytes")


def check_memory(measured: Measurements, policy: Policy, raw: RawMeasurements | None) -> RuleOutcome:  # noqa: ARG001
    """Return whether the peak of memory is at most ``max_memory`` bytes."""
    peak = None if measured.memory is None else measured.memory.compressed_peak
    return _check("memory", "A peak of memory", "The peak of memory is", peak, policy.max_memory, "bytes")


def check_energy(measured: Measurements, policy: Policy, raw: RawMeasurements | None) -> RuleOutcome:  # noqa: ARG001
    """Return whether a call takes at most ``max_energy`` joules."""
    energy = None if measured.energy is None else measured.energy.compressed_joules
    return _check("energy", "An energy", "A call takes", energy, policy.max_energy, "joules")


def _check(
    rule: RuleName, asked: str, subject: str, found: float | None, limit: float | None, unit: Unit
) -> RuleOutcome:
    limit = 0.0 if limit is None else limit
    if found is None:
        reason = f"{asked} of at most {format_limit(limit, unit)} was asked for, and none was measured."
        return unmeasured(rule, reason, limit, unit)
    return Finding(rule, subject, found, None, limit, unit, ExitCode.SIZE).settle()
