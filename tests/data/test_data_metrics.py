"""Metrics against brute force, and what they refuse."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.data.metrics import METRICS, Metric, load_metric
from compress.data.samples import Array
from compress.errors import DataError

HERE = Path(__file__).parent


def measure(metric: Metric, output: Array, labels: Array | None) -> float:
    return metric.reduce(metric.score({"logits": output}, labels))


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.integers(1, 12), st.integers(5, 9), st.integers(0, 10_000))
def test_top_k_agrees_with_a_stable_sort(samples: int, classes: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    logits = generator.integers(0, 4, (samples, classes)).astype(np.float32)
    labels = generator.integers(0, classes, samples)
    order = np.argsort(-logits, axis=1, kind="stable")
    for k in (1, 5):
        metric = load_metric(f"top{k}", HERE)
        rows = metric.score({"logits": logits}, labels)
        assert rows.shape == (samples, 1)
        expected = [labels[index] in order[index, :k] for index in range(samples)]
        assert rows[:, 0].tolist() == [float(hit) for hit in expected]
        assert metric.reduce(rows) == pytest.approx(np.mean(expected))
    assert measure(load_metric("top1", HERE), logits, labels) == pytest.approx(np.mean(logits.argmax(1) == labels))


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=30))
def test_f1_agrees_with_its_definition(pairs: list[tuple[int, int]]) -> None:
    predicted, true = np.array(pairs).T
    scores = []
    for number in sorted({*predicted.tolist(), *true.tolist()}):
        hits = int(((predicted == number) & (true == number)).sum())
        precision = hits / max(1, int((predicted == number).sum()))
        recall = hits / max(1, int((true == number).sum()))
        scores.append(2 * precision * recall / (precision + recall) if hits else 0.0)
    metric = load_metric("f1", HERE)
    rows = metric.score({"logits": np.eye(6)[predicted]}, true)
    np.testing.assert_array_equal(rows, np.stack([predicted, true], axis=1))
    assert metric.reduce(rows) == pytest.approx(np.mean(scores))


def test_mse_is_the_mean_over_samples_of_the_mean_over_values() -> None:
    generator = np.random.default_rng(0)
    output, target = generator.random((5, 2, 3)).astype(np.float32), generator.random((5, 2, 3))
    metric = load_metric("mse", HERE)
    assert measure(metric, output, target) == pytest.approx(float(np.square(output - target).mean()), rel=1e-6)
    assert measure(metric, np.array([[1.0], [2.0]]), np.array([1, 4])) == 2.0
    assert not metric.higher_is_better
    with pytest.raises(DataError, match=r"the labels are \[5, 2\], the output is \[5, 2, 3\]"):
        metric.score({"y": output}, target[..., 0])
    with pytest.raises(DataError, match="metric `mse` needs labels"):
        metric.score({"y": output}, None)


@pytest.mark.parametrize(
    ("name", "unit", "kind"),
    [
        ("top1", "fraction", "proportion"),
        ("top5", "fraction", "proportion"),
        ("f1", "fraction", "aggregate"),
        ("mse", "value", "mean"),
    ],
)
def test_metrics_say_what_they_are(name: str, unit: str, kind: str) -> None:
    metric = load_metric(name, HERE)
    assert (metric.name, metric.unit, metric.kind, metric.needs_labels) == (name, unit, kind, True)


def test_labels_may_be_a_column_and_of_any_integer_type() -> None:
    logits = np.eye(3, dtype=np.float16)
    for labels in (np.arange(3), np.arange(3)[:, None], np.arange(3).astype(np.uint8)):
        assert measure(load_metric("top1", HERE), logits, labels) == 1.0


def test_an_output_that_is_not_a_number_is_a_miss() -> None:
    logits = np.eye(6)[:2]
    logits[0, 5] = np.nan
    for name in ("top1", "top5"):
        assert load_metric(name, HERE).score({"y": logits}, np.array([0, 1])).tolist() == [[0], [1]]


def test_the_first_output_counts_unless_another_is_named() -> None:
    outputs = {"aux": np.eye(4)[[0, 0]], "main": np.eye(4)[[0, 1]]}
    labels = np.array([0, 1])
    assert load_metric("top1", HERE).score(outputs, labels).sum() == 1
    assert load_metric("top1", HERE, output="main").score(outputs, labels).sum() == 2
    with pytest.raises(DataError, match="no output `mian`") as caught:
        load_metric("f1", HERE, output="mian").score(outputs, labels)
    assert "`main`" in str(caught.value.hint)


@pytest.mark.parametrize("name", ["top1", "top5", "f1"])
@pytest.mark.parametrize(
    ("output", "labels", "message"),
    [
        (np.zeros((2, 10)), np.array([0, 12]), r"label 12 for 10 classes \(0 to 9\)"),
        (np.zeros((2, 10)), np.array([-1, 1]), "label -1 for 10 classes"),
        (np.zeros((2, 10)), np.array([0.0, 1.0]), r"labels are float64\[2\]"),
        (np.zeros((2, 10)), np.eye(10)[:2].astype(int), r"labels are int64\[2, 10\]"),
        (np.zeros((2, 10)), None, "needs labels"),
        (np.zeros((2, 10, 4)), np.array([0, 1]), r"needs an output \[batch, classes\], this one is \[2, 10, 4\]"),
        (np.zeros((2, 1)), np.array([0, 1]), r"this one is \[2, 1\]"),
    ],
)
def test_class_metrics_refuse_what_they_cannot_score(
    name: str, output: Array, labels: Array | None, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        load_metric(name, HERE).score({"y": output}, labels)


def test_top5_of_three_classes_means_nothing() -> None:
    with pytest.raises(DataError, match="`top5` of 3 classes is always 1"):
        load_metric("top5", HERE).score({"y": np.eye(3)}, np.arange(3))


def test_an_unknown_metric_suggests_the_nearest() -> None:
    with pytest.raises(DataError, match="unknown metric `msee`") as caught:
        load_metric("msee", HERE)
    assert "Did you mean `mse`?" in str(caught.value.hint)
    assert all(name in str(caught.value.hint) for name in METRICS)
    with pytest.raises(DataError, match="`lower_is_better` does not go with `mse`"):
        load_metric("mse", HERE, lower_is_better=True)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    (tmp_path / "own_metrics.py").write_text(
        "import numpy as np\n"
        "def distance(outputs, labels):\n    return np.abs(outputs['y'] - labels).max(axis=1)\n"
        "def spread(outputs, labels):\n    assert labels is None\n    return outputs['y'].std(axis=1, keepdims=True)\n"
        "def whole(outputs, labels):\n    return 3.0\n"
        "def broken(outputs, labels):\n    return outputs['z']\n"
        "def nan(outputs, labels):\n    return [float('nan')] * len(outputs['y'])\n"
        "class Kind:\n    def __call__(self, outputs, labels):\n        return outputs['z']\n"
        "instance = Kind()\n"
    )
    return tmp_path


def test_a_callable_scores_each_sample(project: Path) -> None:
    metric = load_metric("python:own_metrics:distance", project, lower_is_better=True)
    rows = metric.score({"y": np.array([[1.0, 2.0], [3.0, 9.0]])}, np.array([[0.0, 0.0], [3.0, 3.0]]))
    assert rows.tolist() == [[2], [6]]
    assert metric.reduce(rows) == 4
    assert (metric.higher_is_better, metric.unit, metric.kind) == (False, "value", "mean")
    unlabelled = load_metric("python:own_metrics:spread", project)
    assert unlabelled.higher_is_better
    assert not unlabelled.needs_labels
    assert unlabelled.score({"y": np.array([[1.0, 3.0]])}, None).tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("whole", r"returned float64\[\] for 2 samples"),
        ("nan", r"returned float64\[2\] for 2 samples"),
        ("broken", "raised KeyError: 'z'"),
        ("instance", "raised KeyError: 'z'"),
    ],
)
def test_a_callable_that_does_not_score_samples_is_named(name: str, message: str, project: Path) -> None:
    metric = load_metric(f"python:own_metrics:{name}", project)
    with pytest.raises(DataError, match=message):
        metric.score({"y": np.zeros((2, 3))}, None)
