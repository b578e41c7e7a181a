import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.errors import UsageError
from compress.prune.allocation import Chunk, cuts_of
from compress.prune.amount import Amount, parse_amount
from compress.prune.budget import MEASUREMENTS, TOLERANCE, OutOfReach, Reached, approach, reach
from compress.prune.groups import Cuts

PATH = tuple(Chunk("g", (unit,), (unit + 1) / 100, float(unit)) for unit in range(100))


def gone(cuts: Cuts) -> int:
    return len(cuts.get("g", ()))


def test_an_amount_is_a_share_and_a_quantity() -> None:
    assert parse_amount("50%macs") == Amount(0.5, "macs")
    assert parse_amount(" 37.5 % PARAMS ") == Amount(0.375, "params")
    assert [str(parse_amount(text)) for text in ("30%latency", "12.5%bytes")] == ["30%latency", "12.5%bytes"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("150%macs", "150 % cannot be removed"),
        ("100%macs", "100 % cannot be removed"),
        ("0%macs", "0 % cannot be removed"),
        ("50%foo", "nothing called `foo`"),
        ("half", "`half` is not an amount"),
        ("", "is not an amount"),
        ("50", "is not an amount"),
        ("-5%macs", "is not an amount"),
        ("nan%macs", "is not an amount"),
    ],
)
def test_a_wrong_amount_is_named_with_the_forms_that_work(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse_amount(text)
    assert "50%macs" in str(caught.value.hint)
    assert caught.value.exit_code == 2


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 100)), min_size=1, max_size=30), st.floats(0.01, 0.99))
def test_a_share_is_reached_and_one_chunk_less_of_any_group_would_not_reach_it(
    weights: list[tuple[str, int]], share: float
) -> None:
    path = tuple(Chunk(group, (unit,), 0.0, 0.0) for unit, (group, _) in enumerate(weights))
    whole = sum(weight for _, weight in weights) + 50

    def removed(cuts: Cuts) -> float:
        return sum(weights[unit][1] for units in cuts.values() for unit in units) / whole

    found = reach(path, share, removed)
    if isinstance(found, OutOfReach):
        assert found.removed == removed(cuts_of(path)) < share
        return
    assert found.removed == removed(found.cuts) >= share - 1e-9
    for group, units in found.cuts.items():
        assert units == tuple(chunk.units[0] for chunk in path if chunk.group == group)[: len(units)]
        assert removed({**found.cuts, group: units[:-1]}) < share


def test_counting_is_done_a_logarithmic_number_of_times() -> None:
    counted: list[int] = []

    def removed(cuts: Cuts) -> float:
        counted.append(gone(cuts))
        return gone(cuts) / 120

    found = reach(PATH, 0.5, removed)
    assert isinstance(found, Reached)
    assert gone(found.cuts) == 60
    assert len(counted) <= 3 + math.ceil(math.log2(100))


@pytest.mark.parametrize("share", [0.1, 0.2, 0.4, 0.6])
@pytest.mark.parametrize("curve", [lambda x: x, lambda x: x**2, lambda x: 0.75 * math.sqrt(x), lambda x: x - 0.1])
def test_a_measured_share_is_approached_in_a_few_measurements(curve: object, share: float) -> None:
    assert callable(curve)
    measured: list[int] = []

    def measure(cuts: Cuts) -> float:
        measured.append(gone(cuts))
        return float(curve(0.9 * gone(cuts) / 100))

    found = approach(PATH, share, lambda cuts: 0.9 * gone(cuts) / 100, measure)
    assert isinstance(found, Reached)
    assert found.removed == pytest.approx(share, abs=TOLERANCE)
    assert len(measured) <= MEASUREMENTS


def test_a_latency_that_the_whole_path_does_not_save_is_out_of_reach() -> None:
    assert approach(PATH, 0.5, lambda cuts: gone(cuts) / 100, lambda _: 0.1) == OutOfReach(0.1)


def test_noise_and_slower_kernels_do_not_confuse_the_search() -> None:
    """Latency may rise where less is computed; the nearest that was measured is taken."""
    steps = {100: 0.8, 62: -0.2, 81: 0.9}

    def measure(cuts: Cuts) -> float:
        return steps.get(gone(cuts), 0.3)

    found = approach(PATH, 0.5, lambda cuts: gone(cuts) / 100, measure)
    assert isinstance(found, Reached)
    assert found.removed in {0.3, 0.8}
