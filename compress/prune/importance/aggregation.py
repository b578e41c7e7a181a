"""From scores of slices to scores of groups that can be compared with each other."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from compress.prune.importance.evidence import Scores, SliceScores

Aggregation = Literal["sum", "mean", "max", "first"]
"""How the slices of a group become one score."""
Normalisation = Literal["none", "mean", "max", "sum", "gaussian", "parameters", "cost"]
"""What the scores of a group are related to: its own mean, largest, sum or spread; or the cost of each unit."""


def aggregate_slices(slices: Sequence[SliceScores], how: Aggregation) -> Scores:
    """Return one score a unit, [units], from those of the slices.

    ``first`` takes the first slice that makes the units, or the first of all where none does.
    """
    if how == "first":
        makers = [each for each in slices if each.slice.role == "output"]
        return (makers or list(slices))[0].scores
    stacked = np.stack([each.scores for each in slices])
    if how == "max":
        return np.asarray(stacked.max(axis=0))
    return np.asarray(stacked.sum(axis=0) if how == "sum" else stacked.mean(axis=0))


def normalise_scores(
    scores: Mapping[str, Scores], how: Normalisation, unit_costs: Mapping[str, float]
) -> dict[str, Scores]:
    """Return the scores of groups, made comparable.

    Args:
        scores: By group, [units].
        how: See :data:`Normalisation`; the order within a group never changes.
        unit_costs: By group, what cutting one of its units saves; used by ``parameters`` and ``cost``. A group whose
            units cost nothing is worth cutting last.
    """
    return {name: _normalise(each, how, unit_costs.get(name, 0.0)) for name, each in scores.items()}


def _normalise(scores: Scores, how: Normalisation, cost: float) -> Scores:
    if how == "none":
        return scores
    if how == "gaussian":
        return np.asarray((scores - scores.mean()) / _not_zero(scores.std()))
    if how in ("parameters", "cost"):
        return scores / cost if cost > 0 else np.full_like(scores, np.inf)
    related = {"mean": scores.mean(), "max": scores.max(), "sum": scores.sum()}[how]
    return np.asarray(scores / _not_zero(related))


def _not_zero(value: float) -> float:
    return float(value) or 1.0
