import numpy as np
import pytest

from compress.measure.sequential import decide, plan_looks
from compress.measure.statistics import Estimate, PairedTable, paired_difference


def estimate(low: float, high: float) -> Estimate:
    return Estimate((low + high) / 2, low, high, 0.95, "")


def test_looks_double_until_all_samples_are_seen() -> None:
    assert plan_looks(100).counts == (16, 32, 64, 100)
    assert plan_looks(64).counts == (16, 32, 64)
    assert plan_looks(5).counts == (5,)
    assert plan_looks(100, first=50).counts == (50, 100)


def test_the_error_is_shared_among_the_looks() -> None:
    assert plan_looks(5).confidence == pytest.approx(0.95)
    assert plan_looks(100).confidence == pytest.approx(1 - 0.05 / 4)


def test_one_budget_that_is_surely_exceeded_rejects_and_all_must_be_kept_to_accept() -> None:
    within, beyond, open_ = estimate(-0.2, -0.1), estimate(0.1, 0.2), estimate(-0.1, 0.1)
    assert decide([within, within]) == "accepted"
    assert decide([within, open_]) == "undecided"
    assert decide([open_, beyond]) == "rejected"


def stop(rng: np.random.Generator, changed: float, loss: float, budget: float, samples: int) -> tuple[str, int]:
    """Return the decision on a pair whose true drop is known, and after how many samples it came."""
    looks = plan_looks(samples)
    draw = rng.random(samples)
    worse, better = (changed + loss) / 2, (changed - loss) / 2
    first = np.where(draw < worse, 1.0, np.where(draw < changed, 0.0, 1.0))
    second = np.where(draw < worse, 0.0, 1.0)
    assert worse + better == pytest.approx(changed)
    decision, count = "undecided", 0
    for count in looks.counts:
        table = PairedTable.from_rows(first[:count], second[:count])
        found = paired_difference(table, confidence=looks.confidence)
        shifted = Estimate(found.value - budget, found.low - budget, found.high - budget, found.confidence, "")
        decision = decide([shifted])
        if decision != "undecided":
            break
    return decision, count


def test_decisions_are_wrong_at_most_as_often_as_promised() -> None:
    # The true drop lies exactly on the budget: every acceptance is one too many.
    rng = np.random.default_rng(0)
    decisions = [stop(rng, 0.2, 0.1, 0.1, 128)[0] for _ in range(120)]
    assert decisions.count("accepted") / len(decisions) <= 0.05
    assert decisions.count("rejected") / len(decisions) <= 0.05


def test_clear_cases_are_decided_early_and_right() -> None:
    rng = np.random.default_rng(1)
    bad = [stop(rng, 0.5, 0.4, 0.02, 512) for _ in range(30)]
    assert {decision for decision, _ in bad} == {"rejected"}
    assert np.mean([count for _, count in bad]) < 64
    good = [stop(rng, 0.01, 0.0, 0.10, 512) for _ in range(20)]
    assert {decision for decision, _ in good} == {"accepted"}
    assert np.mean([count for _, count in good]) < 512
