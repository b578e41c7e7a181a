import numpy as np
import pytest

from compress.data.metrics import TopK
from compress.measure.sequential import decide, plan_looks
from compress.quantize.mixed.goals import AgreementGoal, DropGoal, ExpectedDropGoal, Goal, SignalGoal, class_shares

RNG = np.random.default_rng(0)


def outputs(count: int, classes: int = 10) -> dict[str, np.ndarray]:
    return {"y": RNG.standard_normal((count, classes)).astype(np.float32)}


def noisy(original: dict[str, np.ndarray], decibels: float) -> dict[str, np.ndarray]:
    size = 10 ** (-decibels / 20)
    return {name: (x + size * RNG.standard_normal(x.shape)).astype(np.float32) for name, x in original.items()}


def test_a_signal_goal_is_the_ratio_of_sums() -> None:
    original = outputs(400)
    candidate = noisy(original, 20)
    goal = SignalGoal(20.0)
    error = ((original["y"] - candidate["y"]) ** 2).sum()
    signal = (original["y"] ** 2).sum()
    found = goal.excess(goal.rows(original, candidate, None), 0.95)
    assert found.value == pytest.approx(error / signal - 0.01, abs=1e-6)
    assert found.low < found.value < found.high
    assert SignalGoal(15.0).excess(goal.rows(original, candidate, None), 0.95).high < 0
    assert SignalGoal(25.0).excess(goal.rows(original, candidate, None), 0.95).low > 0


def test_agreement_counts_samples_of_the_same_class() -> None:
    original = outputs(100)
    candidate = {"y": original["y"].copy()}
    candidate["y"][:7] = np.roll(candidate["y"][:7], 1, axis=1)
    goal = AgreementGoal(0.9)
    rows = goal.rows(original, candidate, None)
    assert rows.mean() == pytest.approx(0.93)
    assert goal.excess(rows, 0.95).value == pytest.approx(0.9 - 0.93)
    assert "90 %" in goal.name


def test_a_drop_is_paired_with_labels_and_in_points() -> None:
    original = outputs(200)
    labels = original["y"].argmax(axis=1)
    candidate = {"y": original["y"].copy()}
    candidate["y"][:10] = np.roll(candidate["y"][:10], 1, axis=1)
    goal = DropGoal(TopK(1), 0.02)
    found = goal.excess(goal.rows(original, candidate, labels), 0.95)
    assert found.value == pytest.approx(0.05 - 0.02)
    assert "2 points" in goal.name


class MeanError:
    name, unit, kind, higher_is_better, needs_labels = "mse", "value", "mean", False, True

    def score(self, found: dict[str, np.ndarray], labels: np.ndarray | None) -> np.ndarray:
        assert labels is not None
        return np.asarray(((found["y"] - labels) ** 2).mean(axis=1, keepdims=True), np.float64)

    def reduce(self, rows: np.ndarray) -> float:
        return float(rows.mean())


def test_a_metric_where_less_is_better_loses_by_rising() -> None:
    original = outputs(64)
    candidate = noisy(original, 10)
    goal = DropGoal(MeanError(), 0.01)  # type: ignore[arg-type]
    rows = goal.rows(original, candidate, original["y"])
    assert goal.excess(rows, 0.95).value == pytest.approx(float(rows[:, 1].mean()) - 0.01)
    assert goal.excess(rows, 0.95).low > 0
    one = goal.excess(rows[:1], 0.95)
    assert (one.low, one.high) == (-np.inf, np.inf)
    assert goal.name == "drop of mse of at most 0.01"


def test_an_expected_drop_is_what_the_originals_shares_say() -> None:
    shares = np.array([[0.6, 0.3, 0.1], [0.5, 0.4, 0.1], [0.9, 0.05, 0.05]], np.float32)
    original, candidate = {"y": np.log(shares)}, {"y": np.array([[0, 1, 0], [1, 0, 0], [1, 0, 0]], np.float32)}
    goal = ExpectedDropGoal(0.05)
    rows = goal.rows(original, candidate, None)
    np.testing.assert_allclose(rows[:, 0], [0.3, 0.0, 0.0], atol=1e-6)
    assert goal.excess(rows, 0.95).value == pytest.approx(0.1 - 0.05, abs=1e-6)
    np.testing.assert_allclose(class_shares(shares.astype(np.float64)), shares)


@pytest.mark.parametrize("goal", [ExpectedDropGoal(0.05), AgreementGoal(0.9), SignalGoal(10.0)])
def test_on_the_budget_a_goal_is_rarely_accepted_though_it_is_looked_at_often(goal: Goal) -> None:
    rng = np.random.default_rng(3)
    looks, accepted = plan_looks(256), 0
    for _ in range(100):
        if isinstance(goal, ExpectedDropGoal):
            rows = np.where(rng.random((256, 1)) < 0.25, rng.random((256, 1)) * 0.4, 0.0)  # mean 0.05
        elif isinstance(goal, AgreementGoal):
            rows = (rng.random((256, 1)) < 0.9).astype(np.float64)
        else:
            rows = np.stack([rng.exponential(0.1, 256), np.ones(256)], axis=1)
        for count in looks.counts:
            decision = decide([goal.excess(rows[:count], looks.confidence)])
            if decision != "undecided":
                break
        accepted += decision == "accepted"
    assert accepted / 100 <= 0.06
