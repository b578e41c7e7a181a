"""What a mixed-precision engine has to keep, each as an excess over its budget that samples estimate."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from compress.data.metrics import Metric
from compress.data.samples import Array
from compress.measure.statistics import (
    Estimate,
    Floats,
    PairedTable,
    paired_bootstrap,
    paired_difference,
    proportion,
)

Outputs = Mapping[str, Array]

_RESAMPLES: Final = 500
_TINY: Final = float(np.finfo(np.float64).tiny)


class Goal(Protocol):
    """A budget of one kind of loss."""

    @property
    def name(self) -> str:
        """What is kept, in words."""
        ...

    def rows(self, original: Outputs, candidate: Outputs, labels: Array | None) -> Floats:
        """Return what is kept of each sample of a batch, [batch, k]."""
        ...

    def excess(self, rows: Floats, confidence: float) -> Estimate:
        """Return by how much the loss on rows [n, k] is above the budget, with its interval; 0 or less is within."""
        ...


@dataclass(frozen=True, slots=True)
class SignalGoal:
    """A signal-to-noise ratio of at least ``decibels``: mean(error - allowed share of the signal) is 0 or less.

    The interval is Student's, of the mean of the samples' differences, relative to the mean signal.
    """

    decibels: float

    @property
    def name(self) -> str:
        """In words."""
        return f"SQNR of at least {self.decibels:g} dB"

    def rows(self, original: Outputs, candidate: Outputs, labels: Array | None) -> Floats:  # noqa: ARG002
        """Return error and signal power of each sample, [batch, 2]."""
        return powers(original, candidate)

    def excess(self, rows: Floats, confidence: float) -> Estimate:
        """Return the error above what is allowed, as a share of the signal."""
        from scipy.stats import t

        signal = max(float(rows[:, 1].mean()), _TINY)
        beyond = (rows[:, 0] - 10 ** (-self.decibels / 10) * rows[:, 1]) / signal
        value, n = float(beyond.mean()), len(beyond)
        spread = float(beyond.std(ddof=1)) / math.sqrt(n) if n > 1 else math.inf
        half = spread * float(t.ppf(0.5 + confidence / 2, max(n - 1, 1)))
        return Estimate(value, value - half, value + half, confidence, "Student's interval")


@dataclass(frozen=True, slots=True)
class AgreementGoal:
    """At least this share of the samples gets the same class."""

    share: float

    @property
    def name(self) -> str:
        """In words."""
        return f"agreement of at least {100 * self.share:g} %"

    def rows(self, original: Outputs, candidate: Outputs, labels: Array | None) -> Floats:  # noqa: ARG002
        """Return 1 for each sample whose classes are all the same, [batch, 1]."""
        return agreements(original, candidate)

    def excess(self, rows: Floats, confidence: float) -> Estimate:
        """Return the share of disagreements above what is allowed."""
        found = proportion(int(rows.sum()), len(rows), confidence=confidence)
        return _turned(found, self.share)


@dataclass(frozen=True, slots=True)
class DropGoal:
    """A metric loses at most ``budget``, on labelled samples, in the metric's own unit."""

    metric: Metric
    budget: float

    @property
    def name(self) -> str:
        """In words."""
        budget = f"{100 * self.budget:g} points" if self.metric.unit == "fraction" else f"{self.budget:g}"
        return f"drop of {self.metric.name} of at most {budget}"

    def rows(self, original: Outputs, candidate: Outputs, labels: Array | None) -> Floats:
        """Return the scores of both, [batch, 2 k]."""
        both = [np.asarray(self.metric.score(each, labels), np.float64) for each in (original, candidate)]
        return np.concatenate([scores.reshape(len(scores), -1) for scores in both], axis=1)

    def excess(self, rows: Floats, confidence: float) -> Estimate:
        """Return the paired drop above the budget."""
        first, second = np.split(rows, 2, axis=1)
        if self.metric.kind == "proportion":
            table = PairedTable.from_rows(first[:, 0], second[:, 0])
            found = paired_difference(table, confidence=confidence)
        elif len(rows) < 2:
            found = Estimate(
                self.metric.reduce(first) - self.metric.reduce(second), -math.inf, math.inf, confidence, ""
            )
        else:
            found = paired_bootstrap(
                first, second, self.metric.reduce, seed=0, confidence=confidence, resamples=_RESAMPLES
            )
        if not self.metric.higher_is_better:
            found = Estimate(-found.value, -found.high, -found.low, confidence, found.method)
        return _shifted(found, self.budget)


