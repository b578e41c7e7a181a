"""In which order units go: one path through all that may be cut, of which a target takes as much as it needs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

import numpy as np

from compress.model import Model
from compress.prune.groups import Cuts, Group
from compress.prune.importance.evidence import Scores
from compress.prune.rounding import Rounding

AllocationName = Literal["uniform", "global", "isomorphic", "sensitivity"]

Damage = Callable[[Cuts], float]
"""Returns how far the outputs of the model with some cuts are from the teacher's: 0 is equal."""

SHARES: Final = (0.25, 0.5, 0.75)
"""Of what may be cut of a group: where its sensitivity is measured."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """The smallest cut of a group that keeps its rounding: the least important units that are left.

    Attributes:
        group: Its name.
        units: Ascending.
        share: Of the group's units that are gone after it.
        importance: Mean score of the units, raised to that of the chunk before where it is less.
    """

    group: str
    units: tuple[int, ...]
    share: float
    importance: float


@dataclass(frozen=True, slots=True)
class Choice:
    """What an allocation chooses from.

    Attributes:
        model: The graph that the groups are of.
        groups: Those that may be cut.
        chunks: Of each group, in the order in which they go.
        unit_costs: By group, what cutting one of its units saves, in units of the target.
        damage: For ``sensitivity``.
    """

    model: Model
    groups: tuple[Group, ...]
    chunks: Mapping[str, tuple[Chunk, ...]]
    unit_costs: Mapping[str, float]
    damage: Damage


def make_chunks(group: Group, scores: Scores, rounding: Rounding, original: int | None = None) -> tuple[Chunk, ...]:
    """Return the cuts of one group, least important units first; none where a score is not finite.

    The same number goes from each block.
    """
    if not np.isfinite(scores).all():
        return ()
    blocks = np.arange(group.units).reshape(group.blocks, -1)
    order = np.take_along_axis(blocks, np.argsort(scores[blocks], axis=1, kind="stable"), axis=1)
    chunks: list[Chunk] = []
    importance = -np.inf
    for before, after in pairwise(rounding.levels(group, original)):
        gone = [(group.units - left) // group.blocks for left in (before, after)]
        units = order[:, gone[0] : gone[1]].reshape(-1)
        importance = max(importance, float(scores[units].mean()))
        share = 1 - after / group.units
        chunks.append(Chunk(group.name, tuple(sorted(units.tolist())), share, importance))
    return tuple(chunks)


def make_path(choice: Choice, allocation: AllocationName) -> tuple[Chunk, ...]:
    """Return all chunks in the order in which they are cut; those of one group keep theirs."""
    keys = ALLOCATIONS[allocation](choice)
    ranked = [
        (key, position, index, chunk)
        for position, group in enumerate(choice.groups)
        for index, (key, chunk) in enumerate(zip(keys[group.name], choice.chunks[group.name], strict=True))
    ]
    return tuple(chunk for *_, chunk in sorted(ranked, key=lambda each: each[:3]))


def cuts_of(path: Sequence[Chunk]) -> dict[str, tuple[int, ...]]:
    """Return the cuts of the first chunks of a path taken together."""
    units: dict[str, list[int]] = {}
    for chunk in path:
        units.setdefault(chunk.group, []).extend(chunk.units)
    return {name: tuple(sorted(each)) for name, each in units.items()}


Keys = Mapping[str, list[float]]
"""By group, a number for each chunk, not descending; chunks with smaller numbers go first."""


def uniform(choice: Choice) -> Keys:
    """Return keys with which each group loses the same share of its units."""
    return {name: [chunk.share for chunk in chunks] for name, chunks in choice.chunks.items()}


def by_threshold(choice: Choice) -> Keys:
    """Return keys with which one threshold of importance holds for all groups."""
    return {name: [chunk.importance for chunk in chunks] for name, chunks in choice.chunks.items()}


def isomorphic(choice: Choice) -> Keys:
    """Return keys with which each family of equal groups loses the same share, by one threshold within the family.

    Groups are equal where the same operators read weights of the same shapes along the same axes.

    Source: Fang et al., Isomorphic pruning for vision models (2024), section 3.2.
    """
    readers = _operators(choice.model)
    families: dict[object, list[Group]] = {}
    for group in choice.groups:
        families.setdefault(_signature(group, choice.model, readers), []).append(group)
    keys: dict[str, list[float]] = {}
    for family in families.values():
        chunks = [(chunk.importance, place, index) for place, group in enumerate(family)
                  for index, chunk in enumerate(choice.chunks[group.name])]  # fmt: skip
        whole, gone = sum(group.units for group in family), 0
        for _, place, index in sorted(chunks):
            name = family[place].name
            gone += len(choice.chunks[name][index].units)
            keys.setdefault(name, []).append(gone / whole)
    return {group.name: keys.get(group.name, []) for group in choice.groups}


def by_sensitivity(choice: Choice) -> Keys:
    """Return keys with which the damage for what a cut saves is the same in all groups.

    Each group is cut alone by some shares and the damage measured on held-out samples; in between it is taken to rise
    in a line. A group never becomes cheaper to cut the more of it is gone.

    Source: Li et al., Pruning filters for efficient ConvNets (2017), section 3.2 (sensitivity of single layers); the
    greedy order by damage for what is saved is that of the fractional knapsack (Dantzig 1957).
    """
    return {group.name: _slopes(choice, group) for group in choice.groups}


ALLOCATIONS: dict[AllocationName, Callable[[Choice], Keys]] = {
    "uniform": uniform,
    "global": by_threshold,
    "isomorphic": isomorphic,
    "sensitivity": by_sensitivity,
}
"""What orders the chunks of all groups."""


def _slopes(choice: Choice, group: Group) -> list[float]:
    chunks = choice.chunks[group.name]
    if not chunks:
        return []
    marks = sorted({max(1, round(share * len(chunks))) for share in SHARES})
    measured = [choice.damage(cuts_of(chunks[:mark])) for mark in (0, *marks)]
    cost = choice.unit_costs.get(group.name, 0.0)
    slopes: list[float] = []
    for (begin, end), (less, more) in zip(pairwise([0, *marks]), pairwise(measured), strict=True):
        saved = cost * sum(len(chunk.units) for chunk in chunks[begin:end])
        slope = max((more - less) / saved if saved > 0 else np.inf, slopes[-1] if slopes else 0.0)
        slopes += [slope] * (end - begin)
    return slopes + [slopes[-1]] * (len(chunks) - len(slopes))


def _operators(model: Model) -> dict[str, tuple[str, ...]]:
    return {
        name: tuple(sorted(node.op_type for node, _ in value.uses()))
        for name, value in model.graph.graph.initializers.items()
    }


def _signature(group: Group, model: Model, readers: Mapping[str, tuple[str, ...]]) -> object:
    initializers = model.graph.graph.initializers
    parts = []
    for part in group.slices:
        constant = initializers[part.initializer].const_value
        shape = () if constant is None else tuple(constant.shape.numpy())
        parts.append((readers[part.initializer], part.role, part.axis, part.width, shape))
    return group.family, group.units, group.blocks, tuple(sorted(parts))
