"""The search for the layers to put back into float: along a path by gain for cost, then around what that finds."""

import itertools
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from compress.quantize.mixed.archive import Names, Trial, best_trial
from compress.quantize.mixed.tryout import Clock, Tryout
from compress.quantize.mixed.units import Unit

log = logging.getLogger("compress")

_SCREENING_SHARE: Final = 0.35
"""Of the time that is left, for the errors of single units."""
_PATIENCE: Final = 6
"""Changes in a row that bring nothing before a pass over all of them ends."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds a search.

    Attributes:
        seconds: For the whole search, what an earlier one that was killed has spent included.
        latency: That may not be exceeded, relative to the original's; None where accuracy is the budget.
        screened: Samples that judge single units.
    """

    seconds: float
    latency: float | None
    screened: int


class Search:
    """Greedy along a path, then local; anytime: whenever the time is over, the best trial so far is the result."""

    def __init__(
        self,
        tryout: Tryout,
        units: Sequence[Unit],
        fixed: Names,
        limits: Limits,
        *,
        started: float | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,  # noqa: ARG005
        clock: Clock = time.perf_counter,
    ) -> None:
        """Make a search.

        Args:
            tryout: Makes the trials.
            units: Candidates, the most suspicious first.
            fixed: Layers that are float in every trial.
            limits: When to stop.
            started: When the search's time began, on the clock; now where None.
            progress: Told seconds spent and seconds in all.
            clock: Seconds; tests give their own.
        """
        self._tryout, self._units, self._fixed, self._limits = tryout, units, fixed, limits
        self._progress, self._clock = progress, clock
        self._start = (clock() if started is None else started) - tryout.archive.spent
        self.out_of_time = False

    def run(self) -> Trial:
        """Return the best trial."""
        base = self._tryout.run(self._fixed, always_timed=True)
        if self._limits.latency is not None or not base.within:
            path = self._make_path(self._screen())
            self._walk(path)
            self._refine(path)
        self._merge()
        found = self.best
        assert found is not None  # noqa: S101 - the first trial is always timed
        return found

    @property
    def best(self) -> Trial | None:
        """The best trial so far."""
        return best_trial(self._tryout.archive.trials.values(), self._limits.latency)

    def _has_time(self) -> bool:
        """Return whether one more trial fits into the time, were it as long as the longest so far."""
        spent = self._clock() - self._start
        self._progress(int(spent), int(self._limits.seconds))
        fits = spent + self._tryout.longest <= self._limits.seconds
        self.out_of_time |= not fits
        return fits

    def _screen(self) -> dict[Names, float]:
        """Return by how much the error falls with each unit in float, as a share of the signal; as the time allows."""
        spent = self._clock() - self._start
        deadline = spent + _SCREENING_SHARE * (self._limits.seconds - spent)
        whole = self._tryout.screen(self._fixed, self._limits.screened)
        gains: dict[Names, float] = {}
        for unit in self._units:
            known = unit.names | self._fixed in self._tryout.archive.gains
            if not known and self._clock() - self._start > deadline:
                self.out_of_time = True
                break
            gains[unit.names] = whole - self._tryout.screen(unit.names | self._fixed, self._limits.screened)
            self._progress(int(self._clock() - self._start), int(self._limits.seconds))
        return gains

    def _make_path(self, gains: dict[Names, float]) -> list[Names]:
        """Return growing sets of float layers: units by gain for cost, then those that there was no time to screen.

        Units that were seen to gain nothing are left out.
        """
        useful = [unit for unit in self._units if gains.get(unit.names, 0.0) > 0]
        useful.sort(key=lambda unit: -gains[unit.names] / max(unit.cost, 1e-9))
        path = [self._fixed]
        unseen = [unit for unit in self._units if unit.names not in gains]
        for unit in (*useful, *unseen):
            if not unit.names <= path[-1]:
                path.append(path[-1] | unit.names)
        return path

    def _walk(self, path: Sequence[Names]) -> None:
        """Find the place on the path where the budget is just met: steps of growing length, then halves."""
        low, high, step = 0, len(path) - 1, 1
        reached = False
        while not reached and low < len(path) - 1 and self._has_time():
            place = min(low + step, len(path) - 1)
            if self._passes(path[place]):
                high, reached = place, True
            else:
                low, step = place, step * 2
        while reached and high - low > 1 and self._has_time():
            middle = (low + high) // 2
            low, high = (low, middle) if self._passes(path[middle]) else (middle, high)

    def _passes(self, names: Names) -> bool:
        """Return whether a place on the path is beyond the turning point: accurate enough, or too slow."""
        trial = self._tryout.run(names)
        if self._limits.latency is None:
            return trial.within
        return trial.latency is not None and trial.latency > self._limits.latency

    def _refine(self, path: Sequence[Names]) -> None:
        """Change the best trial bit by bit: fewer float layers where accuracy is the budget, more where latency is."""
        best = self.best
        if best is None:
            return
        if self._limits.latency is not None:
            self._try(self._added(path), lambda now, unit: now | unit)
        elif best.within:
            costs = {name: unit.cost for unit in self._units for name in unit.names if len(unit.names) == 1}
            names = sorted(frozenset(best.layers) - self._fixed, key=lambda name: (-costs.get(name, 0.0), name))
            self._try([frozenset({name}) for name in names], lambda now, unit: now - unit)

    def _merge(self) -> None:
        """Put more layers into float, the cheapest first: some are no slower so, without a conversion around them."""
        if self._limits.latency is None and self.best is not None and self.best.within:
            units = sorted(self._units, key=lambda unit: unit.cost)
            touching = [unit.names for unit in units if unit.names & frozenset(self._now())]
            self._try([*touching, *(unit.names for unit in units)], lambda now, unit: now | unit)

    def _try(self, units: Sequence[Names], change: Callable[[Names, Names], Names]) -> None:
        """Try changes of the best trial, one after the other, until the time or the patience is over."""
        failures = 0
        for unit in units:
            now = frozenset(self._now())
            if failures >= _PATIENCE or change(now, unit) == now:
                continue
            if not self._has_time():
                return
            self._tryout.run(change(now, unit))
            failures = failures + 1 if frozenset(self._now()) == now else 0

    def _added(self, path: Sequence[Names]) -> list[Names]:
        """Return what each step of the path adds, in its order."""
        return [after - before for before, after in itertools.pairwise(path)]

    def _now(self) -> tuple[str, ...]:
        best = self.best
        return () if best is None else best.layers
