"""A race of engines: all run in turn, round by round, and one that is surely slower than the leader runs no more."""

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from compress.measure.statistics import Estimate, Floats, ratio_of_medians
from compress.measure.timings import Call, Clock

WARM_UP_ROUNDS: Final = 2
"""Rounds that no time is taken from: the first run of an engine allocates and lays out its memory."""
FEWEST_ROUNDS: Final = 5
"""Rounds that are made whatever the time budget."""
HOPELESS: Final = 1.5
"""An engine whose fastest of the first rounds is slower by this factor than the leader's slowest runs no more."""
_HOPELESS_AFTER: Final = 3
LOOKS: Final = (12, 16, 22, 30, 40, 54, 72, 96, 128, 170, 226, 300)
"""Rounds after which engines are held against the leader; the last ends the race."""


@dataclass(frozen=True, slots=True)
class RaceLimits:
    """When a race ends and what counts as slower.

    Attributes:
        seconds: Of the clock, warm-up included; the fewest rounds are made whatever it says.
        margin: An engine within this share of the leader's time is as good as the leader.
        confidence: That no engine is dropped wrongly, over all engines and all looks.
        first_until_beaten: Whether the first engine wins unless it is surely slower: a change needs a reason.
    """

    seconds: float = 4.0
    margin: float = 0.02
    confidence: float = 0.95
    first_until_beaten: bool = False


@dataclass(frozen=True, slots=True)
class Lane:
    """How one engine fared: its seconds [rounds it ran]; ``dropped`` says whether it was surely slower."""

    seconds: Floats
    dropped: bool


@dataclass(frozen=True, slots=True)
class Race:
    """The lanes in the order of the engines, and which of them won."""

    lanes: tuple[Lane, ...]
    winner: int

    def median(self, index: int) -> float:
        """Return an engine's median time in seconds."""
        return float(np.median(self.lanes[index].seconds))

    def ratio(self, index: int, *, seed: int = 0) -> Estimate:
        """Return how many times the winner's median time an engine took, over the rounds that both ran."""
        mine, best = self.lanes[index].seconds, self.lanes[self.winner].seconds
        rounds = min(len(mine), len(best))
        return ratio_of_medians(mine[:rounds], best[:rounds], seed=seed)


def race_engines(
    calls: Sequence[Call], *, limits: RaceLimits | None = None, seed: int = 0, clock: Clock = time.perf_counter
) -> Race:
    """Return the outcome of a race of calls, each one run of an engine on the same inputs.

    Every round runs each engine that is still in it once, in a new random order, so that what slows the machine for a
    while slows all alike, and none always runs on the caches that the same other left. At a fixed schedule of rounds
    each engine is held against the leader (the lowest median): it is dropped when a one-sided sign test of "slower than
    the leader by more than the margin", round by round, rejects a fair coin at a level that is divided by the number of
    ordered pairs of engines and of looks (Bonferroni), so the risk of a wrong drop anywhere in the race stays below
    1 - confidence. The sign test asks nothing of the distribution of the times; bursts of noise cost it power only.

    An engine that is far slower would eat the budget before the test can speak: after three rounds one whose best time
    is half as much again as the leader's worst runs no more.

    The winner is the first engine in the given order that is left and within the margin of the leader: give them in the
    order of preference. Where the limits say so the first one wins unless it was dropped.

    Args:
        calls: At least one.
        limits: When to stop; by default after four seconds.
        seed: Of the order within the rounds.
        clock: Seconds; tests give their own.

    Raises:
        ValueError: No calls.

    Source: O. Maron, A. W. Moore, "Hoeffding races: accelerating model selection search for classification and function
        approximation", NIPS 6 (1993), section 2: the scheme; the sign test takes the place of Hoeffding's bound, which
        needs bounded times.
    """
    if not calls:
        raise ValueError("a race needs at least one engine")
    limits = limits or RaceLimits()
    track = _Track(calls, clock, np.random.default_rng(seed))
    collecting = gc.isenabled()
    gc.disable()
    try:
        _run(track, limits)
    finally:
        if collecting:
            gc.enable()
    lanes = tuple(
        Lane(np.array(seconds, dtype=np.float64), index not in track.running)
        for index, seconds in enumerate(track.seconds)
    )
    if limits.first_until_beaten and 0 in track.running:
        return Race(lanes, 0)
    leader = float(np.median(lanes[track.leader()].seconds))
    near = (index for index in sorted(track.running) if np.median(lanes[index].seconds) <= leader * (1 + limits.margin))
    return Race(lanes, next(near))


class _Track:
    """The engines that still run, and the seconds of all."""

    def __init__(self, calls: Sequence[Call], clock: Clock, order: np.random.Generator) -> None:
        self.running = set(range(len(calls)))
        self.seconds: list[list[float]] = [[] for _ in calls]
        self.clock = clock
        self._calls = calls
        self._order = order

    def make_round(self, *, keep: bool = True) -> None:
        """Run every engine once."""
        for index in self._order.permutation(sorted(self.running)):
            start = self.clock()
            self._calls[index]()
            if keep:
                self.seconds[index].append(self.clock() - start)

    def leader(self) -> int:
        """Return the running engine with the lowest median."""
        return min(sorted(self.running), key=lambda index: float(np.median(self.seconds[index])))

    def drop(self, slower: Callable[[Floats, Floats], bool]) -> None:
        """Drop every engine that is slower than the leader."""
        leader = self.leader()
        best = np.array(self.seconds[leader])
        self.running -= {
            index for index in self.running if index != leader and slower(np.array(self.seconds[index]), best)
        }


def _run(track: _Track, limits: RaceLimits) -> None:
    start = track.clock()
    engines = len(track.running)
    level = (1 - limits.confidence) / max(1, engines * (engines - 1) * len(LOOKS))
    for _ in range(WARM_UP_ROUNDS):
        track.make_round(keep=False)
    for made in range(1, LOOKS[-1] + 1):
        track.make_round()
        if made == _HOPELESS_AFTER:
            track.drop(lambda mine, best: bool(mine.min() > HOPELESS * best.max()))
        if made in LOOKS:
            track.drop(lambda mine, best: surely_slower(mine, best, limits.margin, level))
        if len(track.running) == 1 and made >= FEWEST_ROUNDS:
            return
        if made >= FEWEST_ROUNDS and track.clock() - start >= limits.seconds:
            return


def surely_slower(mine: Floats, best: Floats, margin: float, level: float) -> bool:
    """Return whether times [rounds] are above the leader's of the same rounds by more than a margin, at that level."""
    from scipy.stats import binom

    slower = int((mine > best * (1 + margin)).sum())
    return float(binom.sf(slower - 1, len(mine), 0.5)) <= level