@dataclass(frozen=True, slots=True)
class ExpectedDropGoal:
    """The accuracy is expected to drop by at most ``budget``, without labels.

    Were the original's shares of classes true, an engine that answers with another class would be right with that
    class's share instead of the largest one; the mean of the difference is the drop to be expected. It never falls
    below 0, and an overconfident original makes it larger than the true one: it errs on the safe side.

    The interval is the empirical Bernstein bound for values between 0 and 1.

    Source: A. Maurer, M. Pontil, "Empirical Bernstein bounds and sample-variance penalization", COLT 2009, theorem 4.
    """

    budget: float

    @property
    def name(self) -> str:
        """In words."""
        return f"expected drop of at most {100 * self.budget:g} points"

    def rows(self, original: Outputs, candidate: Outputs, labels: Array | None) -> Floats:  # noqa: ARG002
        """Return the share that each sample loses, [batch, 1]."""
        lost: Floats | None = None
        for name, scores in classifying(original):
            shares = class_shares(scores)
            chosen = np.asarray(candidate[name]).argmax(axis=1)[:, np.newaxis]
            here = shares.max(axis=1) - np.take_along_axis(shares, chosen, axis=1)[:, 0]
            lost = here if lost is None else np.maximum(lost, here)
        assert lost is not None  # noqa: S101 - the goal is chosen for outputs that classify
        return lost[:, np.newaxis]

    def excess(self, rows: Floats, confidence: float) -> Estimate:
        """Return the expected drop above the budget."""
        values, n = rows[:, 0], len(rows)
        value = float(values.mean())
        variance = float(values.var(ddof=1)) if n > 1 else 1.0
        term = math.log(4.0 / (1.0 - confidence))  # theorem 4 with half of the error on each side
        half = math.sqrt(2.0 * variance * term / n) + 7.0 * term / (3.0 * max(n - 1, 1))
        found = Estimate(value, max(0.0, value - half), min(1.0, value + half), confidence, "empirical Bernstein bound")
        return _shifted(found, self.budget)


def classifying(outputs: Outputs) -> list[tuple[str, NDArray[np.float64]]]:
    """Return the outputs [batch, classes], by name, in float64."""
    return [
        (name, np.asarray(array, np.float64))
        for name, array in outputs.items()
        if array.ndim == 2 and array.shape[1] > 1 and np.issubdtype(array.dtype, np.floating)
    ]


def class_shares(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return shares of classes [batch, classes]: the scores themselves where they are shares, else their softmax."""
    if scores.min() >= 0 and np.allclose(scores.sum(axis=1), 1.0, atol=1e-3):
        return scores
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def powers(original: Outputs, candidate: Outputs) -> Floats:
    """Return error and signal power of each sample over all float outputs, [batch, 2]."""
    total: Floats | None = None
    for name, array in original.items():
        if not np.issubdtype(array.dtype, np.floating):
            continue
        first = np.asarray(array, np.float64).reshape(len(array), -1)
        second = np.asarray(candidate[name], np.float64).reshape(len(array), -1)
        here = np.stack([((first - second) ** 2).sum(axis=1), (first**2).sum(axis=1)], axis=1)
        total = here if total is None else total + here
    assert total is not None  # noqa: S101 - a model without float outputs is refused before
    return total


def agreements(original: Outputs, candidate: Outputs) -> Floats:
    """Return 1 for each sample whose every output [batch, classes] has the same arg-max, else 0: [batch, 1]."""
    size = len(next(iter(original.values())))
    same = np.ones(size, np.bool_)
    for name, scores in classifying(original):
        same &= scores.argmax(axis=1) == np.asarray(candidate[name]).argmax(axis=1)
    return same.astype(np.float64)[:, np.newaxis]


def _shifted(found: Estimate, budget: float) -> Estimate:
    return Estimate(found.value - budget, found.low - budget, found.high - budget, found.confidence, found.method)


def _turned(found: Estimate, least: float) -> Estimate:
    return Estimate(least - found.value, least - found.high, least - found.low, found.confidence, found.method)
