"""Metrics: how a model's outputs are scored against the labels, sample by sample."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from compress.data.callables import PREFIX as PYTHON_PREFIX
from compress.data.callables import load_callable
from compress.data.samples import Array
from compress.errors import DataError, suggest

Outputs = Mapping[str, Array]
Rows = NDArray[np.float64]
Unit = Literal["fraction", "value"]
Kind = Literal["proportion", "mean", "aggregate"]


class Metric(Protocol):
    """A score of outputs against labels, kept as one row a sample so that two models can be compared in pairs."""

    @property
    def name(self) -> str:
        """What reports call it."""
        ...

    @property
    def unit(self) -> Unit:
        """``fraction`` for shares (shown as points), ``value`` for anything else."""
        ...

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger number is a better one."""
        ...

    @property
    def needs_labels(self) -> bool:
        """Whether :meth:`score` refuses samples without labels."""
        ...

    @property
    def kind(self) -> Kind:
        """``proportion``: mean of 0s and 1s; ``mean``: mean of numbers; ``aggregate``: only ``reduce`` knows."""
        ...

    def score(self, outputs: Outputs, labels: Array | None) -> Rows:
        """Return one row a sample, [batch, k].

        Raises:
            DataError: Outputs or labels that this metric cannot score.
        """
        ...

    def reduce(self, rows: Rows) -> float:
        """Return the metric of the rows [n, k] of any samples."""
        ...


@dataclass(frozen=True, slots=True)
class TopK:
    """The share of samples whose label is among the ``k`` highest outputs; a tie goes to the lower class number.

    Attributes:
        output: Which output counts; None takes the first.
    """

    k: int
    output: str | None = None
    unit: Unit = "fraction"
    kind: Kind = "proportion"
    higher_is_better: bool = True
    needs_labels: bool = True

    @property
    def name(self) -> str:
        """``top1`` or ``top5``."""
        return f"top{self.k}"

    def score(self, outputs: Outputs, labels: Array | None) -> Rows:
        """Return 1 for a hit and 0 for a miss, [batch, 1]; a sample with a NaN among its outputs is a miss.

        Raises:
            DataError: No labels, labels out of range, outputs not [batch, classes], or fewer than ``k`` classes.
        """
        logits = _class_scores(outputs, self.output, self.name)
        if logits.shape[1] < self.k:
            raise DataError(f"`{self.name}` of {logits.shape[1]} classes is always 1", hint="Use `top1`.")
        wanted = _class_numbers(labels, logits, self.name)[:, np.newaxis]
        own = np.take_along_axis(logits, wanted, axis=1)
        before = np.arange(logits.shape[1]) < wanted
        rank = ((logits > own) | ((logits == own) & before)).sum(axis=1)
        hits = (rank < self.k) & ~np.isnan(logits).any(axis=1)
        return np.asarray(hits, np.float64)[:, np.newaxis]

    def reduce(self, rows: Rows) -> float:
        """Return the share of hits."""
        return float(rows.mean())


@dataclass(frozen=True, slots=True)
class MacroF1:
    """The mean of the F1 scores of all classes that occur among the labels or the predictions."""

    output: str | None = None
    name: str = "f1"
    unit: Unit = "fraction"
    kind: Kind = "aggregate"
    higher_is_better: bool = True
    needs_labels: bool = True

    def score(self, outputs: Outputs, labels: Array | None) -> Rows:
        """Return the predicted and the true class, [batch, 2].

        Raises:
            DataError: No labels, labels out of range, or outputs not [batch, classes].
        """
        logits = _class_scores(outputs, self.output, self.name)
        return np.stack([logits.argmax(axis=1), _class_numbers(labels, logits, self.name)], axis=1).astype(np.float64)

    def reduce(self, rows: Rows) -> float:
        """Return the mean over classes of 2·TP / (2·TP + FP + FN)."""
        predicted, true = rows.astype(np.int64).T
        hits = np.bincount(true[predicted == true], minlength=1 + int(rows.max()))
        occurrences = np.bincount(predicted, minlength=len(hits)) + np.bincount(true, minlength=len(hits))
        present = occurrences > 0
        return float((2 * hits[present] / occurrences[present]).mean())


@dataclass(frozen=True, slots=True)
class MeanSquaredError:
    """The mean squared difference between the output and the labels as targets."""

    output: str | None = None
    name: str = "mse"
    unit: Unit = "value"
    kind: Kind = "mean"
    higher_is_better: bool = False
    needs_labels: bool = True

    def score(self, outputs: Outputs, labels: Array | None) -> Rows:
        """Return the mean squared error of each sample, [batch, 1].

        Raises:
            DataError: No labels, or labels that do not have as many values as the output.
        """
        found = _pick_output(outputs, self.output)
        if labels is None:
            raise _no_labels(self.name)
        if labels.size != found.size or len(labels) != len(found):
            raise DataError(
                f"`mse`: the labels are {list(labels.shape)}, the output is {list(found.shape)}",
                hint="The labels are the targets, of the output's shape.",
            )
        error = found.reshape(len(found), -1).astype(np.float64) - labels.reshape(len(found), -1).astype(np.float64)
        return np.asarray(np.square(error).mean(axis=1, keepdims=True))

    def reduce(self, rows: Rows) -> float:
        """Return the mean of the samples' errors."""
        return float(rows.mean())


