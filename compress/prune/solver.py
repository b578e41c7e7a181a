"""Connected components of labels: what is cut together, what stays, and which of several views of an axis is cut."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from compress.prune.labels import INPUT, OUTPUT, Choice, Ids, Labels


@dataclass(slots=True)
class Classes:
    """A partition of the labels.

    Attributes:
        labels: What the rules said.
        of: The class of each label, [labels].
        stays: For each class, whether it must stay.
    """

    labels: Labels
    of: Ids
    stays: NDArray[np.bool_]
    _causes: Ids | None = field(default=None)

    def stay(self, ids: Ids) -> NDArray[np.bool_]:
        """Return for each label whether it must stay."""
        return self.stays[self.of[ids]]

    def reason(self, ids: Ids) -> str:
        """Return why labels stay: the first reason that the first of them that does has."""
        reasons = self._reasons()
        pinned = self.of[ids][self.stay(ids)]
        return reasons[int(self._first_causes(reasons)[pinned[0]])]

    def _reasons(self) -> list[str]:
        return list(dict.fromkeys([OUTPUT, INPUT, *(reason for _, reason in self.labels.pinned)]))

    def _first_causes(self, reasons: list[str]) -> Ids:
        if self._causes is None:
            number = {reason: index for index, reason in enumerate(reasons)}
            causes = np.full(len(self.stays), len(reasons), np.int64)
            for ids, reason in self.labels.pinned:
                np.minimum.at(causes, self.of[ids], number[reason])
            self._causes = causes
        return self._causes


def solve(labels: Labels) -> Classes:
    """Return the classes that follow from what the rules said.

    1. Labels that are equal are one class; a class with a pinned label stays.
    2. A choice with one axis that can be cut follows that one; the others of its axes stay.
    3. Where no choice is left that follows from others, the first one takes its outermost axis (heads, not the
       dimensions of heads), and what follows from it is decided before the next.
    """
    classes = Classes(labels, np.arange(labels.size), np.zeros(labels.size, bool))
    _merge(classes, labels.equal)
    open_choices = list(labels.choices)
    while open_choices:
        waiting = _decide_forced(classes, open_choices)
        if len(waiting) == len(open_choices):
            first = waiting.pop(0)
            outermost = _free_parts(classes, first)[0]
            _carry(classes, [(first, outermost)])
        open_choices = waiting
    return classes


_NOT_CHOSEN = "is the other view of an axis that is cut in another way"
_BLOCKED = "is merged with an axis that stays"


def _decide_forced(classes: Classes, choices: list[Choice]) -> list[Choice]:
    """Decide choices with less than two axes that can be cut, and return the others."""
    waiting: list[Choice] = []
    decided: list[tuple[Choice, int]] = []
    for choice in choices:
        free = _free_parts(classes, choice)
        if len(free) > 1:
            waiting.append(choice)
        elif free:
            decided.append((choice, free[0]))
        else:
            classes.labels.pin(choice.whole, _BLOCKED)
            for ids, _ in choice.parts:
                classes.labels.pin(ids, _BLOCKED)
            decided.append((choice, -1))
    _carry(classes, decided)
    return waiting


def _free_parts(classes: Classes, choice: Choice) -> list[int]:
    if classes.stay(choice.whole).all():
        return []
    return [index for index, (ids, _) in enumerate(choice.parts) if not classes.stay(ids).all()]


def _carry(classes: Classes, decided: list[tuple[Choice, int]]) -> None:
    pairs: list[tuple[Ids, Ids]] = []
    for choice, carrier in decided:
        if carrier < 0:
            continue
        for index, (ids, coordinates) in enumerate(choice.parts):
            if index == carrier:
                pairs.append((choice.whole, ids[coordinates]))
            else:
                classes.labels.pin(ids, _NOT_CHOSEN)
    if decided:
        _merge(classes, pairs)


def tie(classes: Classes, pairs: list[tuple[Ids, Ids]]) -> None:
    """Make classes of labels one, pair by pair."""
    _merge(classes, pairs)


def _merge(classes: Classes, pairs: list[tuple[Ids, Ids]]) -> None:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if pairs:
        one = classes.of[np.concatenate([pair[0] for pair in pairs])]
        other = classes.of[np.concatenate([pair[1] for pair in pairs])]
        count = len(classes.stays)
        graph = coo_matrix((np.ones(one.size, np.int8), (one, other)), shape=(count, count))
        number, renamed = connected_components(graph, directed=False)
        classes.of = renamed.astype(np.int64)[classes.of]
        classes.stays = np.zeros(number, bool)
    classes.stays[classes.of[np.concatenate([ids for ids, _ in classes.labels.pinned] or [np.empty(0, np.int64)])]] = (
        True
    )
