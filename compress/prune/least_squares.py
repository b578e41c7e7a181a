"""Ridge regression from sums: what a linear layer should add to its weight so that less of its output is missing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Penalties on the change that are tried, relative to the mean square of an input."""


class Sums:
    """Sums over rows of inputs x [features] and of what is missing of the outputs r [outputs]; rows are not kept."""

    def __init__(self, features: int, outputs: int) -> None:
        self.count = 0
        self.inputs = np.zeros(features)
        self.missing = np.zeros(outputs)
        self.products = np.zeros((features, features))
        self.crossed = np.zeros((features, outputs))
        self.energy = 0.0

    def add(self, inputs: Floats, missing: Floats) -> None:
        """Take in inputs [rows, features] and what is missing [rows, outputs]."""
        self.count += len(inputs)
        self.inputs += inputs.sum(axis=0)
        self.missing += missing.sum(axis=0)
        self.products += inputs.T @ inputs
        self.crossed += inputs.T @ missing
        self.energy += float(np.vdot(missing, missing))

    def join(self, other: "Sums") -> "Sums":
        """Return the sums over the rows of both."""
        joined = Sums(len(self.inputs), len(self.missing))
        for name in ("count", "inputs", "missing", "products", "crossed", "energy"):
            setattr(joined, name, getattr(self, name) + getattr(other, name))
        return joined

    def error(self, change: "Change") -> float:
        """Return Σ ‖r - Δ·x - δ‖² over the rows: what is still missing after a change."""
        weight, bias = change.weight, change.bias
        explained = np.vdot(weight.T, self.crossed) * 2 - np.vdot(weight @ self.products, weight)
        shifted = 2 * bias @ (self.missing - weight @ self.inputs) - self.count * (bias @ bias)
        return float(self.energy - explained - shifted)


@dataclass(frozen=True, slots=True)
class Change:
    """What is added to a weight [outputs, features] and to a bias [outputs]."""

    weight: Floats
    bias: Floats


def solve(sums: Sums, ridge: float, *, with_bias: bool) -> Change:
    """Return the Δ and δ that make Σ ‖r - Δ·x - δ‖² + λ‖Δ‖² least; δ is zero without a bias.

    With r the outputs that a cut took away this is the optimal brain surgeon's update for removed inputs: its Hessian
    is that of the layer's squared error, Σ x·xᵀ. The error over these rows is never larger than without the change,
    for any λ.

    Source: Hassibi and Stork, Second order derivatives for network pruning (1992), equation 5; Frantar and Alistarh,
    SparseGPT (2023), equation 2: the least squares over the weights that stay.
    """
    from scipy import linalg

    count = max(sums.count, 1)
    mean, missing = (sums.inputs / count, sums.missing / count) if with_bias else (0 * sums.inputs, 0 * sums.missing)
    covariance = sums.products / count - np.outer(mean, mean)
    crossed = sums.crossed / count - np.outer(mean, missing)
    level = float(np.trace(covariance)) / max(len(covariance), 1)
    if not level > 0:
        return Change(np.zeros(sums.crossed.T.shape), missing)
    covariance[np.diag_indices_from(covariance)] += ridge * level
    weight: Floats = linalg.solve(covariance, crossed, assume_a="pos").T
    return Change(weight, missing - weight @ mean)


def fit(training: Sums, checking: Sums, *, with_bias: bool, ridges: Sequence[float] = RIDGES) -> Change | None:
    """Return the change for all rows with the penalty that is best on rows it was not fitted to; None if none helps.

    Args:
        training: Rows that the candidates are fitted to.
        checking: Rows that choose among them.
        with_bias: Whether the layer has a bias to change.
        ridges: The penalties to try.
    """
    errors = {ridge: checking.error(solve(training, ridge, with_bias=with_bias)) for ridge in ridges}
    best = min(errors, key=lambda ridge: errors[ridge])
    if not errors[best] < checking.energy:
        return None
    everything = training.join(checking)
    change = solve(everything, best, with_bias=with_bias)
    return change if everything.error(change) < everything.energy else None
