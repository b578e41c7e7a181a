import numpy as np
import pytest
from hand_coupled import each
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.prune.groups import Slice
from compress.prune.importance.aggregation import Aggregation, Normalisation, aggregate_slices, normalise_scores
from compress.prune.importance.evidence import SliceScores


def scored(role: str, *scores: float) -> SliceScores:
    return SliceScores(Slice("w", 0, np.array(each(len(scores))), role), np.array(scores))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("how", "expected"), [("sum", [5, 7]), ("mean", [2.5, 3.5]), ("max", [4, 5]), ("first", [4, 2])]
)
def test_slices_become_one_score_a_unit(how: Aggregation, expected: list[float]) -> None:
    slices = [scored("input", 1, 5), scored("output", 4, 2)]
    np.testing.assert_allclose(aggregate_slices(slices, how), expected)


def test_first_is_the_first_slice_of_all_where_none_makes_the_units() -> None:
    np.testing.assert_allclose(aggregate_slices([scored("input", 1, 5), scored("input", 2, 3)], "first"), [1, 5])


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("none", [1, 2, 3]),
        ("mean", [0.5, 1, 1.5]),
        ("max", [1 / 3, 2 / 3, 1]),
        ("sum", [1 / 6, 1 / 3, 1 / 2]),
        ("gaussian", [-np.sqrt(1.5), 0, np.sqrt(1.5)]),
        ("parameters", [0.1, 0.2, 0.3]),
        ("cost", [0.1, 0.2, 0.3]),
    ],
)
def test_scores_are_related_to_their_group_or_to_what_a_unit_costs(how: Normalisation, expected: list[float]) -> None:
    found = normalise_scores({"a": np.array([1.0, 2.0, 3.0])}, how, {"a": 10.0})
    np.testing.assert_allclose(found["a"], expected, atol=1e-12)


def test_units_that_cost_nothing_are_left_alone() -> None:
    assert np.isinf(normalise_scores({"a": np.ones(2)}, "cost", {})["a"]).all()


def test_scores_of_zero_stay_zero() -> None:
    for how in ("mean", "max", "sum", "gaussian"):
        assert normalise_scores({"a": np.zeros(3)}, how, {})["a"].tolist() == [0, 0, 0]


@settings(deadline=None, derandomize=True, max_examples=50)
@given(
    st.lists(st.floats(0, 1e6), min_size=2, max_size=20),
    st.sampled_from(["none", "mean", "max", "sum", "gaussian", "parameters", "cost"]),
)
def test_the_order_within_a_group_stays(values: list[float], how: Normalisation) -> None:
    scores = np.array(values)
    found = normalise_scores({"a": scores}, how, {"a": 3.0})["a"]
    ordered = found[np.argsort(scores, kind="stable")]
    assert (np.diff(ordered) >= 0).all()