@dataclass(frozen=True, slots=True)
class CallableMetric:
    """The mean of what a user's ``callable(outputs, labels)`` returns: one number a sample.

    ``outputs`` are arrays [batch, …] by output name, ``labels`` is an array or None.
    """

    name: str
    function: Callable[..., object]
    higher_is_better: bool = True
    unit: Unit = "value"
    kind: Kind = "mean"
    needs_labels: bool = False

    def score(self, outputs: Outputs, labels: Array | None) -> Rows:
        """Return the callable's values, [batch, 1].

        Raises:
            DataError: The callable raises, or does not return one finite number a sample.
        """
        samples = len(next(iter(outputs.values())))
        try:
            values = np.asarray(self.function(outputs, labels), dtype=np.float64)
        except Exception as error:
            where = inspect.getsourcefile(self.function) if inspect.isfunction(self.function) else None
            raise DataError(
                f"metric `{self.name}` raised {type(error).__name__}: {error}",
                hint=f"It gets (outputs by name, labels or None); look at {where or 'the callable'}.",
            ) from error
        if values.shape not in ((samples,), (samples, 1)) or not np.isfinite(values).all():
            raise DataError(
                f"metric `{self.name}` returned {_describe(values)} for {samples} samples",
                hint=f"Return one finite number a sample: shape [{samples}].",
            )
        return values.reshape(samples, 1)

    def reduce(self, rows: Rows) -> float:
        """Return the mean."""
        return float(rows.mean())


METRICS: dict[str, Callable[[str | None], Metric]] = {
    "top1": lambda output: TopK(1, output),
    "top5": lambda output: TopK(5, output),
    "f1": MacroF1,
    "mse": MeanSquaredError,
}


def load_metric(name: str, base: Path, *, output: str | None = None, lower_is_better: bool = False) -> Metric:
    """Return the metric of that name, or the one that ``python:package.module:callable`` makes.

    Args:
        name: A key of ``METRICS``, or a callable.
        base: The folder that is searched first for a callable's module.
        output: Which output counts; None takes the first. A callable gets all.
        lower_is_better: Only for a callable.

    Raises:
        DataError: No such metric (the hint names the nearest), or no such callable.
    """
    if name.startswith(PYTHON_PREFIX):
        return CallableMetric(name, load_callable(name, base), higher_is_better=not lower_is_better)
    if name not in METRICS:
        raise DataError(f"unknown metric `{name}`", hint=suggest(name, [*METRICS, "python:package.module:callable"]))
    if lower_is_better:
        raise DataError(f"`lower_is_better` does not go with `{name}`", hint="Its direction is known: remove it.")
    return METRICS[name](output)


def _pick_output(outputs: Outputs, name: str | None) -> Array:
    if name is None:
        return next(iter(outputs.values()))
    if name not in outputs:
        raise DataError(f"the model has no output `{name}`", hint=suggest(name, outputs))
    return outputs[name]


def _class_scores(outputs: Outputs, name: str | None, metric: str) -> NDArray[np.float64]:
    logits = _pick_output(outputs, name)
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise DataError(
            f"`{metric}` needs an output [batch, classes], this one is {list(logits.shape)}",
            hint="Name the output that holds the class scores; for numbers use --metric mse, or give a metric as "
            "python:package.module:callable.",
        )
    return logits.astype(np.float64)


def _class_numbers(labels: Array | None, logits: Array, metric: str) -> NDArray[np.int64]:
    if labels is None:
        raise _no_labels(metric)
    if labels.dtype.kind not in "iub" or labels.shape not in ((len(logits),), (len(logits), 1)):
        raise DataError(
            f"`{metric}` needs one class number a sample, the labels are {_describe(labels)}",
            hint="Save the labels as integers [samples]; one-hot labels go through argmax.",
        )
    numbers = labels.reshape(-1).astype(np.int64)
    wrong = numbers[(numbers < 0) | (numbers >= logits.shape[1])]
    if wrong.size:
        raise DataError(
            f"label {wrong[0]} for {logits.shape[1]} classes (0 to {logits.shape[1] - 1})",
            hint="Do the labels belong to this model? Some data sets count from 1.",
        )
    return numbers


def _no_labels(metric: str) -> DataError:
    return DataError(f"metric `{metric}` needs labels, the samples have none", hint="Give labelled evaluation samples.")


def _describe(array: Array) -> str:
    return f"{array.dtype.name}{list(array.shape)}"
