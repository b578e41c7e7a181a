"""The comparison for people: rows of text, for the terminal and for Markdown."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from compress.report.diff.record import (
    AccuracyChange,
    Change,
    Difference,
    LatencyChange,
    LayerChange,
    NumberChange,
    Side,
    TargetDifference,
)
from compress.report.record import VerdictRecord
from compress.report.rows import name_outcome
from compress.report.units import (
    format_bytes,
    format_fraction,
    format_joules,
    format_points,
    format_ratio,
    format_seconds,
    format_share,
    format_value,
)

HEAD: Final = ("", "before", "after", "change", "")
LAYER_HEAD: Final = ("layer", "precision", "own SQNR", "time", "")
CHANGE_HEAD: Final = ("", "what", "before", "after")
SHOWN_LAYERS: Final = 10
"""Layers in the table; all of them are in the JSON."""
_LONGEST: Final = 60

AREAS: Final = {
    "source": "model",
    "data": "samples",
    "steps": "recipe",
    "packages": "version",
    "machine": "machine",
    "run": "run",
}


@dataclass(frozen=True, slots=True)
class DiffRow:
    """One line: what, before, after, the change with its interval, and a word for it."""

    what: str
    before: str
    after: str
    change: str
    word: str

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells in the order of :data:`HEAD`."""
        return self.what, self.before, self.after, self.change, self.word


def name_side(side: Side) -> str:
    """Return a verdict in capital words with its exit code."""
    record = VerdictRecord(status=side.status, exit_code=side.exit_code, reasons=())
    return f"{name_outcome(record)} ({side.exit_code})"


def summarize(difference: Difference) -> str:
    """Return the change of the verdict in a sentence."""
    before, after = name_side(difference.before), name_side(difference.after)
    return f"The verdict is still {after}." if before == after else f"The verdict was {before} and is now {after}."


def target_rows(target: TargetDifference) -> tuple[DiffRow, ...]:
    """Return the rows of a target."""
    return tuple(_rows(target))


def _rows(target: TargetDifference) -> Iterator[DiffRow]:
    before, after = (name_side(side) if side is not None else "not there" for side in (target.before, target.after))
    if target.before is None or target.after is None:
        yield DiffRow("verdict", before, after, "", "added" if target.before is None else "removed")
        return
    yield DiffRow("verdict", before, after, "", "equal" if before == after else "changed")
    if target.accuracy is not None:
        yield _accuracy_row(target.accuracy)
    if target.sqnr_db is not None:
        yield _sqnr_row(target.sqnr_db)
    if target.latency is not None:
        yield _latency_row(target.latency)
    if target.size is not None:
        yield _ratio_row("size", target.size, lambda value: format_bytes(round(value)), "the size")
    if target.memory is not None:
        yield _ratio_row("peak memory", target.memory, lambda value: format_bytes(round(value)), "the memory")
    if target.energy is not None:
        yield _ratio_row("energy of a call", target.energy, format_joules, "the energy")


def _accuracy_row(change: AccuracyChange) -> DiffRow:
    fraction = change.unit == "fraction"

    def signed(value: float) -> str:
        return format_points(value) if fraction else format_value(value, signed=True)

    before, after = ((format_fraction if fraction else format_value)(value) for value in (change.before, change.after))
    text = signed(change.change) + (" points" if fraction else "")
    if change.interval is not None:
        text += f" ({signed(change.interval[0])} to {signed(change.interval[1])})"
    return DiffRow(change.metric, before, after, text, change.word)


def _sqnr_row(change: NumberChange) -> DiffRow:
    before, after = ("equal" if value is None else f"{value:.1f} dB" for value in (change.before, change.after))
    known = change.before is not None and change.after is not None
    text = f"{change.after - change.before:+.1f} dB" if known else ""  # type: ignore[operator]
    return DiffRow("outputs, SQNR", before, after, text, change.word)


def _latency_row(change: LatencyChange) -> DiffRow:
    text = ""
    if change.ratio is not None and change.interval is not None:
        low, high = change.interval
        text = f"{format_ratio(change.ratio)} as fast ({format_ratio(low)} to {format_ratio(high)})"
    return DiffRow("latency p50", format_seconds(change.before), format_seconds(change.after), text, change.word)


def _ratio_row(what: str, change: NumberChange, show: Callable[[float], str], whole: str) -> DiffRow:
    before, after = change.before or 0.0, change.after or 0.0
    text = f"{format_ratio(after / before)} {whole}" if before and before != after else ""
    return DiffRow(what, show(before), show(after), text, change.word)


def target_notes(target: TargetDifference) -> tuple[str, ...]:
    """Return sentences about how the numbers of a target were compared."""
    return tuple(_notes(target))


def _notes(target: TargetDifference) -> Iterator[str]:
    accuracy, latency = target.accuracy, target.latency
    if accuracy is not None:
        if accuracy.paired:
            counted = ""
            if accuracy.lost is not None and accuracy.won is not None:
                counted = f", {accuracy.lost} lost and {accuracy.won} won"
            p_value = "" if accuracy.p_value is None else f", McNemar mid-p {accuracy.p_value:.2g}"
            yield f"Accuracy: paired sample by sample, {accuracy.samples[1]} samples{counted}{p_value}."
        if accuracy.interval is not None and accuracy.confidence is not None:
            yield f"Accuracy: {format_share(accuracy.confidence)} interval by {accuracy.method}."
        yield from (f"Accuracy: {note}." for note in accuracy.notes)
    if latency is not None:
        yield from (f"Latency: {note}." for note in latency.notes)


def layer_rows(layers: Sequence[LayerChange]) -> tuple[tuple[str, ...], ...]:
    """Return the rows below :data:`LAYER_HEAD`, and one for the layers that are not shown."""
    rows = [
        (
            f"{layer.name} ({layer.op})",
            _pair(*layer.precision),
            _pair(*("" if value is None else f"{value:.1f} dB" for value in layer.sqnr_db)),
            _pair(*("" if value is None else format_seconds(value) for value in layer.seconds)),
            "" if layer.word == "changed" else layer.word,
        )
        for layer in layers[:SHOWN_LAYERS]
    ]
    if len(layers) > SHOWN_LAYERS:
        rows.append((f"{len(layers) - SHOWN_LAYERS} more", "", "", "", ""))
    return tuple(rows)


def change_rows(changes: Sequence[Change]) -> tuple[tuple[str, ...], ...]:
    """Return the rows below :data:`CHANGE_HEAD`."""
    return tuple(
        (
            AREAS[change.area] + ("" if change.target is None else f" of {change.target}"),
            change.what,
            _show(change.before),
            _show(change.after),
        )
        for change in changes
    )


def _pair(before: str | None, after: str | None) -> str:
    return (before or "") if before == after else f"{before or '–'} → {after or '–'}"


def _show(value: JsonValue) -> str:
    if value is None:
        return "–"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
