"""What the search for mixed precision tried, beside the engines of the contest."""

from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from compress.report.record import Report, Step, TargetRecord
from compress.report.units import format_seconds

_STEP: Final = "mixed"
_TRIED: Final = "tried"


@dataclass(frozen=True, slots=True)
class TrialRow:
    """One engine that was tried: its layers in float, seconds of a call, dB of its outputs (None: equal)."""

    layers: int
    seconds: float
    sqnr_db: float | None
    within: bool

    @property
    def how(self) -> str:
        """The engine in words."""
        return f"{self.layers} layer{'' if self.layers == 1 else 's'} in float"

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """What a table has of it."""
        outputs = "equal" if self.sqnr_db is None else f"{self.sqnr_db:.1f} dB"
        return self.how, format_seconds(self.seconds), outputs, "within" if self.within else "beyond"


def find_trials(target: TargetRecord, report: Report) -> list[TrialRow]:
    """Return what the step ``mixed`` measured on the target, the fastest first; none where it only counted.

    Its latencies are shares of the original's, which was timed in the same rounds; here they are of the original's
    median in the report.
    """
    steps = [step for step in (*report.steps, *target.steps) if step.step == _STEP]
    if target.latency is None or not steps or steps[-1].metrics.get("latency") != "measured":
        return []
    rows = (_read(trial, target.latency.baseline.p50) for trial in _tried(steps[-1]))
    return sorted((row for row in rows if row is not None), key=lambda row: row.seconds)


def _tried(step: Step) -> list[JsonValue]:
    found = step.metrics.get(_TRIED)
    return found if isinstance(found, list) else []


def _read(trial: JsonValue, original: float) -> TrialRow | None:
    """Return a trial of the report's JSON; None where it is none."""
    if not isinstance(trial, dict):
        return None
    share, layers, sqnr_db = trial.get("latency"), trial.get("float_layers"), trial.get("sqnr_db")
    if not isinstance(share, int | float) or not isinstance(layers, int):
        return None
    fidelity = float(sqnr_db) if isinstance(sqnr_db, int | float) else None
    return TrialRow(layers, float(share) * original, fidelity, within=trial.get("within") is True)
