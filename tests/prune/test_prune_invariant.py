import pytest
from cutting import all_cuts, assert_cut_equals_masked, half_of, prunable_share
from hypothesis import given, settings
from hypothesis import strategies as st
from zoo import KINDS, SPECIES, export_model, make_inputs, zoo_model

from compress.prune.coupling import analyse

NAMES = sorted(KINDS)
LEAST_SHARE = {"cnn": 0.95, "rnn": 0.95, "transformer": 0.85}


@pytest.mark.parametrize("name", NAMES)
def test_every_group_cut_equals_its_weights_zeroed_at_other_sizes_too(name: str) -> None:
    model = zoo_model(name)
    coupling = analyse(model)
    feeds = [make_inputs(name, batch, length) for batch, length in ((3, 7), (1, 9))]
    for cuts in all_cuts(coupling):
        assert_cut_equals_masked(model, coupling, cuts, feeds)


@pytest.mark.parametrize("name", NAMES)
def test_nearly_all_weights_belong_to_a_group(name: str) -> None:
    model = zoo_model(name)
    assert prunable_share(model, analyse(model)) >= LEAST_SHARE[KINDS[name]]


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.data())
def test_any_units_of_any_groups_can_be_cut_together(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(NAMES))
    model = zoo_model(name)
    coupling = analyse(model)
    groups = data.draw(st.lists(st.sampled_from(coupling.groups), min_size=1, unique_by=lambda group: group.name))
    cuts = {group.name: half_of(group, data.draw(st.integers(0, 99))) for group in groups}
    assert_cut_equals_masked(model, coupling, cuts, [make_inputs(name, 2, 4)])


@pytest.mark.parametrize("name", ["grouped", "gpt", "lstm"])
def test_what_is_cut_can_be_cut_again(name: str) -> None:
    model = zoo_model(name)
    coupling = analyse(model)
    once = assert_cut_equals_masked(model, coupling, all_cuts(coupling)[-1], [make_inputs(name, 2, 4)])
    again = analyse(once)
    for cuts in all_cuts(again):
        assert_cut_equals_masked(once, again, cuts, [make_inputs(name, 3, 5)])


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SPECIES))
def test_stored_graphs_are_what_the_networks_export_to(name: str) -> None:
    stored, made = zoo_model(name).graph.graph, export_model(name).graph.graph
    assert [node.op_type for node in stored] == [node.op_type for node in made]
    assert set(stored.initializers) == set(made.initializers)
