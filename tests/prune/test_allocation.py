from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hand_coupled import convolutions, each, group
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.model import Model
from compress.prune.allocation import AllocationName, Choice, Chunk, cuts_of, make_chunks, make_path
from compress.prune.groups import Cuts, Group
from compress.prune.rounding import Rounding

Scores = Mapping[str, np.ndarray[Any, np.dtype[np.float64]]]


def harmless(_: Cuts) -> float:
    return 0.0


def choose(groups: tuple[Group, ...], scores: Scores, model: Model | None = None, **changes: Any) -> Choice:
    chunks = {each_.name: make_chunks(each_, scores[each_.name], Rounding(multiple=2, floor=0)) for each_ in groups}
    values: dict[str, Any] = {
        "model": model or convolutions()[0],
        "groups": groups,
        "chunks": chunks,
        "unit_costs": {each_.name: 1.0 for each_ in groups},
        "damage": harmless,
        **changes,
    }
    return Choice(**values)


def channels(name: str, units: int, blocks: int = 1) -> Group:
    return group(name, "convolution", [("k0", 0, each(units), "output")], blocks)


def names(path: tuple[Chunk, ...]) -> str:
    return "".join(chunk.group for chunk in path)


def test_chunks_take_the_least_important_units_in_multiples() -> None:
    scores = np.array([5.0, 1, 4, 2, 3, 0])
    chunks = make_chunks(channels("a", 6), scores, Rounding(multiple=2))
    assert [chunk.units for chunk in chunks] == [(1, 5), (3, 4)]
    assert [chunk.share for chunk in chunks] == pytest.approx([1 / 3, 2 / 3])
    assert [chunk.importance for chunk in chunks] == [0.5, 2.5]


def test_the_first_chunk_brings_the_group_to_a_multiple() -> None:
    chunks = make_chunks(channels("a", 5), np.arange(5.0), Rounding(multiple=2))
    assert [chunk.units for chunk in chunks] == [(0,), (1, 2)]


def test_blocks_lose_the_same_number_each_its_least_important() -> None:
    scores = np.array([9.0, 8, 7, 0, 1, 2])
    chunks = make_chunks(channels("a", 6, blocks=2), scores, Rounding(multiple=1))
    assert [chunk.units for chunk in chunks] == [(2, 3), (1, 4)]


def test_a_group_with_a_unit_that_cannot_be_judged_is_left_alone() -> None:
    assert make_chunks(channels("a", 4), np.array([1, 2, 3, np.inf]), Rounding(multiple=1)) == ()


def test_uniform_takes_the_same_share_of_each_group() -> None:
    groups = channels("a", 8), channels("b", 4)
    path = make_path(choose(groups, {"a": np.arange(8.0), "b": np.arange(4.0) + 100}), "uniform")
    assert names(path) == "aaba"


def test_global_takes_the_least_important_units_of_all() -> None:
    groups = channels("a", 6), channels("b", 6)
    path = make_path(choose(groups, {"a": np.arange(6.0) + 10, "b": np.arange(6.0)}), "global")
    assert names(path) == "bbaa"


def test_isomorphic_compares_within_families_of_equal_groups_only() -> None:
    model, _ = convolutions()
    first, second = (group(name, "convolution", [("k0", 0, each(6), "output")]) for name in "ab")
    other = group("c", "convolution", [("k1", 1, each(6), "input")])
    scores = {"a": np.arange(6.0) + 10, "b": np.arange(6.0), "c": np.arange(6.0) + 1000}
    path = make_path(choose((first, second, other), scores, model), "isomorphic")
    # The family of a and b has four chunks, b's first; that of c two: its shares are met in between.
    assert names(path) == "bbcaac"


def test_sensitivity_asks_what_cutting_a_group_alone_does_for_what_it_saves() -> None:
    groups = channels("a", 10), channels("b", 10)
    asked: list[Cuts] = []

    def damage(cuts: Cuts) -> float:
        asked.append(cuts)
        return 7.0 + sum({"a": 1.0, "b": 3.0}[name] * len(units) for name, units in cuts.items())

    scores = {"a": np.arange(10.0), "b": np.arange(10.0)}
    assert names(make_path(choose(groups, scores, damage=damage), "sensitivity")) == "aaaabbbb"
    assert {tuple(cuts) for cuts in asked} == {(), ("a",), ("b",)}
    assert sorted({len(units) for cuts in asked for units in cuts.values()}) == [2, 4, 6]
    costly = {"a": 1.0, "b": 100.0}
    assert names(make_path(choose(groups, scores, damage=damage, unit_costs=costly), "sensitivity")) == "bbbbaaaa"


def test_a_group_never_becomes_cheaper_the_more_of_it_is_gone() -> None:
    groups = channels("a", 10), channels("b", 10)

    def damage(cuts: Cuts) -> float:
        return 8.0 if "a" in cuts else 3.0 * len(cuts.get("b", ()))

    scores = {"a": np.arange(10.0), "b": np.arange(10.0)}
    assert names(make_path(choose(groups, scores, damage=damage), "sensitivity")) == "bbbbaaaa"


def test_units_that_save_nothing_go_last_by_sensitivity() -> None:
    groups = channels("a", 4), channels("b", 4)
    scores = {"a": np.arange(4.0), "b": np.arange(4.0)}
    path = make_path(choose(groups, scores, unit_costs={"b": 1.0}), "sensitivity")
    assert names(path) == "ba"


@settings(deadline=None, derandomize=True, max_examples=50)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    seed=st.integers(0, 99),
    allocation=st.sampled_from(["uniform", "global", "isomorphic", "sensitivity"]),
)
def test_every_path_has_each_units_once_in_the_order_of_its_group(
    sizes: list[int], seed: int, allocation: AllocationName
) -> None:
    groups = tuple(channels(str(place), 2 * size) for place, size in enumerate(sizes))
    random = np.random.default_rng(seed)
    scores = {each_.name: random.random(each_.units) for each_ in groups}
    choice = choose(groups, scores, damage=lambda cuts: float(sum(map(len, cuts.values()))) ** 1.5)
    path = make_path(choice, allocation)
    for each_ in groups:
        assert tuple(chunk for chunk in path if chunk.group == each_.name) == choice.chunks[each_.name]
    whole = cuts_of(path)
    assert all(len(set(units)) == len(units) for units in whole.values())
    assert all(len(whole.get(each_.name, ())) == max(0, each_.units - 2) for each_ in groups)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(seed=st.integers(0, 99), allocation=st.sampled_from(["uniform", "global"]))
def test_what_is_cut_for_less_is_cut_for_more_too(seed: int, allocation: AllocationName) -> None:
    random = np.random.default_rng(seed)
    groups = channels("a", 16), channels("b", 10)
    path = make_path(choose(groups, {"a": random.random(16), "b": random.random(10)}), allocation)
    for less in range(len(path)):
        small, large = cuts_of(path[:less]), cuts_of(path[: less + 1])
        assert all(set(units) <= set(large[name]) for name, units in small.items())
