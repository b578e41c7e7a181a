"""What became of single layers: precision, noise, time."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from compress.report.diff.record import LayerChange
from compress.report.record import TargetRecord

NOISE_DB: Final = 0.5
"""A layer's noise that changed by less is the same: calibration draws the line a little differently each time."""
TIME: Final = 0.2
"""A layer's time that changed by a smaller share is the same: a profile is one run."""


@dataclass(slots=True)
class _Layer:
    op: str
    precision: str | None = None
    sqnr_db: float | None = None
    seconds: float | None = None


def compare_layers(before: TargetRecord, after: TargetRecord, *, same_machine: bool) -> tuple[LayerChange, ...]:
    """Return the layers that are not the same, those first that changed most.

    Args:
        before: Of the first report.
        after: Of the second.
        same_machine: Whether times may be compared.
    """
    first, second = _collect(before), _collect(after)
    if not first or not second:
        return ()
    changes = []
    for name in dict.fromkeys([*first, *second]):
        change = _compare(name, first.get(name), second.get(name), same_machine)
        if change is not None:
            changes.append(change)
    return tuple(sorted(changes, key=_rank))


def _collect(target: TargetRecord) -> dict[str, _Layer]:
    """Return the layers of a target by name, from its roofline and from its diagnosis."""
    found: dict[str, _Layer] = {}
    if target.roofline is not None:
        for bound in target.roofline.layers:
            found[bound.name] = _Layer(bound.op, precision=bound.precision, seconds=bound.seconds)
    for layer in target.layers:
        found.setdefault(layer.name, _Layer(layer.op)).sqnr_db = layer.sqnr_db
    return found


def _compare(name: str, before: _Layer | None, after: _Layer | None, same_machine: bool) -> LayerChange | None:
    present = after or before
    if present is None:
        return None
    seconds = (_read(before, _seconds), _read(after, _seconds)) if same_machine else (None, None)
    change = LayerChange(
        name=name,
        op=present.op,
        word="added" if before is None else "removed" if after is None else "changed",
        precision=(before.precision if before else None, after.precision if after else None),
        sqnr_db=(_read(before, _sqnr), _read(after, _sqnr)),
        seconds=seconds,
    )
    same = change.precision[0] == change.precision[1] and not _differ(change.sqnr_db, _noise_differs)
    return None if change.word == "changed" and same and not _differ(seconds, _time_differs) else change


def _seconds(layer: _Layer) -> float | None:
    return layer.seconds


def _sqnr(layer: _Layer) -> float | None:
    return layer.sqnr_db


def _read(layer: _Layer | None, take: Callable[[_Layer], float | None]) -> float | None:
    return None if layer is None else take(layer)


def _differ(pair: tuple[float | None, float | None], differs: Callable[[float, float], bool]) -> bool:
    before, after = pair
    if before is None or after is None:
        return before is not after
    return differs(before, after)


def _noise_differs(before: float, after: float) -> bool:
    return abs(before - after) >= NOISE_DB


def _time_differs(before: float, after: float) -> bool:
    return max(before, after) > (1 + TIME) * min(before, after)


def _rank(change: LayerChange) -> tuple[bool, float, str]:
    """Return what sorts: layers that came or went or have another precision, then by what their noise changed."""
    before, after = change.sqnr_db
    noise = 0.0 if before is None or after is None else abs(after - before)
    return change.word == "changed" and change.precision[0] == change.precision[1], -noise, change.name
