"""Runs of channels of which the same number has to be cut: grouped convolutions, group normalisations."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from compress.prune.labels import Ids
from compress.prune.solver import Classes, tie

if TYPE_CHECKING:
    from compress.prune.grouping import Ordered


def block_constraints(classes: Classes, numbers: Ids, ordered: Iterable["Ordered"]) -> dict[int, Ids] | None:
    """Return for groups with blocks, by number, the block of each unit in order; None where classes had to be tied.

    Args:
        classes: Tied where a constraint cannot be said of blocks of units.
        numbers: The group of each class.
        ordered: The classes of each group.
    """
    units = {each.number: each.classes for each in ordered}
    found: dict[int, Ids] = {}
    for rows in classes.labels.blocks:
        of = classes.of[rows]
        for number in np.unique(numbers[of][numbers[of] >= 0]).tolist():
            parts = _parts(of, units[number])
            if parts is None or (parts.size and not _combine(found, number, parts)):
                tie(classes, [(rows[0], row) for row in rows[1:]])
                return None
    return found


def _parts(rows: Ids, units: Ids) -> Ids | None:
    """Return the row in which each unit is; nothing where all rows lose equally much; None where neither holds."""
    unit = np.full(int(max(rows.max(), units.max())) + 1, -1, np.int64)
    unit[units] = np.arange(units.size)
    owner = unit[rows]
    counts = np.zeros((units.size, len(rows)), np.int64)
    row = np.broadcast_to(np.arange(len(rows))[:, None], rows.shape)
    np.add.at(counts, (owner[owner >= 0], row[owner >= 0]), 1)
    if (counts == counts[:, :1]).all():
        return np.empty(0, np.int64)
    where: Ids = counts.argmax(1)
    alone = (counts > 0).sum(1) == 1
    equally = np.bincount(where, minlength=len(rows))
    if not alone.all() or len(set(counts.max(1).tolist())) > 1 or len(set(equally.tolist())) > 1:
        return None
    return where


def _combine(found: dict[int, Ids], number: int, parts: Ids) -> bool:
    """Keep the finer of two partitions of a group's units; return whether it is finer than the other."""
    other = found.setdefault(number, parts)
    fine, coarse = (parts, other) if parts.max() >= other.max() else (other, parts)
    found[number] = fine
    return all(len(set(coarse[fine == block].tolist())) == 1 for block in range(int(fine.max()) + 1))
