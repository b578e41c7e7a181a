"""The rules on what an engine takes: bytes on disk."""

from compress.errors import ExitCode
from compress.gate.outcome import RuleOutcome
from compress.report.units import format_bytes


def check_size(size: int | None, limit: int) -> RuleOutcome:
    """Return whether the engine's files have at most a limit in bytes."""
    wanted = format_bytes(limit)
    if size is None:
        reason = f"A size of at most {wanted} was asked for, and none was measured."
        return RuleOutcome("size", "unmeasured", ExitCode.UNDECIDED, reason)
    stated = f"The engine has {format_bytes(size)}"
    if size > limit:
        return RuleOutcome("size", "fail", ExitCode.SIZE, f"{stated}, beyond the limit of {wanted}.")
    return RuleOutcome("size", "pass", ExitCode.PASS, f"{stated}, within the limit of {wanted}.")
