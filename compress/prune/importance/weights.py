"""Criteria that look at the weights alone: norms, gains of normalisations, distance from the median, chance."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from compress.errors import PruneError
from compress.prune.groups import Group
from compress.prune.importance.evidence import (
    Evidence,
    Scores,
    SliceScores,
    float_weights,
    kernel_slices,
    unit_rows,
)

Rows = NDArray[np.float64]
"""[units, elements]: what each unit owns of one tensor."""

_GAINS: Final = {
    "BatchNormalization": 1, "LayerNormalization": 1, "InstanceNormalization": 1, "GroupNormalization": 1,
    "RMSNormalization": 1, "SimplifiedLayerNormalization": 1, "SkipLayerNormalization": 2,
    "SkipSimplifiedLayerNormalization": 2,
}  # fmt: skip
"""At which input normalisations read their gain."""


def l1(evidence: Evidence) -> Mapping[str, tuple[SliceScores, ...]]:
    """Return Σ|w| over the elements that a unit owns of each kernel.

    Source: Li et al., Pruning filters for efficient ConvNets (2017), section 3.1.
    """
    return _score_rows(evidence, lambda rows: np.abs(rows).sum(axis=1))


def l2(evidence: Evidence) -> Mapping[str, tuple[SliceScores, ...]]:
    """Return √Σw² over the elements that a unit owns of each kernel.

    Source: He et al., Soft filter pruning (2018), equation 2 with p = 2.
    """
    return _score_rows(evidence, lambda rows: np.sqrt(np.square(rows).sum(axis=1)))


def geometric_median(evidence: Evidence) -> Mapping[str, tuple[SliceScores, ...]]:
    """Return Σ_j‖w_i - w_j‖₂ over the other units of each kernel: what lies in the middle can be replaced by the rest.

    Source: He et al., Filter pruning via geometric median (2019), equation 6.
    """
    return _score_rows(evidence, _distances)


def gains(evidence: Evidence) -> Mapping[str, tuple[SliceScores, ...]]:
    """Return |γ| of each normalisation over the units; the L2 norm of its kernels for a group without one.

    Source: Liu et al., Network slimming (2017), section 3.

    Raises:
        PruneError: No group has such a gain (folded into convolutions, as a rule).
    """
    weights = float_weights(evidence.model)
    names = _gain_names(evidence)
    found: dict[str, tuple[SliceScores, ...]] = {}
    for group in evidence.groups:
        slices = [part for part in group.slices if part.initializer in names and part.initializer in weights]
        if slices:
            rows = [(part, unit_rows(weights[part.initializer], part)) for part in slices]
            found[group.name] = tuple(SliceScores(part, np.abs(each).mean(axis=1)) for part, each in rows)
    if not found:
        raise PruneError(
            'importance = "gain": no normalisation with a gain runs over anything that can be cut',
            hint='exporters fold BatchNormalization into convolutions: use importance = "l2"',
        )
    return {**l2(evidence), **found}


def chance(evidence: Evidence) -> Mapping[str, tuple[SliceScores, ...]]:
    """Return numbers drawn from [0, 1) with the seed and the group's name: the control for every other criterion."""
    found: dict[str, tuple[SliceScores, ...]] = {}
    for group in evidence.groups:
        digest = hashlib.sha256(group.name.encode()).digest()
        drawn = np.random.default_rng([evidence.seed, *digest[:8]]).random(group.units)
        found[group.name] = tuple(SliceScores(part, drawn) for part in group.slices[:1])
    return found


def _score_rows(evidence: Evidence, score: Callable[[Rows], Scores]) -> dict[str, tuple[SliceScores, ...]]:
    weights = float_weights(evidence.model)

    def judge(group: Group) -> tuple[SliceScores, ...]:
        slices = kernel_slices(group, weights)
        return tuple(SliceScores(part, score(unit_rows(weights[part.initializer], part))) for part in slices)

    return {group.name: judge(group) for group in evidence.groups}


def _distances(rows: Rows) -> Scores:
    """Return the sum of the distances of each row to all others."""
    squares = np.square(rows).sum(axis=1)
    squared = squares[:, None] + squares[None, :] - 2 * rows @ rows.T
    np.fill_diagonal(squared, 0.0)
    # Rounding may leave tiny negative numbers where rows are equal.
    return np.asarray(np.sqrt(np.maximum(squared, 0.0)).sum(axis=1))


def _gain_names(evidence: Evidence) -> set[str]:
    found = set()
    for node in evidence.model.graph.graph.all_nodes():
        index = _GAINS.get(node.op_type)
        if index is not None and len(node.inputs) > index and (value := node.inputs[index]) is not None:
            found.add(str(value.name))
    return found
