from dataclasses import dataclass, field

import numpy as np
import pytest
from fake_engines import FakeSamples, FakeSession

from compress.data.metrics import CallableMetric, MacroF1, MeanSquaredError, Metric, TopK
from compress.data.samples import Description
from compress.measure.accuracy import measure_accuracy
from compress.measure.outcomes import OutcomeCollector
from compress.measure.timings import replay_timings
from compress.report.measurements import RawMeasurements


@dataclass
class DescribedSamples(FakeSamples):
    description: Description = field(default_factory=Description)

    def describe(self) -> Description:
        return self.description


def collect(
    samples: FakeSamples, metric: Metric, *, softmax: bool = False, batch: int = 32, shift: float = 0.5
) -> RawMeasurements:
    """Return the outcomes of an identity and of an engine that adds something to class 0."""

    def finish(x: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> dict[str, object]:
        return {"y": np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) if softmax else x}

    moved = np.array([shift, 0, 0, 0, 0], np.float32)
    collector = OutcomeCollector(metric)
    measure_accuracy(
        FakeSession(finish),  # type: ignore[arg-type]
        FakeSession(lambda x: finish(x + moved)),  # type: ignore[arg-type,return-value,operator]
        samples,
        metric,
        batch=batch,
        measured_on="engine",
        seed=0,
        collector=collector,
    )
    return collector.result(samples)


def test_label_prediction_confidence_and_score_are_kept_for_every_sample(labelled: FakeSamples) -> None:
    found = collect(labelled, TopK(1))
    assert found.samples == len(labelled) == 203
    chances = np.exp(labelled.x) / np.exp(labelled.x).sum(axis=1, keepdims=True)
    assert np.array_equal(found.label, labelled.labels)  # type: ignore[arg-type]
    assert np.array_equal(found.baseline_prediction, labelled.x.argmax(axis=1))  # type: ignore[arg-type]
    assert found.baseline_confidence == pytest.approx(chances.max(axis=1), rel=1e-5)
    assert np.array_equal(found.baseline_score == 1, found.baseline_prediction == found.label)
    assert np.array_equal(found.compressed_score == 1, found.compressed_prediction == found.label)
    assert (found.baseline_prediction != found.compressed_prediction).any()  # type: ignore[union-attr]


def test_outputs_that_are_probabilities_are_not_softmaxed_again(labelled: FakeSamples) -> None:
    logits, chances = collect(labelled, TopK(1)), collect(labelled, TopK(1), softmax=True)
    assert chances.baseline_confidence == pytest.approx(logits.baseline_confidence, rel=1e-5)
    assert chances.compressed_confidence == pytest.approx(logits.compressed_confidence, rel=1e-5)


def test_the_batch_size_does_not_matter(labelled: FakeSamples) -> None:
    small, large = (collect(labelled, TopK(1), batch=batch) for batch in (7, 203))
    assert np.array_equal(small.compressed_confidence, large.compressed_confidence)  # type: ignore[arg-type]
    assert np.array_equal(small.compressed_score, large.compressed_score)  # type: ignore[arg-type]


def test_an_aggregate_metric_keeps_its_rows_and_hits_as_scores(labelled: FakeSamples) -> None:
    found = collect(labelled, MacroF1())
    assert found.baseline_rows is not None
    assert found.baseline_rows.shape == (203, 2)
    assert np.array_equal(found.baseline_score == 1, found.baseline_prediction == found.label)


def test_a_regression_keeps_its_errors_and_no_classes() -> None:
    x = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
    found = collect(FakeSamples(x, np.zeros_like(x)), MeanSquaredError())
    assert found.baseline_score == pytest.approx(np.square(x).mean(axis=1))
    assert found.label is None
    assert found.baseline_prediction is None


def test_class_numbers_that_the_output_does_not_have_are_no_classes(labelled: FakeSamples) -> None:
    metric = CallableMetric("python:m:f", lambda outputs, labels: outputs["y"][:, 0])
    samples = FakeSamples(labelled.x, np.full(203, 7))
    assert collect(samples, metric).baseline_prediction is None
    assert collect(labelled, metric).baseline_prediction is not None


def test_samples_without_labels_keep_predictions_and_made_up_ones_nothing(labelled: FakeSamples) -> None:
    found = collect(FakeSamples(labelled.x), TopK(1))
    assert found.label is None
    assert found.baseline_score is None
    assert found.baseline_prediction is not None
    assert collect(FakeSamples(labelled.x, labelled.labels, synthetic=True), TopK(1)).empty


def test_class_names_slices_and_rounds_are_kept_beside(labelled: FakeSamples) -> None:
    columns = {"camera": ("left",) * 203, "short": ("left",)}
    samples = DescribedSamples(labelled.x, labelled.labels, description=Description(tuple("abcde"), columns))
    found = collect(samples, TopK(1))
    assert found.class_names is not None
    assert found.class_names.tolist() == list("abcde")
    assert set(found.slices) == {"camera"}
    timed = OutcomeCollector(TopK(1)).result(samples, replay_timings([0.1, 0.2], [0.3, 0.4]))
    assert timed.compressed_seconds is not None
    assert timed.compressed_seconds.tolist() == [0.3, 0.4]
