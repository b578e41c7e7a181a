"""Raw latencies of two engines timed in turn: warm-up kept apart, seconds kept as they came."""

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from compress.measure.machine import Pressure, read_pressure
from compress.measure.statistics import Floats, percentile, ratio_of_medians

Call = Callable[[], object]
Clock = Callable[[], float]

WARM_UP_BLOCK: Final = 5
"""Rounds: the warm-up is judged by the medians of blocks of this many."""
STEADY_WITHIN: Final = 0.05
"""The warm-up is over when no median moved by more than this share from one block to the next."""
WARM_UP_SHARE: Final = 0.25
"""The warm-up may take this share of the time budget."""
FEWEST_ROUNDS: Final = 5
"""Rounds that are made whatever the time budget: fewer give no percentile at all."""


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds of every call, in the order they were made; round i of one engine ran beside round i of the other.

    Attributes:
        baseline: Seconds [rounds] of the original.
        compressed: Seconds [rounds] of the compressed engine.
        warm_up: Seconds [warm-up rounds, 2] of both before the measurement; never part of a percentile.
        steady: Whether the warm-up ended because the medians stood still, not because its time was over.
        pressure: How busy the machine was before the warm-up and after the last round.
    """

    baseline: Floats
    compressed: Floats
    warm_up: Floats
    steady: bool
    pressure: tuple[Pressure, Pressure]


@dataclass(frozen=True, slots=True)
class Limits:
    """When to stop.

    Measuring ends once ``rounds`` are made, the ratio's interval is narrower than ``width`` (a share of the ratio) and
    p99 is bounded from above, or when ``seconds`` (of the clock, warm-up included) are over.
    """

    seconds: float = 10.0
    rounds: int = 50
    width: float = 0.02


def time_interleaved(
    baseline: Call,
    compressed: Call,
    *,
    limits: Limits,
    seed: int,
    clock: Clock = time.perf_counter,
    pressure: Callable[[], Pressure] = read_pressure,
) -> Timings:
    """Return the latencies of two calls timed in turn: A B, B A, A B and so on.

    The order alternates, so that neither call always runs on the caches that the other left. The garbage collector
    rests meanwhile.

    The warm-up runs in blocks of five rounds until both medians moved by at most 5 % from one block to the next, at
    most for a quarter of the time budget.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        before, start = pressure(), clock()
        rounds = _Rounds(baseline, compressed, clock)
        steady = _warm_up(rounds, start + WARM_UP_SHARE * limits.seconds)
        warm = len(rounds.seconds)
        _measure(rounds, warm, start + limits.seconds, limits, seed)
        after = pressure()
    finally:
        if collecting:
            gc.enable()
    seconds = np.array(rounds.seconds, dtype=np.float64)
    return Timings(seconds[warm:, 0], seconds[warm:, 1], seconds[:warm], steady, (before, after))


def replay_timings(baseline: Sequence[float], compressed: Sequence[float]) -> Timings:
    """Return timings that were recorded earlier, seconds a call, as if measured on a steady and idle machine.

    The longer record is cut to the shorter one's rounds.
    """
    rounds = min(len(baseline), len(compressed))
    idle = Pressure(total_seconds=0.0, busy_seconds=0.0, own_seconds=0.0, steal_seconds=None)
    return Timings(
        baseline=np.array(baseline[:rounds], dtype=np.float64),
        compressed=np.array(compressed[:rounds], dtype=np.float64),
        warm_up=np.empty((0, 2)),
        steady=True,
        pressure=(idle, idle),
    )


class _Rounds:
    """Makes rounds and keeps their seconds."""

    def __init__(self, baseline: Call, compressed: Call, clock: Clock) -> None:
        self.seconds: list[tuple[float, float]] = []
        self.clock = clock
        self._baseline = baseline
        self._compressed = compressed

    def make(self) -> None:
        """Time both calls once, in the order whose turn it is."""
        if len(self.seconds) % 2 == 0:
            first = self._time(self._baseline)
            self.seconds.append((first, self._time(self._compressed)))
        else:
            first = self._time(self._compressed)
            self.seconds.append((self._time(self._baseline), first))

    def _time(self, call: Call) -> float:
        start = self.clock()
        call()
        return self.clock() - start


def _warm_up(rounds: _Rounds, deadline: float) -> bool:
    """Make rounds until both medians stand still or the time is over; return whether they stood still."""
    previous: Floats | None = None
    while True:
        for _ in range(WARM_UP_BLOCK):
            rounds.make()
            if rounds.clock() >= deadline:
                return False
        medians = np.median(np.array(rounds.seconds[-WARM_UP_BLOCK:]), axis=0)
        if previous is not None and bool((np.abs(medians - previous) <= STEADY_WITHIN * previous).all()):
            return True
        previous = medians


def _measure(rounds: _Rounds, warm: int, deadline: float, limits: Limits, seed: int) -> None:
    check = limits.rounds
    while True:
        rounds.make()
        made = len(rounds.seconds) - warm
        if made >= FEWEST_ROUNDS and rounds.clock() >= deadline:
            return
        if made >= check:
            if _precise(np.array(rounds.seconds[warm:]), limits.width, seed):
                return
            # Looking after every round would cost more than the rounds, and stop on a lucky moment.
            check = made + max(WARM_UP_BLOCK, made // 4)


def _precise(seconds: Floats, width: float, seed: int) -> bool:
    if any(percentile(column, 0.99)[2] is None for column in seconds.T):
        return False
    ratio = ratio_of_medians(seconds[:, 0], seconds[:, 1], seed=seed)
    return ratio.high - ratio.low <= width * ratio.value
