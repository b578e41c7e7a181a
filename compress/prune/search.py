"""Which cuts reach a goal: groups that may be cut, their scores, the path through them, and how far along it."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from compress.errors import PruneError, suggest
from compress.latency_meter import LatencyMeter
from compress.model import Model
from compress.prune.allocation import Choice, Chunk, make_chunks, make_path
from compress.prune.amount import WORDS, Amount
from compress.prune.budget import OutOfReach, Reached, approach, reach
from compress.prune.costs import CostMeter
from compress.prune.groups import Coupling, Cuts, Group
from compress.prune.importance import Scores
from compress.prune.judge import Judge
from compress.prune.settings import PruneSettings
from compress.prune.surgery import cut

log = logging.getLogger("compress")

FINER: Final = (1, 2, 4, 8, 16)
"""What the automatic multiples are divided by, one after the other, until the goal can be reached."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What one round is to reach.

    Attributes:
        amount: What was asked for in all.
        share: Of the baseline's cost, to be removed after this round.
        meter: Counts the quantity, or the MACs where latency is measured.
        whole: What the baseline costs.
        latency: Measures, where latency is the goal.
        units: Of each group of the baseline: floors are shares of these.
    """

    amount: Amount
    share: float
    meter: CostMeter
    whole: float
    latency: LatencyMeter | None
    units: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Found:
    """Cuts that reach a goal, and what the automatic multiples were divided by for it."""

    reached: Reached
    finer: int


class Search:
    """Cuts of one model; what was cut, counted or judged once is not done again."""

    def __init__(self, model: Model, coupling: Coupling, groups: tuple[Group, ...], goal: Goal, judge: Judge) -> None:
        self._model, self._coupling, self._groups, self._goal, self._judge = model, coupling, groups, goal, judge
        self._counted: dict[object, float] = {}
        self._damage: dict[object, float] = {}

    def find(self, scores: Mapping[str, Scores], settings: PruneSettings) -> Found:
        """Return the least cuts with which the goal is reached, channels rounded as coarsely as it can be.

        Raises:
            PruneError: Not even everything that may be cut reaches it; the message says how far it goes.
        """
        most = OutOfReach(0.0)
        for finer in FINER if settings.multiple == "auto" else FINER[:1]:
            path = self._path(scores, settings, finer)
            found = self._reach(path) if path else OutOfReach(0.0)
            if isinstance(found, Reached):
                return Found(found, finer)
            most = max(most, found, key=lambda each: each.removed)
        raise self._explain(most, settings)

    def _path(self, scores: Mapping[str, Scores], settings: PruneSettings, finer: int) -> tuple[Chunk, ...]:
        rounding, goal = settings.rounding(finer), self._goal
        chunks = {
            group.name: make_chunks(group, scores[group.name], rounding, goal.units.get(group.name))
            for group in self._groups
        }
        costs = goal.meter.unit_costs(self._model, self._groups)
        return make_path(Choice(self._model, self._groups, chunks, costs, self._harm), settings.allocation)

    def _reach(self, path: tuple[Chunk, ...]) -> Reached | OutOfReach:
        latency = self._goal.latency
        if latency is None:
            return reach(path, self._goal.share, self._count)
        return approach(path, self._goal.share, self._count, lambda cuts: latency.removed(self._cut(cuts)))

    def _cut(self, cuts: Cuts) -> Model:
        return cut(self._model, self._coupling, cuts)

    def _count(self, cuts: Cuts) -> float:
        key = tuple(sorted(cuts.items()))
        if key not in self._counted:
            self._counted[key] = 1 - self._goal.meter.count(self._cut(cuts)) / self._goal.whole
        return self._counted[key]

    def _harm(self, cuts: Cuts) -> float:
        key = tuple(sorted(cuts.items()))
        if key not in self._damage:
            self._damage[key] = self._judge.damage(self._cut(cuts) if cuts else self._model)
        return self._damage[key]

    def _explain(self, most: OutOfReach, settings: PruneSettings) -> PruneError:
        amount = self._goal.amount
        what = WORDS[amount.quantity]
        reachable = max(0.0, most.removed)
        limits = [f"floor = {settings.floor:g}"]
        limits += [f"multiple = {settings.multiple}"] if settings.multiple != "auto" else []
        limits += [f"exclude = {list(settings.exclude)}"] if settings.exclude else []
        return PruneError(
            f"{amount} cannot be reached: everything that may be cut with {', '.join(limits)} "
            f"is {100 * reachable:.1f} % of the {what}",
            hint=f"ask for less than {100 * reachable:.0f}%{amount.quantity}, or lower those limits in a recipe's "
            "[prune]; `compress inspect` lists what can be cut and what is protected",
        )


def choose_groups(coupling: Coupling, exclude: tuple[str, ...]) -> tuple[Group, ...]:
    """Return the groups that may be cut: none that is excluded, one view of places that two groups share.

    Heads and the dimensions inside them are two views of one axis; whole heads win.

    Raises:
        PruneError: There are none, or a pattern matches none.
    """
    if not coupling.groups:
        reasons = dict.fromkeys(each.reason for each in coupling.protected)
        shown = f" ({'; '.join(list(reasons)[:3])})" if reasons else ""
        raise PruneError(
            f"nothing in this model can be pruned{shown}",
            hint="run without pruning; `compress inspect` says why each axis is protected",
        )
    names = [group.name for group in coupling.groups]
    for pattern in exclude:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise PruneError(f"exclude: no group is called `{pattern}`", hint=suggest(pattern, names))
    kept = [g for g in coupling.groups if not any(fnmatchcase(g.name, pattern) for pattern in exclude)]
    if not kept:
        raise PruneError(f"nothing is left to prune: {list(exclude)} excludes every group", hint="exclude fewer groups")
    return _one_view(kept)


def _one_view(groups: Iterable[Group]) -> tuple[Group, ...]:
    groups = tuple(groups)
    taken: dict[tuple[str, int], set[int]] = {}
    chosen: set[str] = set()
    for group in sorted(groups, key=lambda each: each.family != "heads"):
        owned = {(part.initializer, part.axis): set(part.positions.ravel().tolist()) for part in group.slices}
        if all(taken.get(place, set()).isdisjoint(positions) for place, positions in owned.items()):
            chosen.add(group.name)
            for place, positions in owned.items():
                taken.setdefault(place, set()).update(positions)
    return tuple(group for group in groups if group.name in chosen)
