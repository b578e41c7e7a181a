import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hand_coupled import context_of, perceptron, samples_of, wide_network
from onnx import helper
from small_graphs import build, normal
from zoo import zoo_model

from compress.distill.step import distill as train
from compress.errors import ConfigError, PruneError
from compress.model import Model
from compress.prune.coupling import analyse
from compress.prune.importance.evidence import float_weights
from compress.prune.plan import Plan, apply_plan, format_plan, make_plan
from compress.prune.settings import PruneSettings
from compress.prune.step import prune
from compress.recipe import load_recipe
from compress.runtimes import open_graph
from compress.steps import StepResult, run_step

QUICK: dict[str, Any] = {
    "steps": 60, "batch": 16, "evaluate_every": 20, "learning_rate": 3e-3, "device": "cpu", "samples": 16,
}  # fmt: skip
CAREFREE: dict[str, Any] = {"steps": 0, "update": "none", "importance": "l2", "allocation": "global"}


def run(model: Model, folder: Path, **changes: Any) -> StepResult:
    settings = PruneSettings.model_validate({**QUICK, **changes})
    return prune(model, settings, context_of(model, folder))


def number(result: StepResult, name: str) -> float:
    found = result.metrics[name]
    assert isinstance(found, int | float)
    return float(found)


def same_weights(one: Model, other: Model) -> bool:
    first, second = float_weights(one), float_weights(other)
    return set(first) == set(second) and all(np.array_equal(first[name], second[name]) for name in first)


def test_a_network_is_cut_and_learns_to_give_the_originals_outputs_again(tmp_path: Path) -> None:
    model = wide_network()
    result = run(model, tmp_path, amount="50%macs", update="none", importance="fisher", allocation="global")
    assert (result.model.inputs, result.model.outputs) == (model.inputs, model.outputs)
    assert number(result, "macs_after") <= 0.5 * number(result, "macs_before")
    assert number(result, "removed") == pytest.approx(1 - number(result, "macs_after") / number(result, "macs_before"))
    assert number(result, "sqnr_db_after") > number(result, "sqnr_db_cut") + 3
    assert result.metrics["training_steps"] == 60
    assert result.metrics["held_out_samples"] == 10
    assert result.metrics["groups"] == result.metrics["groups_cut"] == 2


def test_the_least_squares_update_brings_the_cut_model_nearer_before_any_training(tmp_path: Path) -> None:
    model = wide_network()
    settings = PruneSettings(amount="40%macs", steps=0, samples=16, allocation="global")
    context = context_of(model, tmp_path, samples_of(model, 24))
    plain = prune(model, settings.model_copy(update={"update": "none"}), context)
    updated = prune(model, settings, context)
    assert number(updated, "sqnr_db_after") > number(plain, "sqnr_db_after") + 3
    assert "training_steps" not in updated.metrics


def test_the_same_settings_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = (run(wide_network(), tmp_path / name, amount="50%macs", update="none") for name in "ab")
    assert first.model.to_bytes() == second.model.to_bytes()
    assert first.metrics == second.metrics


def test_more_rounds_reach_the_amount_step_by_step_above_one_floor(tmp_path: Path) -> None:
    model = wide_network()
    result = run(model, tmp_path, amount="80%params", rounds=3, floor=0.3, multiple=1, **CAREFREE)
    assert 0.8 <= number(result, "removed") < 0.83
    groups = {group.name: group.units for group in analyse(result.model).groups}
    assert groups["h0"] >= 0.3 * 32
    assert groups["h1"] >= 0.3 * 48


def test_rounds_are_trained_one_by_one_within_one_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    budgets = []

    def distill(model: Model, settings: Any, context: Any) -> StepResult:
        budgets.append(settings.time_budget_seconds)
        return train(model, settings, context)

    monkeypatch.setattr("compress.prune.step.distill", distill)
    settings = {"amount": "50%macs", "importance": "l2", "allocation": "global", "steps": 20, "update": "none"}
    result = run(wide_network(), tmp_path, rounds=2, time_budget_seconds=60.0, **settings)
    assert budgets == [30.0, 30.0]
    assert result.metrics["training_steps"] == 40
    budgets.clear()
    run(wide_network(), tmp_path, rounds=2, last_training=False, time_budget_seconds=60.0, **settings)
    assert budgets == [60.0]


def test_a_recovery_that_no_longer_improves_ends_by_itself(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"amount": "50%macs", "importance": "l2", "allocation": "global", "evaluate_every": 2}
    result = run(wide_network(), tmp_path, steps=1000, learning_rate=1e-9, **settings)
    stopped = PruneSettings(amount="50%macs").patience * 2
    assert stopped <= number(result, "training_steps") < 1000


def test_the_plan_in_the_metrics_makes_the_same_cuts_again(tmp_path: Path) -> None:
    model = wide_network()
    result = run(model, tmp_path, amount="60%macs", rounds=2, **CAREFREE)
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(result.metrics["plan"]))
    again = run(model, tmp_path, plan=str(path), **CAREFREE)
    assert same_weights(again.model, result.model)
    assert again.metrics["plan"] == result.metrics["plan"]
    assert again.metrics["removed"] is None
    plan = Plan.model_validate(result.metrics["plan"])
    assert same_weights(apply_plan(model, plan), result.model)
    shown = str(result.metrics["largest_cuts"])
    assert f"h1: {len(plan.cuts['h1'])} of 48" in shown


def test_a_replayed_plan_is_trained_too(tmp_path: Path) -> None:
    model = wide_network()
    (tmp_path / "plan.json").write_text(
        format_plan(make_plan(analyse(model), {"h0": tuple(range(16))})), encoding="utf-8"
    )
    result = run(model, tmp_path, plan=str(tmp_path / "plan.json"))
    assert number(result, "training_steps") == 60
    assert number(result, "sqnr_db_after") > number(result, "sqnr_db_cut")


