from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest
from fake_engines import FakeSamples, FakeSession
from numpy.typing import NDArray

from compress.data.metrics import MacroF1, MeanSquaredError, Metric, TopK
from compress.data.samples import Array
from compress.errors import CompressError, DataError
from compress.measure.accuracy import measure_accuracy
from compress.report.record import Accuracy, Fidelity


@dataclass(frozen=True)
class FirstValue:
    """A metric that needs no labels: the mean of each sample's first value."""

    name: str = "first"
    unit: Literal["value"] = "value"
    higher_is_better: bool = True
    needs_labels: bool = False
    kind: Literal["mean"] = "mean"

    def score(self, outputs: Mapping[str, Array], labels: Array | None) -> NDArray[np.float64]:
        return outputs["y"][:, :1].astype(np.float64)

    def reduce(self, rows: NDArray[np.float64]) -> float:
        return float(rows.mean())


def original() -> FakeSession:
    return FakeSession(lambda x: {"y": x})


def shifted(amount: float) -> FakeSession:
    """Return an engine that adds something to the first class."""
    return FakeSession(lambda x: {"y": x + np.array([amount, 0, 0, 0, 0], np.float32)})


def measure(
    baseline: FakeSession, compressed: FakeSession, samples: FakeSamples, metric: Metric, batch: int = 32
) -> tuple[Accuracy | None, Fidelity]:
    return measure_accuracy(baseline, compressed, samples, metric, batch=batch, measured_on="engine", seed=0)


def known(result: tuple[Accuracy | None, Fidelity]) -> Accuracy:
    assert result[0] is not None
    return result[0]


def test_top1_is_compared_sample_by_sample_with_its_interval(labelled: FakeSamples) -> None:
    assert labelled.labels is not None
    found = known(measure(original(), shifted(0.7), labelled, TopK(1)))
    right = labelled.x.argmax(axis=1) == labelled.labels
    right_after = (labelled.x + np.array([0.7, 0, 0, 0, 0], np.float32)).argmax(axis=1) == labelled.labels
    assert found.baseline == pytest.approx(right.mean())
    assert found.compressed == pytest.approx(right_after.mean())
    assert found.drop == pytest.approx(right.mean() - right_after.mean())
    assert found.interval[0] < found.drop < found.interval[1]
    assert found.method == "Tango's paired score interval"
    assert found.p_value is not None
    assert (found.samples, found.metric, found.unit, found.measured_on) == (203, "top1", "fraction", "engine")


def test_the_result_does_not_depend_on_the_batch_size(labelled: FakeSamples) -> None:
    small, large = (measure(original(), shifted(0.3), labelled, TopK(1), batch) for batch in (7, 203))
    assert small[0] == large[0]
    assert small[1].sqnr_db == pytest.approx(large[1].sqnr_db)


def test_both_engines_see_each_batch_once(labelled: FakeSamples) -> None:
    first, second = original(), original()
    measure(first, second, labelled, TopK(1), batch=100)
    assert first.sizes == second.sizes == [100, 100, 3]


def test_an_engine_equal_to_the_original_loses_nothing(labelled: FakeSamples) -> None:
    found, fidelity = measure(original(), original(), labelled, TopK(1))
    assert found is not None
    assert (found.drop, found.p_value) == (0, 1)
    assert found.interval[0] < 0 < found.interval[1]
    assert (fidelity.sqnr_db, fidelity.agreement, fidelity.max_abs_error) == (None, 1.0, 0.0)


def test_an_error_that_grows_is_a_positive_drop() -> None:
    x = np.random.default_rng(1).normal(size=(50, 5)).astype(np.float32)
    samples = FakeSamples(x, labels=x.copy())
    found = known(measure(original(), shifted(0.5), samples, MeanSquaredError()))
    assert (found.baseline, found.unit) == (0, "value")
    assert found.compressed == pytest.approx(0.25 / 5, rel=1e-4)
    assert found.drop == pytest.approx(found.compressed)
    assert 0 < found.interval[0] <= found.drop <= found.interval[1]
    assert found.p_value is None


def test_an_error_that_shrinks_is_a_negative_drop() -> None:
    x = np.random.default_rng(1).normal(size=(50, 5)).astype(np.float32)
    found = known(measure(shifted(0.5), original(), FakeSamples(x, labels=x.copy()), MeanSquaredError()))
    assert found.interval[0] <= found.drop <= found.interval[1] < 0


def test_an_aggregate_metric_gets_a_bootstrap_interval(labelled: FakeSamples) -> None:
    found = known(measure(original(), shifted(3.0), labelled, MacroF1()))
    assert "BCa bootstrap" in found.method
    assert found.interval[0] <= found.drop <= found.interval[1]
    assert found == known(measure(original(), shifted(3.0), labelled, MacroF1()))


def test_many_samples_get_the_percentile_bootstrap() -> None:
    x = np.random.default_rng(1).normal(size=(2001, 5)).astype(np.float32)
    found = known(measure(original(), shifted(0.1), FakeSamples(x), FirstValue(), batch=1000))
    assert "percentile bootstrap" in found.method
    assert found.drop == pytest.approx(-0.1, abs=1e-6)


def test_without_labels_only_the_fidelity_is_known(labelled: FakeSamples) -> None:
    accuracy, fidelity = measure(original(), shifted(0.7), FakeSamples(labelled.x), TopK(1))
    assert accuracy is None
    assert fidelity.samples == 203
    assert fidelity.agreement is not None
    assert fidelity.agreement < 1


def test_made_up_samples_never_give_an_accuracy(labelled: FakeSamples) -> None:
    samples = FakeSamples(labelled.x, labels=labelled.labels, synthetic=True)
    for metric in (TopK(1), FirstValue()):
        accuracy, fidelity = measure(original(), shifted(0.7), samples, metric)
        assert accuracy is None
        assert fidelity.synthetic


def test_progress_counts_samples_to_the_last_one(labelled: FakeSamples) -> None:
    told: list[tuple[int, int]] = []
    measure_accuracy(
        original(),
        original(),
        labelled,
        TopK(1),
        batch=100,
        measured_on="simulated",
        seed=0,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(100, 203), (200, 203), (203, 203)]


def test_one_sample_gives_no_interval_of_a_mean() -> None:
    with pytest.raises(DataError, match="one sample: no interval of `first`") as caught:
        measure(original(), original(), FakeSamples(np.ones((1, 5), np.float32)), FirstValue())
    assert "at least two samples" in str(caught.value.hint)


def test_an_empty_set_is_refused() -> None:
    with pytest.raises(DataError, match="empty"):
        measure(original(), original(), FakeSamples(np.ones((0, 5), np.float32)), TopK(1))


def test_an_engine_whose_output_is_not_finite_is_named(labelled: FakeSamples) -> None:
    def broken(x: Array) -> dict[str, Array]:
        y = np.array(x, np.float32)
        y[np.abs(y - labelled.x[150]).max(axis=1) == 0, 2] = np.nan
        return {"y": y}

    with pytest.raises(CompressError, match=r"the compressed engine gives nan in output `y` for sample 150"):
        measure(original(), FakeSession(broken), labelled, TopK(1))
    with pytest.raises(CompressError, match=r"the original model gives nan in output `y` for sample 150") as caught:
        measure(FakeSession(broken), FakeSession(broken), labelled, TopK(1))
    assert "transforms" in str(caught.value.hint)
