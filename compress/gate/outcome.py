"""What one rule of the gate says."""

from dataclasses import dataclass
from typing import Literal

from compress.errors import ExitCode
from compress.report.record import Status


@dataclass(frozen=True, slots=True)
class RuleOutcome:
    """What one rule says: its name, its outcome, the exit code that it asks for, and why, in a sentence."""

    rule: Literal["engine", "accuracy", "latency", "speed-up", "size"]
    status: Status
    exit_code: ExitCode
    reason: str
