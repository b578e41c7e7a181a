"""Ridge regression from sums: what a linear layer should add to its weight so that less of its output is missing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Penalties on the change that are tried, relative to the mean square of an input."""

_CHOOSING = 64
"""Outputs that choose the penalty where each has a system of equations of its own."""


class Sums:
    """Sums over rows of inputs x [features] and of what is missing of the outputs r [outputs]; rows are not kept."""

    def __init__(self, features: int, outputs: int) -> None:
        self.count = 0
        self.inputs = np.zeros(features)
        self.missing = np.zeros(outputs)
        self.products = np.zeros((features, features))
        self.crossed = np.zeros((features, outputs))
        self.energies = np.zeros(outputs)

    @property
    def energy(self) -> float:
        """Σ ‖r‖² over the rows."""
        return float(self.energies.sum())

    def add(self, inputs: Floats, missing: Floats) -> None:
        """Take in inputs [rows, features] and what is missing [rows, outputs]."""
        self.count += len(inputs)
        self.inputs += inputs.sum(axis=0)
        self.missing += missing.sum(axis=0)
        self.products += inputs.T @ inputs
        self.crossed += inputs.T @ missing
        self.energies += np.square(missing).sum(axis=0)

    def join(self, other: "Sums") -> "Sums":
        """Return the sums over the rows of both."""
        joined = Sums(len(self.inputs), len(self.missing))
        for name in ("count", "inputs", "missing", "products", "crossed", "energies"):
            setattr(joined, name, getattr(self, name) + getattr(other, name))
        return joined

    def narrow(self, outputs: NDArray[np.int64]) -> "Sums":
        """Return the sums for some of the outputs."""
        some = Sums(len(self.inputs), len(outputs))
        some.count, some.inputs, some.products = self.count, self.inputs, self.products
        some.missing, some.energies = self.missing[outputs], self.energies[outputs]
        some.crossed = self.crossed[:, outputs]
        return some

    def after(self, change: "Change") -> "Sums":
        """Return the sums over the same rows of what is missing after a change."""
        weight, bias = change.weight, change.bias
        some = Sums(len(self.inputs), len(self.missing))
        some.count, some.inputs, some.products = self.count, self.inputs, self.products
        spread = weight @ self.products
        moved = self.missing - weight @ self.inputs
        some.missing = moved - self.count * bias
        some.crossed = self.crossed - spread.T - np.outer(self.inputs, bias)
        explained = np.einsum("of,fo->o", weight, 2 * self.crossed) - np.einsum("of,of->o", weight, spread)
        some.energies = np.maximum(0, self.energies - explained - 2 * bias * moved + self.count * np.square(bias))
        return some

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


def solve(sums: Sums, ridge: float, *, with_bias: bool, kept: Mask | None = None) -> Change:
    """Return the Δ and δ that make Σ ‖r - Δ·x - δ‖² + λ‖Δ‖² least; δ is zero without a bias.

    With r the outputs that a cut took away this is the optimal brain surgeon's update for removed inputs: its Hessian
    is that of the layer's squared error, Σ x·xᵀ. The error over these rows is never larger than without the change,
    for any λ.

    Source: Hassibi and Stork, Second order derivatives for network pruning (1992), equation 5; Frantar and Alistarh,
    SparseGPT (2023), equation 2: the least squares over the weights that stay.

    Args:
        sums: Of the layer.
        ridge: λ, relative to the mean square of an input.
        with_bias: Whether the layer has a bias to change.
        kept: Elements [outputs, features] of the weight that may change, where not all may.
    """
    count = max(sums.count, 1)
    mean, missing = (sums.inputs / count, sums.missing / count) if with_bias else (0 * sums.inputs, 0 * sums.missing)
    covariance = sums.products / count - np.outer(mean, mean)
    crossed = sums.crossed / count - np.outer(mean, missing)
    level = float(np.trace(covariance)) / max(len(covariance), 1)
    if not level > 0:
        return Change(np.zeros(sums.crossed.T.shape), missing)
    covariance[np.diag_indices_from(covariance)] += ridge * level
    weight = _solve(covariance, crossed).T if kept is None else _solve_rows(covariance, crossed, kept)
    return Change(weight, missing - weight @ mean)


def _solve(system: Floats, right: Floats) -> Floats:
    from scipy import linalg

    found: Floats = linalg.solve(system, right, assume_a="pos")
    return found


def _solve_rows(covariance: Floats, crossed: Floats, kept: Mask) -> Floats:
    """Return the weight [outputs, features] that is zero where it may not change; equal rows are solved together."""
    weight = np.zeros(kept.shape)
    patterns, owners = np.unique(kept, axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        rows, columns = np.flatnonzero(owners == number), np.flatnonzero(pattern)
        if columns.size:
            found = _solve(covariance[np.ix_(columns, columns)], crossed[np.ix_(columns, rows)])
            weight[np.ix_(rows, columns)] = found.T
    return weight


def fit(
    training: Sums,
    checking: Sums,
    *,
    with_bias: bool,
    kept: Mask | None = None,
    ridges: Sequence[float] = RIDGES,
) -> Change | None:
    """Return the change for all rows with the penalty that is best on rows it was not fitted to; None if none helps.

    Args:
        training: Rows that the candidates are fitted to.
        checking: Rows that choose among them.
        with_bias: Whether the layer has a bias to change.
        kept: Elements [outputs, features] of the weight that may change, where not all may.
        ridges: The penalties to try.
    """
    outputs = np.arange(len(training.missing))
    if kept is not None:
        outputs = outputs[:: -(-len(outputs) // _CHOOSING)]
    first, second = training.narrow(outputs), checking.narrow(outputs)
    some = None if kept is None else kept[outputs]
    errors = {ridge: second.error(solve(first, ridge, with_bias=with_bias, kept=some)) for ridge in ridges}
    best = min(errors, key=lambda ridge: errors[ridge])
    if not errors[best] < second.energy:
        return None
    everything = training.join(checking)
    change = solve(everything, best, with_bias=with_bias, kept=kept)
    return change if everything.error(change) < everything.energy else None
