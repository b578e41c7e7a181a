"""How much each unit of a group matters: one criterion a function, scores for units, larger is worth more."""

import importlib
from typing import Literal, cast

import numpy as np

from compress.prune.importance.aggregation import Aggregation, Normalisation, aggregate_slices, normalise_scores
from compress.prune.importance.evidence import Criterion, Evidence, Scores

__all__ = ["CRITERIA", "Aggregation", "CriterionName", "Evidence", "Normalisation", "Scores", "score_groups"]

CriterionName = Literal[
    "l1", "l2", "gain", "fpgm", "taylor", "fisher", "activation", "reconstruction", "random"
]  # fmt: skip

CRITERIA: dict[CriterionName, tuple[str, str]] = {
    "l1": ("compress.prune.importance.weights", "l1"),
    "l2": ("compress.prune.importance.weights", "l2"),
    "gain": ("compress.prune.importance.weights", "gains"),
    "fpgm": ("compress.prune.importance.weights", "geometric_median"),
    "taylor": ("compress.prune.importance.gradients", "taylor"),
    "fisher": ("compress.prune.importance.gradients", "fisher"),
    "activation": ("compress.prune.importance.activations", "activation"),
    "reconstruction": ("compress.prune.importance.activations", "reconstruction"),
    "random": ("compress.prune.importance.weights", "chance"),
}
"""Module and function of each criterion; those that need PyTorch are imported only when they are used."""


def score_groups(
    evidence: Evidence,
    criterion: CriterionName,
    *,
    aggregation: Aggregation,
    normalisation: Normalisation,
    unit_costs: dict[str, float],
) -> dict[str, Scores]:
    """Return the scores of each group's units, [units]; infinities where the criterion cannot judge them.

    Args:
        evidence: What the criterion may look at.
        criterion: Its name in :data:`CRITERIA`.
        aggregation: How the slices of a group become one score.
        normalisation: What makes groups comparable.
        unit_costs: By group, what cutting one of its units saves, for a normalisation by cost.

    Raises:
        PruneError: The criterion finds nothing to judge in this graph.
        OperatorError: It needs PyTorch, where the graph cannot run.
    """
    module, function = CRITERIA[criterion]
    judge = cast("Criterion", getattr(importlib.import_module(module), function))
    judged = {name: slices for name, slices in judge(evidence).items() if slices}
    scores = {name: aggregate_slices(slices, aggregation) for name, slices in judged.items()}
    found = normalise_scores(scores, normalisation, unit_costs)
    return {group.name: found.get(group.name, np.full(group.units, np.inf)) for group in evidence.groups}
