"""Which weights become zero when the others can make up for them: the choice of SparseGPT, by the inputs' Hessian."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from compress.prune.least_squares import Floats, Mask
from compress.prune.sparsity import Pattern

DAMPING = 0.01
"""What is added to the Hessian's diagonal, relative to its mean; SparseGPT's own value."""

_CHUNK = 128
"""Columns among which zeros are chosen at once; SparseGPT's block size for masks."""

Pick = Callable[[Floats], Mask]


def choose_kept(weight: Floats, hessian: Floats, pattern: Pattern, dropped: float) -> Mask:
    """Return which elements [outputs, features] of a weight stay.

    Columns are taken in order, a chunk at a time: what costs the layer's output least goes, and what is missing then is
    spread over the columns that come after, before the next chunk is looked at. A block of a pattern costs what its
    elements cost together.

    Source: Frantar and Alistarh, SparseGPT (2023), algorithm 1 and section 3.2 (adaptive mask selection).

    Args:
        weight: [outputs, features], features in runs and blocks as the pattern counts them.
        hessian: Σ x·xᵀ of the features [features, features].
        pattern: Of the zeros.
        dropped: Share of the elements that go; ``N:M`` patterns have their own and ignore it.
    """
    if pattern.form == "of":
        return _walk(weight, hessian, pattern.columns, lambda costs: _keep_of_run(costs, pattern.kept))
    width = pattern.columns * max(1, _CHUNK // pattern.columns)
    return _walk(weight, hessian, width, lambda costs: _keep_blocks(costs, pattern, dropped))


def _walk(weight: Floats, hessian: Floats, width: int, pick: Pick) -> Mask:
    factor = _inverse_factor(hessian)
    weight = weight.copy()
    kept = np.ones(weight.shape, np.bool_)
    for start in range(0, weight.shape[1], width):
        part = slice(start, min(start + width, weight.shape[1]))
        kept[:, part] = pick(np.square(weight[:, part] / np.diag(factor)[part]))
        errors = np.zeros((len(weight), part.stop - start))
        for column in range(start, part.stop):
            errors[:, column - start] = np.where(kept[:, column], 0, weight[:, column] / factor[column, column])
            weight[:, column : part.stop] -= np.outer(errors[:, column - start], factor[column, column : part.stop])
        weight[:, part.stop :] -= errors @ factor[part, part.stop :]
    return kept


def _inverse_factor(hessian: Floats) -> Floats:
    """Return the upper U with Uᵀ·U = (H + damping)⁻¹: its row i tells how later columns make up for column i."""
    from scipy import linalg

    level = float(np.trace(hessian)) / len(hessian) or 1.0
    damped = hessian + DAMPING * level * np.eye(len(hessian))
    inverse = linalg.cho_solve(linalg.cho_factor(damped), np.eye(len(hessian)))
    return np.asarray(linalg.cholesky(inverse, lower=False), np.float64)


def _keep_of_run(costs: Floats, kept: int) -> Mask:
    """Return the mask [outputs, run] of the dearest of a run; of equal ones the first."""
    rank = np.argsort(np.argsort(-costs, axis=1, kind="stable"), axis=1, kind="stable")
    return np.asarray(rank < kept)


def _keep_blocks(costs: Floats, pattern: Pattern, dropped: float) -> Mask:
    """Return the mask [outputs, columns] without the cheapest blocks."""
    rows, columns = costs.shape[0] // pattern.rows, costs.shape[1] // pattern.columns
    blocks = costs.reshape(rows, pattern.rows, columns, pattern.columns).sum(axis=(1, 3)).reshape(-1)
    kept = np.ones(len(blocks), np.bool_)
    kept[np.argsort(blocks, kind="stable")[: round(dropped * len(blocks))]] = False
    wide: NDArray[np.bool_] = kept.reshape(rows, columns).repeat(pattern.rows, axis=0).repeat(pattern.columns, axis=1)
    return wide
