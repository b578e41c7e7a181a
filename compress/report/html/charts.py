"""What the charts of the page draw, as plain data; ``reports/templates/page.js`` draws it with Observable Plot."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from compress.report.html.flips import Changes
from compress.report.html.layers import LayerRow
from compress.report.html.trials import TrialRow
from compress.report.measurements import RawMeasurements
from compress.report.record import Accuracy, Latency, Percentiles
from compress.report.speed_record import Contest, Contestant

Chart = dict[str, JsonValue]

_BINS: Final = 48
_SHOWN_SHARE: Final = 99.5
"""Percentile where the latency chart ends, so that one slow round does not squeeze all others; the caption says so."""


def drop_chart(place: str, accuracy: Accuracy, budget: float | None) -> Chart:
    """Return the drop, its interval and the budget; in points for a share, else in the metric's own unit."""
    scale = 100.0 if accuracy.unit == "fraction" else 1.0
    return {
        "place": place,
        "kind": "drop",
        "unit": f"drop of {accuracy.metric}, {'points' if scale == 100 else 'its own unit'}",
        "drop": scale * accuracy.drop,
        "low": scale * accuracy.interval[0],
        "high": scale * accuracy.interval[1],
        "budget": None if budget is None else scale * budget,
    }


def latency_chart(place: str, latency: Latency, raw: RawMeasurements | None) -> Chart:
    """Return the rounds of both engines in bins of equal width, or their percentiles where the rounds are not there."""
    if raw is not None and raw.baseline_seconds is not None and raw.compressed_seconds is not None:
        return {"place": place, "kind": "rounds", **_bins(raw.baseline_seconds, raw.compressed_seconds, latency)}
    points: list[JsonValue] = [
        {"engine": engine, "percentile": name, "ms": 1e3 * value, "low": 1e3 * low, "high": 1e3 * (high or value)}
        for engine, found in (("original", latency.baseline), ("compressed", latency.compressed))
        for name, value, (low, high) in _percentiles(found)
    ]
    return {"place": place, "kind": "percentiles", "points": points}


def _percentiles(found: Percentiles) -> Iterator[tuple[str, float, tuple[float, float | None]]]:
    yield "p50", found.p50, found.p50_interval
    yield "p90", found.p90, found.p90_interval
    yield "p99", found.p99, found.p99_interval


def _bins(baseline: NDArray[np.float64], compressed: NDArray[np.float64], latency: Latency) -> Chart:
    both = np.concatenate([baseline, compressed])
    end = max(np.percentile(each, _SHOWN_SHARE) for each in (baseline, compressed))
    edges = np.linspace(both.min(), max(end, both.min() * 1.001), _BINS + 1)
    bars: list[JsonValue] = []
    for engine, values in (("original", baseline), ("compressed", compressed)):
        counts, _ = np.histogram(values, edges)
        bars += [
            {"engine": engine, "from": 1e3 * start, "to": 1e3 * stop, "share": 100.0 * int(count) / len(values)}
            for start, stop, count in zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True)
            if count
        ]
    medians: list[JsonValue] = [
        {"engine": "original", "ms": 1e3 * latency.baseline.p50},
        {"engine": "compressed", "ms": 1e3 * latency.compressed.p50},
    ]
    return {"bars": bars, "medians": medians, "beyond": int((both > edges[-1]).sum())}


def pareto_front(contest: Contest) -> list[Contestant]:
    """Return the engines that no other one beats in both time and fidelity, the fastest first."""
    timed = [each for each in (*contest.engines, *contest.settings[1:]) if each.seconds is not None]
    front: list[Contestant] = []
    for each in sorted(timed, key=lambda one: (one.seconds or 0.0, -_fidelity(one))):
        if not front or _fidelity(each) > _fidelity(front[-1]):
            front.append(each)
    return front


def pareto_chart(place: str, contest: Contest | None, trials: Sequence[TrialRow]) -> Chart:
    """Return every engine that was timed: its median and how near its outputs are, and which of them are the front."""
    tried: list[JsonValue] = [
        {
            "how": each.how,
            "ms": 1e3 * each.seconds,
            "db": each.sqnr_db,
            "graph": "mixed",
            "outcome": "within the goal" if each.within else "beyond the goal",
            "front": False,
            "won": False,
        }
        for each in trials
    ]
    return {"place": place, "kind": "pareto", "points": [*tried, *([] if contest is None else _raced(contest))]}


def _raced(contest: Contest) -> list[JsonValue]:
    timed = [each for each in (*contest.engines, *contest.settings[1:]) if each.seconds is not None]
    front = pareto_front(contest)
    won = _shipped(contest)
    return [
        {
            "how": each.how,
            "ms": 1e3 * (each.seconds or 0.0),
            "db": each.sqnr_db,
            "graph": each.graph,
            "outcome": each.outcome,
            "front": any(each is one for one in front),
            "won": each is won,
        }
        for each in timed
    ]


def _fidelity(each: Contestant) -> float:
    return float("inf") if each.sqnr_db is None else each.sqnr_db


def _shipped(contest: Contest) -> Contestant | None:
    """Return the engine that came out: a changed setting that won, else the winner of the engines."""
    candidates = (*contest.settings[1:], *contest.engines)
    return next((each for each in candidates if each.outcome == "won"), None)


def layer_chart(place: str, rows: Sequence[LayerRow]) -> Chart | None:
    """Return what is known of every layer; None where no number is."""
    measures = {
        "sqnr": [row.sqnr_db for row in rows],
        "time": [None if row.seconds is None else 1e6 * row.seconds for row in rows],
        "bound": [None if row.share_of_bound is None else 100 * row.share_of_bound for row in rows],
    }
    known: dict[str, JsonValue] = {
        name: list(values) for name, values in measures.items() if any(value is not None for value in values)
    }
    if not known:
        return None
    return {
        "place": place,
        "kind": "layers",
        "names": [row.name for row in rows],
        "precisions": [row.precision for row in rows],
        "numbers": [row.number for row in rows],
        "measures": known,
    }


def class_chart(place: str, changes: Changes) -> Chart:
    """Return the change of every class's recall in points."""
    classes: list[JsonValue] = [
        {"name": each.name, "points": 100 * each.change, "lost": each.lost, "gained": each.gained}
        for each in changes.classes
    ]
    return {"place": place, "kind": "classes", "classes": classes}
