"""How far along a path of cuts a target is reached."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from compress.prune.allocation import Chunk, cuts_of
from compress.prune.groups import Cuts

Removed = Callable[[Cuts], float]
"""Returns the share of the model's cost that some cuts remove."""

TOLERANCE: Final = 0.02
"""A measured share this near to what was asked for is what was asked for."""
MEASUREMENTS: Final = 8
"""Engines that are measured at most."""
_EXACT: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Reached:
    """Cuts that reach a target.

    Attributes:
        cuts: By group.
        removed: Share of the cost that they remove, as counted or measured.
    """

    cuts: Mapping[str, tuple[int, ...]]
    removed: float


@dataclass(frozen=True, slots=True)
class OutOfReach:
    """The whole path does not reach a target; ``removed`` is what it removes."""

    removed: float


def reach(path: Sequence[Chunk], share: float, removed: Removed) -> Reached | OutOfReach:
    """Return the shortest part of a path that removes at least a share, without what it does not need.

    The last chunk may remove more than was missing: then chunks before it may be left out again, the latest first. One
    chunk less of any group would remove too little.

    Args:
        path: In the order of the cuts.
        share: To remove, 0 to 1.
        removed: Never falls along the path.
    """
    most = removed(cuts_of(path))
    if most < share - _EXACT:
        return OutOfReach(most)
    low, high = 0, len(path)
    while high - low > 1:
        middle = (low + high) // 2
        if removed(cuts_of(path[:middle])) >= share - _EXACT:
            high = middle
        else:
            low = middle
    needed = _leave_out(list(path[:high]), share, removed)
    return Reached(cuts_of(needed), removed(cuts_of(needed)))


def _leave_out(path: list[Chunk], share: float, removed: Removed) -> list[Chunk]:
    """Return a path without chunks at the ends of their groups that the share does not need."""
    needed: set[str] = set()
    for index in range(len(path) - 1, -1, -1):
        without = path[:index] + path[index + 1 :]
        if path[index].group in needed:
            continue
        if removed(cuts_of(without)) >= share - _EXACT:
            path = without
        else:
            needed.add(path[index].group)
    return path


def approach(path: Sequence[Chunk], share: float, counted: Removed, measured: Removed) -> Reached | OutOfReach:
    """Return the part of a path whose measured cost is nearest to a share, from a few measurements.

    Between two measurements, the measured share is taken to follow the counted one in a line.

    Args:
        path: In the order of the cuts.
        share: To remove, 0 to 1.
        counted: Cheap, never falls along the path: the share of MACs.
        measured: Expensive and noisy: the share of the latency.
    """
    whole = cuts_of(path)
    high = _Mark(len(path), counted(whole), measured(whole))
    if high.measured < share - TOLERANCE:
        return OutOfReach(high.measured)
    low, best = _Mark(0, 0.0, 0.0), high
    for number in range(MEASUREMENTS - 1):
        if abs(best.measured - share) <= TOLERANCE or high.count - low.count <= 1:
            break
        count = _guess(path, share, counted, (low, high), halve=number % 3 == 2)
        cuts = cuts_of(path[:count])
        here = _Mark(count, counted(cuts), measured(cuts))
        best = min(best, here, key=lambda mark: abs(mark.measured - share))
        low, high = (here, high) if here.measured < share else (low, here)
    return Reached(cuts_of(path[: best.count]), best.measured)


@dataclass(frozen=True, slots=True)
class _Mark:
    """A place on the path."""

    count: int
    counted: float
    measured: float


def _guess(path: Sequence[Chunk], share: float, counted: Removed, bracket: tuple[_Mark, _Mark], *, halve: bool) -> int:
    """Return a place strictly inside a bracket: on the line between its ends, or, where that converges slowly, half."""
    low, high = bracket
    rise = high.measured - low.measured
    place = 0.5 if halve or rise <= 0 else min(max((share - low.measured) / rise, 0.0), 1.0)
    wanted = low.counted + place * (high.counted - low.counted)
    left, right = low.count + 1, high.count - 1
    while left < right:
        middle = (left + right) // 2
        if counted(cuts_of(path[:middle])) >= wanted:
            right = middle
        else:
            left = middle + 1
    return left
