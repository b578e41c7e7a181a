from typing import Any

import numpy as np
import pytest
from hand_coupled import each, group, samples_of, wide_network
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.errors import PruneError
from compress.measure.cost import count_cost, sum_cost
from compress.model import Model
from compress.prune.allocation import AllocationName
from compress.prune.amount import Quantity, parse_amount
from compress.prune.costs import CostMeter, sample_sizes
from compress.prune.coupling import analyse
from compress.prune.groups import Coupling, Protected
from compress.prune.judge import Judge, make_judge
from compress.prune.search import Found, Goal, Search, choose_groups
from compress.prune.settings import PruneSettings
from compress.prune.surgery import cut

MODEL = wide_network()
COUPLING = analyse(MODEL)
JUDGE: list[Judge] = []


def judge() -> Judge:
    if not JUDGE:
        JUDGE.append(make_judge(MODEL, samples_of(MODEL, 40), 0.5, 16, seed=0, threads=1))
    return JUDGE[0]


def search(amount: str, seed: int = 0, **changes: Any) -> Found:
    chosen = PruneSettings(amount=amount, **changes)
    goal_amount = parse_amount(amount)
    meter = CostMeter(goal_amount.quantity, {})
    groups = choose_groups(COUPLING, chosen.exclude)
    units = {each_.name: each_.units for each_ in COUPLING.groups}
    goal = Goal(goal_amount, goal_amount.share, meter, meter.count(MODEL), None, units)
    random = np.random.default_rng(seed)
    scores = {each_.name: random.random(each_.units) for each_ in groups}
    return Search(MODEL, COUPLING, groups, goal, judge()).find(scores, chosen)


def left(model: Model, quantity: str) -> float:
    totals = [sum_cost(count_cost(each_)) for each_ in (model, MODEL)]
    kind = {"macs": "macs", "params": "parameters", "bytes": "weight_bytes"}[quantity]
    return float(getattr(totals[0], kind) / getattr(totals[1], kind))


@settings(deadline=None, derandomize=True, max_examples=25)
@given(
    percent=st.integers(3, 85), quantity=st.sampled_from(["macs", "params", "bytes"]),
    allocation=st.sampled_from(["uniform", "global", "isomorphic"]), seed=st.integers(0, 9),
)  # fmt: skip
def test_an_amount_is_reached_on_the_cut_graph_within_one_rounding_unit(
    percent: int, quantity: Quantity, allocation: AllocationName, seed: int
) -> None:
    found = search(f"{percent}%{quantity}", seed, allocation=allocation)
    cuts = found.reached.cuts
    assert 1 - left(cut(MODEL, COUPLING, cuts), quantity) == pytest.approx(found.reached.removed)
    assert found.reached.removed >= percent / 100
    rounding = PruneSettings(amount="1%macs").rounding(found.finer)
    for group_ in COUPLING.groups:
        units = cuts.get(group_.name, ())
        kept = group_.units - len(units)
        assert not units or kept % rounding.multiple_of(group_) == 0
        assert kept in rounding.levels(group_)


def test_multiples_become_finer_only_where_the_amount_is_not_reached_otherwise() -> None:
    assert search("50%macs").finer == 1
    found = search("97%macs")
    assert found.finer == 4
    assert found.reached.removed >= 0.97
    assert len(found.reached.cuts) == 2


def test_a_stated_multiple_is_kept_and_named_where_the_amount_is_out_of_reach() -> None:
    with pytest.raises(PruneError, match=r"97%macs cannot be reached: .*multiple = 16.* is \d+\.\d % of the MACs") as e:
        search("97%macs", multiple=16)
    assert "%macs" in str(e.value.hint)
    assert e.value.exit_code == 2


def test_a_floor_that_forbids_the_amount_is_named_with_the_most_that_can_be_reached() -> None:
    with pytest.raises(PruneError) as caught:
        search("90%params", floor=0.5)
    assert "90%params cannot be reached" in caught.value.message
    assert "floor = 0.5" in caught.value.message
    most = float(caught.value.message.split(" is ")[1].split(" %")[0])
    assert 50 < most < 90
    found = search(f"{most - 0.1:.1f}%params", floor=0.5)
    assert found.reached.removed == pytest.approx(most / 100, abs=0.01)


def test_exclude_limits_are_named_too() -> None:
    [first, second] = [group_.name for group_ in COUPLING.groups]
    assert set(search("10%macs", exclude=(first,)).reached.cuts) == {second}
    with pytest.raises(PruneError, match="exclude = "):
        search("90%macs", exclude=(second,))


def test_sensitivity_measures_each_cut_once() -> None:
    found = search("50%macs", allocation="sensitivity")
    assert found.reached.removed >= 0.5


def test_a_pattern_that_matches_nothing_is_a_mistake() -> None:
    with pytest.raises(PruneError, match=r"no group is called `g\*`") as caught:
        choose_groups(COUPLING, ("g*",))
    assert "Known: h0, h1" in str(caught.value.hint)
    with pytest.raises(PruneError, match="excludes every group"):
        choose_groups(COUPLING, ("*",))


def test_a_model_with_nothing_to_prune_says_why() -> None:
    coupling = Coupling("0" * 64, (), (Protected("w", 0, "is the model's output"), Protected("w", 1, "is its input")))
    with pytest.raises(PruneError, match=r"can be pruned \(is the model's output; is its input\)"):
        choose_groups(coupling, ())


def test_of_two_views_of_the_same_places_whole_heads_are_cut() -> None:
    inner = group("inner", "matmul", [("w", 0, each(12), "output")], blocks=3)
    heads = group("heads", "heads", [("w", 0, each(3, 4), "output")])
    other = group("other", "matmul", [("w", 1, each(12), "output")])
    chosen = choose_groups(Coupling("", (inner, heads, other), ()), ())
    assert [each_.name for each_ in chosen] == ["heads", "other"]


@pytest.mark.parametrize("quantity", ["macs", "params", "bytes"])
def test_unit_costs_are_what_cutting_one_unit_saves(quantity: Quantity) -> None:
    meter = CostMeter(quantity, {})
    costs = meter.unit_costs(MODEL, COUPLING.groups)
    for group_ in COUPLING.groups:
        saved = meter.count(MODEL) - meter.count(cut(MODEL, COUPLING, {group_.name: (0,)}))
        # A kernel between the group and itself loses a row and a column, which meet in one place.
        assert costs[group_.name] == pytest.approx(saved, rel=0.03)


def test_sizes_of_named_dimensions_come_from_the_samples() -> None:
    from dataclasses import replace

    samples = samples_of(MODEL)
    [spec] = MODEL.inputs
    named = replace(MODEL, inputs=(replace(spec, shape=("batch", 3, "height", "width")),))
    assert sample_sizes(named, samples) == {"height": 8, "width": 8}
    assert sample_sizes(MODEL, samples) == {}


def test_the_judge_knows_an_untouched_model_and_how_far_a_cut_one_is() -> None:
    assert judge().damage(MODEL) == 0.0
    [first, _] = COUPLING.groups
    few, many = (judge().damage(cut(MODEL, COUPLING, {first.name: tuple(range(n))})) for n in (2, 24))
    assert 0 < few < many
    assert judge().fidelity(MODEL).samples == 16


def test_a_judge_of_few_samples_takes_them_all() -> None:
    assert make_judge(MODEL, samples_of(MODEL, 5), 0.1, 100, seed=0, threads=1).fidelity(MODEL).samples == 5
