"""What becomes of every sample under both engines, collected batch by batch while accuracy is measured."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.data.metrics import MacroF1, Metric, TopK
from compress.data.preview import take_pictures
from compress.data.samples import Array, SampleSet, describe_samples
from compress.measure.fidelity import Outputs
from compress.measure.statistics import Floats
from compress.measure.timings import Timings
from compress.report.flipped import rank_lost
from compress.report.measurements import RawMeasurements

_SUM_TOLERANCE = 0.01
"""How far from 1 the float outputs of a sample may add up and still be probabilities."""


@dataclass(slots=True)
class OutcomeCollector:
    """Keeps a few numbers a sample: scores, and for classification the label, both predictions, both confidences.

    A sample is classified where the metric counts classes, or where its label is a class number and the output that is
    scored has the shape [batch, classes].
    """

    metric: Metric
    _columns: dict[str, list[NDArray[Any]]] = field(default_factory=dict)
    _classifies: bool | None = None
    _probabilities: bool = False

    def add(self, original: Outputs, engine: Outputs, labels: Array | None, rows: tuple[Floats, Floats] | None) -> None:
        """Take in one batch: both engines' outputs, the labels, and the score rows [batch, k] where there are any."""
        outputs = [_scored_output(self.metric, found) for found in (original, engine)]
        if self._classifies is None:
            self._classifies = _classifies(self.metric, outputs[0], labels)
            self._probabilities = self._classifies and _are_probabilities(outputs[0])
        if self._classifies:
            self._add_classes(outputs, labels)
        if rows is not None:
            self._add_scores(rows)

    def result(self, samples: SampleSet, timings: Timings | None = None) -> RawMeasurements:
        """Return everything collected, with the raw latencies and what the sample set says of its samples."""
        columns: dict[str, Any] = {name: np.concatenate(parts) for name, parts in self._columns.items()}
        count = len(next(iter(columns.values()), ()))
        described = describe_samples(samples)
        slices = {
            name: np.array(values, np.str_) for name, values in described.slices.items() if len(values) == count > 0
        }
        if self._classifies and described.class_names:
            columns["class_names"] = np.array(described.class_names, np.str_)
        if timings is not None:
            columns |= {"baseline_seconds": timings.baseline, "compressed_seconds": timings.compressed}
        raw = RawMeasurements(**columns, slices=slices)
        return replace(raw, pictures=take_pictures(samples, rank_lost(raw)) if len(samples) == raw.samples else {})

    def _add_scores(self, rows: tuple[Floats, Floats]) -> None:
        hits = {}
        for name, found in zip(("baseline", "compressed"), rows, strict=True):
            if found.shape[1] == 1:
                hits[name] = found[:, 0]
                continue
            self._put(f"{name}_rows", found, np.float32)
            # One number a sample of an aggregate metric: whether its class is right, where there are classes.
            predictions, labels = self._columns.get(f"{name}_prediction"), self._columns.get("label")
            if predictions and labels:
                hits[name] = predictions[-1] == labels[-1]
        for name, values in hits.items():
            self._put(f"{name}_score", values, np.float32)

    def _add_classes(self, outputs: list[Array], labels: Array | None) -> None:
        if labels is not None:
            self._put("label", labels.reshape(-1), np.int32)
        for name, found in zip(("baseline", "compressed"), outputs, strict=True):
            scores = found.astype(np.float64)
            predictions = scores.argmax(axis=1)
            chances = scores if self._probabilities else _softmax(scores)
            self._put(f"{name}_prediction", predictions, np.int32)
            self._put(f"{name}_confidence", chances[np.arange(len(chances)), predictions].clip(0, 1), np.float32)

    def _put(self, name: str, values: NDArray[Any], dtype: type[np.generic]) -> None:
        self._columns.setdefault(name, []).append(values.astype(dtype))


def _scored_output(metric: Metric, outputs: Mapping[str, Array]) -> Array:
    name = metric.output if isinstance(metric, TopK | MacroF1) else None
    return next(iter(outputs.values())) if name is None else outputs[name]


def _classifies(metric: Metric, output: Array, labels: Array | None) -> bool:
    if output.ndim != 2 or output.shape[1] < 2 or output.dtype.kind not in "fV":
        return False
    if labels is None:
        return isinstance(metric, TopK | MacroF1)
    if labels.dtype.kind not in "iub" or labels.size != len(output):
        return False
    numbers = labels.astype(np.int64)
    return bool(((numbers >= 0) & (numbers < output.shape[1])).all())


def _are_probabilities(output: Array) -> bool:
    scores = output.astype(np.float64)
    return bool((scores >= 0).all() and (np.abs(scores.sum(axis=1) - 1.0) <= _SUM_TOLERANCE).all())


def _softmax(scores: Floats) -> Floats:
    powers: Floats = np.exp(scores - scores.max(axis=1, keepdims=True))
    chances: Floats = powers / powers.sum(axis=1, keepdims=True)
    return chances