def test_a_plan_for_another_model_is_refused(tmp_path: Path) -> None:
    other, _ = perceptron()
    (tmp_path / "plan.json").write_text(format_plan(make_plan(analyse(other), {"h": (1,)})), encoding="utf-8")
    with pytest.raises(PruneError, match="the plan is for another model") as caught:
        run(wide_network(), tmp_path, plan=str(tmp_path / "plan.json"))
    assert caught.value.exit_code == 2


def test_a_model_with_nothing_to_prune_is_refused(tmp_path: Path) -> None:
    model = build([helper.make_node("Gemm", ["x", "w"], ["y"], "only")], {"w": normal(4, 3)}, ["batch", 4], ["y"])
    with pytest.raises(PruneError, match="nothing in this model can be pruned"):
        run(model, tmp_path, amount="50%macs")


def test_the_content_of_a_plan_is_part_of_what_a_result_depends_on(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text("{}")
    settings = PruneSettings(plan=str(path))
    target = context_of(wide_network(), tmp_path).target
    before = settings.also_depends_on(target)
    path.write_text("{ }")
    assert settings.also_depends_on(target) != before


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('amount = "150%macs"', "150 % cannot be removed"),
        ('amount = "half"', "`half` is not an amount"),
        ("", "either `amount"),
        ('amount = "50%macs"\nplan = "p.json"', "either `amount"),
        ('plan = "missing.json"', "missing.json is not a file"),
        ('amount = "50%macs"\nimportance = "l3"', "`prune]`|importance"),
        ('amount = "50%macs"\nfloor = 1.0', "floor"),
        ('amount = "50%macs"\nmultiple = 0', "multiple"),
        ('amount = "50%macs"\nimportnce = "l2"', "unknown key `importnce`"),
    ],
)
def test_a_wrong_recipe_is_named_with_its_key(tmp_path: Path, table: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'steps = ["prune"]\n[prune]\n{table}\n')
    with pytest.raises(ConfigError, match=message):
        load_recipe(str(path))


def test_run_step_keeps_the_result_and_its_interface(tmp_path: Path) -> None:
    model = wide_network()
    settings = PruneSettings.model_validate({**QUICK, **CAREFREE, "amount": "30%macs"})
    context = context_of(model, tmp_path)
    first = run_step("prune", prune, settings, model, context)
    again = run_step("prune", prune, settings, model, context)
    assert first.to_bytes() == again.to_bytes()
    assert first.history[-1].metrics["plan"] == again.history[-1].metrics["plan"]
    json.dumps(dict(first.history[-1].metrics), allow_nan=False)


def test_a_cut_model_runs_at_any_batch_size(tmp_path: Path) -> None:
    model = wide_network()
    result = run(model, tmp_path, amount="50%macs", **CAREFREE)
    batches = [next(samples_of(model).batches(size)).inputs for size in (1, 7)]
    with open_graph(result.model.to_bytes(), threads=1) as session:
        one, seven = (session.run(batch)["y"] for batch in batches)
    np.testing.assert_allclose(one[0], seven[0], rtol=1e-4, atol=1e-5)


def test_training_that_distill_does_afterwards_is_left_to_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('attempts = [["prune"], ["prune", "distill"], ["distill", "prune"]]\n[prune]\namount = "50%macs"\n')
    steps = [step.settings for attempt in load_recipe(str(path)).attempts for step in attempt if step.name == "prune"]
    assert [getattr(each, "last_training", None) for each in steps] == [True, False, True]
    path.write_text('steps = ["prune", "distill"]\n[prune]\namount = "50%macs"\nlast_training = true\n')
    [first, _] = load_recipe(str(path)).attempts[0]
    assert getattr(first.settings, "last_training", None) is True


def test_pruning_goes_before_the_other_steps_of_every_attempt(tmp_path: Path) -> None:
    recipe = load_recipe("auto").pruned({"amount": "50%macs"}).within(60.0)
    names = [[step.name for step in attempt] for attempt in recipe.attempts]
    steps = [["prune", "quantize", *rest] for rest in ([], ["mixed"], ["qat"])]
    assert names == steps
    [first, *_] = recipe.attempts[0]
    assert first == recipe.attempts[1][0]
    assert getattr(first.settings, "time_budget_seconds", None) == 60.0


def test_a_recipe_that_prunes_keeps_its_settings_but_for_the_amount(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("{}")
    path = tmp_path / "mine.toml"
    path.write_text(f'steps = ["prune"]\n[prune]\nplan = "{tmp_path / "plan.json"}"\nimportance = "l1"\n')
    [step] = load_recipe(str(path)).pruned({"amount": "25%params", "plan": None}).attempts[0]
    assert isinstance(step.settings, PruneSettings)
    assert (step.settings.amount, step.settings.plan, step.settings.importance) == ("25%params", None, "l1")


@pytest.mark.parametrize("name", ["shufflenet", "vit", "bert", "llama", "gru", "lstm"])
def test_networks_of_every_kind_are_pruned_by_what_their_gradients_say(name: str, tmp_path: Path) -> None:
    model = zoo_model(name)
    context = context_of(model, tmp_path, samples_of(model, 20))
    settings = PruneSettings(amount="30%params", update="none", steps=0, samples=8)
    result = prune(model, settings, context)
    assert number(result, "parameters_after") <= 0.7 * number(result, "parameters_before")
    assert number(result, "sqnr_db_after") > 0
    batch = next(samples_of(model).batches(3)).inputs
    with open_graph(result.model.to_bytes(), threads=1) as session:
        assert all(np.isfinite(value).all() for value in session.run(batch).values())
