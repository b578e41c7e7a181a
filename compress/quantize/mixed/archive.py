"""Trials of a search, on disk as soon as they are finished: nothing is measured twice, nothing found is lost."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from compress.measure.sequential import Decision
from compress.model import JsonValue

_SAME_LATENCY: Final = 0.005
"""Share by which two measured latencies may differ without one being faster."""

Names = frozenset[str]
"""Layers that are float."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One engine that was tried.

    Attributes:
        layers: Those that are float, in alphabetical order.
        decision: What the intervals say of its accuracy; ``undecided`` where all samples were too few.
        excess: The largest of what its losses are above their budgets, as shares or in the metric's unit; 0 or less is
            within.
        sqnr_db: Of its outputs; None where they are exact or were not looked at.
        agreement: Share of samples with the same class; None for other outputs.
        samples: How many samples it took to decide.
        latency: Relative to the original's, measured or counted; None where accuracy had rejected it before.
        bytes: Of its graph.
        seconds: That the trial took.
    """

    layers: tuple[str, ...]
    decision: Decision | None
    excess: float
    sqnr_db: float | None
    agreement: float | None
    samples: int
    latency: float | None
    bytes: int
    seconds: float

    @property
    def within(self) -> bool:
        """Whether its accuracy is good enough: by the interval, or by the estimate where all samples leave it open."""
        return self.decision == "accepted" or (self.decision == "undecided" and self.excess <= 0)

    def describe(self) -> dict[str, JsonValue]:
        """Return it as plain values."""
        values: dict[str, JsonValue] = {name: getattr(self, name) for name in self.__slots__}
        return {**values, "layers": list(self.layers)}


@dataclass(slots=True)
class Archive:
    """Trials, and what single layers gain, by the layers that are float; each in a line of a file.

    A line that a kill left unfinished is dropped when the file is read again.

    Attributes:
        path: The file, ``trials.jsonl``.
        trials: In the order in which they were made.
        gains: Error power that is left, relative to the signal, with some layers in float.
        spent: Seconds that everything in the file took.
        reused: How many of the trials were in the file already.
    """

    path: Path
    trials: dict[Names, Trial] = field(default_factory=dict)
    gains: dict[Names, float] = field(default_factory=dict)
    spent: float = 0.0
    reused: int = 0
    _torn: bool = False

    @classmethod
    def open(cls, path: Path) -> "Archive":
        """Return what a file holds; an empty archive where there is none yet."""
        archive = cls(path)
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        for line in text.splitlines():
            try:
                archive._take(json.loads(line))
            except json.JSONDecodeError:
                continue
        archive._torn = bool(text) and not text.endswith("\n")
        archive.reused = len(archive.trials)
        return archive

    def add_trial(self, trial: Trial) -> None:
        """Keep a finished trial."""
        self._write({"kind": "trial", **trial.describe()})

    def add_gain(self, names: Names, error: float, seconds: float) -> None:
        """Keep what error is left with these layers in float."""
        layers: list[JsonValue] = [*sorted(names)]
        self._write({"kind": "gain", "layers": layers, "error": error, "seconds": seconds})

    def frontier(self) -> tuple[Trial, ...]:
        """Return the trials that no other beats in latency, signal-to-noise ratio and bytes, the fastest first."""
        complete = [trial for trial in self.trials.values() if trial.latency is not None and trial.samples]
        best = [trial for trial in complete if not any(_beats(other, trial) for other in complete)]
        return tuple(sorted(best, key=lambda trial: trial.latency or 0.0))

    def describe_tried(self) -> list[JsonValue]:
        """Return every trial whose latency is known, small: for a chart."""
        complete = [trial for trial in self.trials.values() if trial.latency is not None and trial.samples]
        return [
            {"latency": each.latency, "sqnr_db": each.sqnr_db, "float_layers": len(each.layers), "within": each.within}
            for each in complete
        ]

    def _write(self, line: Mapping[str, JsonValue]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(("\n" if self._torn else "") + json.dumps(line) + "\n")
            self._torn = False
            file.flush()
            os.fsync(file.fileno())
        self._take(line)

    def _take(self, line: Mapping[str, JsonValue]) -> None:
        fields = dict(line)
        kind = fields.pop("kind")
        layers = fields.pop("layers")
        assert isinstance(layers, list)  # noqa: S101 - we wrote it
        names = frozenset(map(str, layers))
        seconds = fields["seconds"]
        self.spent += float(seconds) if isinstance(seconds, int | float) else 0.0
        if kind == "gain":
            error = fields["error"]
            self.gains[names] = float(error) if isinstance(error, int | float) else 0.0
        else:
            self.trials[names] = Trial(layers=tuple(sorted(names)), **fields)  # type: ignore[arg-type]


def _beats(one: Trial, other: Trial) -> bool:
    """Return whether a trial is nowhere worse than another and somewhere better."""
    first, second = _axes(one), _axes(other)
    return all(a <= b for a, b in zip(first, second, strict=True)) and first != second


def _axes(trial: Trial) -> tuple[float, float, float]:
    exact = trial.sqnr_db is None
    noise = float("-inf") if exact else -float(trial.sqnr_db or 0.0)
    return trial.latency or 0.0, noise, float(trial.bytes)


def best_trial(trials: Iterable[Trial], limit: float | None) -> Trial | None:
    """Return the trial to keep, None where none has a latency.

    Args:
        trials: To choose from.
        limit: Latency that may not be exceeded, relative to the original's: of those within it the most accurate is
            kept. Without a limit, the fastest of those that are accurate enough; where none is, the one that comes
            nearest.
    """
    trials = list(trials)
    complete = [trial for trial in trials if trial.latency is not None and trial.samples]
    if not complete:
        return None
    if limit is not None:
        allowed = [trial for trial in complete if (trial.latency or 0.0) <= limit]
        if not allowed:
            return min(complete, key=lambda trial: trial.latency or 0.0)
        return min(allowed, key=lambda trial: (_axes(trial)[1], trial.latency or 0.0))
    allowed = [trial for trial in complete if trial.within]
    if not allowed:
        seen = [trial for trial in trials if trial.samples]
        return min(seen, key=lambda trial: (trial.excess, len(trial.layers)))
    fastest = min(trial.latency or 0.0 for trial in allowed)
    # What is as fast within the noise of the measurement is chosen by its accuracy.
    close = [trial for trial in allowed if (trial.latency or 0.0) <= fastest * (1 + _SAME_LATENCY)]
    return min(close, key=lambda trial: (_axes(trial)[1], trial.latency or 0.0))
