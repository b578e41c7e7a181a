"""Latency, power and throttling of one engine, or of two in turn."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from . import trtexec
from .common import Failed
from .trtexec import Block
from .watch import Watch, describe_throttling, read_throttling

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 4
"""Of two engines each is measured so often, in turn (A B, B A, …), for a share of the seconds each time."""


class Run(NamedTuple):
    """One run of trtexec on an engine: its latencies, the power meanwhile (or None), and what slowed the board down."""

    engine: str
    block: Block
    power: dict[str, Any] | None
    throttled: list[str]


def measure(
    program: str, kit: dict[str, Any], folder: Path, engines: list[str], progress: Callable[[str, int, int], None]
) -> dict[str, Any]:
    """Return the measurements of the last engine, and of the first beside it where there are two.

    Returns:
        ``latency`` and ``original_latency`` (see :func:`summarize`), ``seconds`` of every query by engine, ``blocks``
        (power, temperature and throttling of each run of trtexec), ``notes``. Latency is None where trtexec fails; a
        note says why.
    """
    order = _order(engines)
    share = trtexec.SECONDS * len(engines) / len(order)
    found: list[Run] = []
    try:
        with Watch() as watch:
            for number, name in enumerate(order):
                progress("latency", number, len(order))
                before, start = read_throttling(), time.monotonic()
                block = trtexec.measure(program, kit, folder, engine=name, seconds=share)
                slowed = describe_throttling(before, read_throttling())
                # Loading and the warm-up come first, giving the engine back last: power is that of the queries.
                end = block.ended or time.monotonic()
                power = watch.summarize(max(start, end - share), end)
                found.append(Run(name, block, power, slowed))
                progress("latency", number + 1, len(order))
    except Failed as failure:
        return {"latency": None, "notes": [str(failure)]}
    kept = {name: _without_throttled([run for run in found if run.engine == name]) for name in engines}
    warnings = [line for run in found for line in run.block.warnings]
    return {
        "latency": summarize(kept[engines[-1]]),
        "original_latency": summarize(kept[engines[0]]) if len(engines) > 1 else None,
        "seconds": {name: [second for run in kept[name] for second in run.block.seconds] for name in engines},
        "blocks": [
            {"engine": run.engine, "queries": len(run.block.seconds), "power": run.power, "throttled": run.throttled}
            for run in found
        ],
        "notes": [*dict.fromkeys(warnings), *_describe_throttled(found)],
    }


def _order(engines: list[str]) -> list[str]:
    if len(engines) == 1:
        return engines
    forth, back = list(engines), list(reversed(engines))
    return [name for turn in range(ROUNDS) for name in (forth if turn % 2 == 0 else back)]


def _without_throttled(runs: list[Run]) -> list[Run]:
    """Return the runs in which the board kept its clocks; all of them where it never did."""
    return [run for run in runs if not run.throttled] or runs


def _power(runs: list[Run]) -> float | None:
    """Return the mean watts of the module over all samples of these runs, or None where it was not measured."""
    sampled = [run.power for run in runs if run.power is not None and run.power["watts"] is not None]
    samples = sum(power["samples"] for power in sampled)
    return sum(power["watts"] * power["samples"] for power in sampled) / samples if samples else None


def _describe_throttled(runs: list[Run]) -> list[str]:
    slowed = [run for run in runs if run.throttled]
    if not slowed:
        return []
    what = sorted({reason for run in slowed for reason in run.throttled})
    left_out = "" if len(slowed) == len(runs) else ": those runs are left out of the latency"
    return [f"THROTTLED ({', '.join(what)}) in {len(slowed)} of {len(runs)} runs{left_out}"]


def summarize(runs: list[Run]) -> dict[str, Any]:
    """Return percentiles in seconds over all queries, queries a second, watts and joules a query (None unmeasured)."""
    seconds = sorted(second for run in runs for second in run.block.seconds)
    gpu = sorted(second for run in runs for second in run.block.gpu_seconds)
    throughput = sum(run.block.throughput for run in runs) / len(runs)
    watts = _power(runs)
    return {
        "batch": 1,
        "runs": len(seconds),
        "p50": percentile(seconds, 50),
        "p90": percentile(seconds, 90),
        "p99": percentile(seconds, 99),
        "mean": sum(seconds) / len(seconds),
        "min": seconds[0],
        "max": seconds[-1],
        "gpu_p50": percentile(gpu, 50),
        "throughput": throughput,
        "watts": watts,
        "joules": None if watts is None else watts / throughput,
    }


def percentile(ordered: list[float], percent: float) -> float:
    """Return a percentile of ascending values, between neighbours by distance."""
    place = (len(ordered) - 1) * percent / 100
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
