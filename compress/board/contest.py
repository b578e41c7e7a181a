"""Latency, power and throttling of one engine, or of two in turn."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import trtexec
from .common import Failed
from .trtexec import Block
from .watch import Watch, describe_throttling, read_throttling

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 4
"""Of two engines each is measured so often, in turn (A B, B A, …), for a share of the seconds each time."""


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
    blocks: list[dict[str, Any]] = []
    found: dict[str, list[Block]] = {name: [] for name in engines}
    try:
        with Watch() as watch:
            for number, name in enumerate(order):
                progress("latency", number, len(order))
                before, start = read_throttling(), time.monotonic()
                block = trtexec.measure(program, kit, folder, engine=name, seconds=share)
                slowed = describe_throttling(before, read_throttling())
                # The warm-up and the loading come first: power is that of the measured seconds.
                power = watch.summarize(max(start, time.monotonic() - share), time.monotonic())
                found[name].append(block)
                progress("latency", number + 1, len(order))
                blocks.append({"engine": name, "queries": len(block.seconds), "power": power, "throttled": slowed})
    except Failed as failure:
        return {"latency": None, "notes": [str(failure)]}
    kept = {name: _without_throttled(name, found[name], blocks) for name in engines}
    warnings = [line for name in engines for block in found[name] for line in block.warnings]
    return {
        "latency": summarize(kept[engines[-1]], _power(blocks, engines[-1])),
        "original_latency": summarize(kept[engines[0]], _power(blocks, engines[0])) if len(engines) > 1 else None,
        "seconds": {name: [second for block in kept[name] for second in block.seconds] for name in engines},
        "blocks": blocks,
        "notes": [*dict.fromkeys(warnings), *_describe_blocks(blocks)],
    }


def _order(engines: list[str]) -> list[str]:
    if len(engines) == 1:
        return engines
    forth, back = list(engines), list(reversed(engines))
    return [name for turn in range(ROUNDS) for name in (forth if turn % 2 == 0 else back)]


def _without_throttled(name: str, found: list[Block], blocks: list[dict[str, Any]]) -> list[Block]:
    """Return the blocks in which the board kept its clocks; all of them where it never did."""
    states = [block["throttled"] for block in blocks if block["engine"] == name]
    steady = [block for block, throttled in zip(found, states) if not throttled]  # noqa: B905 Python 3.8
    return steady or found


def _power(blocks: list[dict[str, Any]], name: str) -> float | None:
    """Return the mean watts of the module while an engine ran, or None where it was not measured."""
    sampled = [b["power"] for b in blocks if b["engine"] == name and b["power"] and b["power"]["watts"] is not None]
    queries = sum(power["samples"] for power in sampled)
    return sum(power["watts"] * power["samples"] for power in sampled) / queries if queries else None


def _describe_blocks(blocks: list[dict[str, Any]]) -> list[str]:
    slowed = [(number, block) for number, block in enumerate(blocks, start=1) if block["throttled"]]
    if not slowed:
        return []
    what = sorted({reason for _, block in slowed for reason in block["throttled"]})
    whole = len(slowed) == len(blocks)
    left_out = "" if whole else ": those runs are left out of the latency"
    return [f"THROTTLED ({', '.join(what)}) in {len(slowed)} of {len(blocks)} runs{left_out}"]


def summarize(blocks: list[Block], watts: float | None) -> dict[str, Any]:
    """Return percentiles in seconds over all queries, queries a second, watts and joules a query (None unmeasured)."""
    seconds = sorted(second for block in blocks for second in block.seconds)
    gpu = sorted(second for block in blocks for second in block.gpu_seconds)
    throughput = sum(block.throughput for block in blocks) / len(blocks)
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
