"""``compress run --prune``."""

import json
import tomllib
from pathlib import Path

import pytest
from small_project import Compress, nearest_mean_classifier

from compress.cli.run import add_parser
from compress.options import RunOptions, resolve
from compress.report.json_file import read_report, write_report

NULL = Path("null/board.toml")
FAST = ("--latency-seconds", "0.2", "--max-drop", "100")
RECIPE = """
steps = ["prune"]
[prune]
amount = "20%params"
importance = "l2"
allocation = "global"
update = "none"
steps = 20
evaluate_every = 10
batch = 16
"""

SPARSE = 'steps = ["sparsify"]\n[sparsify]\n'


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine, threads mostly wait for each other."""
    monkeypatch.setattr("compress.attempts.core_count", lambda: 1)


def prune_a_little(compress: Compress) -> None:
    done = compress("run", "model.onnx", "--target", NULL, "--recipe", "quick.toml", "--prune", "40%params", *FAST)
    assert done.code == 0, done.err


def engine_graph(project: Path) -> bytes:
    (graph,) = (project / "model.compressed" / "engine").glob("*/model.onnx")
    return graph.read_bytes()


def test_pruning_goes_before_the_other_steps_and_is_reported(compress: Compress, project: Path) -> None:
    (project / "quick.toml").write_text(RECIPE.replace('["prune"]', '["prune", "quantize"]'))
    done = compress("run", "model.onnx", "--target", NULL, "--recipe", "quick.toml", "--prune", "40%params", *FAST)
    assert done.code == 0, done.err
    report = json.loads((project / "model.compressed" / "report.json").read_text())
    assert [step["step"] for step in report["steps"]] == ["prune", "quantize"]
    pruning = report["steps"][0]
    assert pruning["settings"]["amount"] == "40%params"
    assert pruning["settings"]["importance"] == "l2"
    metrics = pruning["metrics"]
    assert metrics["parameters_after"] <= 0.6 * metrics["parameters_before"]
    assert metrics["plan"]["schema"] == "compress.prune-plan/1"
    lock = tomllib.loads((project / "model.compressed" / "recipe.lock.toml").read_text())
    assert lock["recipe"]["prune"]["amount"] == "40%params"
    assert "plan" not in lock["recipe"]["prune"]
    written = (project / "model.compressed" / "report.md").read_text()
    assert "amount 40%params" in written
    assert "largest_cuts" in written
    assert "compress.prune-plan/1" not in written
    logged = (project / "model.compressed" / "run.log").read_text()
    assert "'amount': '40%params'" in logged
    assert "compress.prune-plan/1" not in logged


def test_the_plan_of_a_run_is_a_file_that_makes_the_same_cuts(compress: Compress, project: Path) -> None:
    (project / "quick.toml").write_text(RECIPE)
    (project / "replay.toml").write_text(RECIPE.replace('amount = "20%params"', 'plan = "plan.json"'))
    prune_a_little(compress)
    done = compress("report", "model.compressed", "--format", "plan", "--output", "plan.json")
    assert (done.code, done.out) == (0, ""), done.err
    first = engine_graph(project)
    done = compress("run", "model.onnx", "--target", NULL, "--recipe", "replay.toml", *FAST)
    assert done.code == 0, done.err
    assert engine_graph(project) == first
    refused = compress("report", "model.compressed", "--format", "plan", "--target", "bord")
    assert (refused.code, "has no target bord" in refused.err, "`board`" in refused.err) == (2, True, True)
    assert "--target is for --format plan" in compress("report", "model.compressed", "--target", "board").err


def test_a_report_of_several_plans_or_of_none_says_so(compress: Compress, project: Path) -> None:
    (project / "quick.toml").write_text(RECIPE)
    prune_a_little(compress)
    report = read_report(project / "model.compressed")
    step, target = report.steps[0], report.targets[0]
    made = step.metrics["plan"]
    assert isinstance(made, dict)
    other = step.model_copy(update={"metrics": {"plan": {**made, "cuts": {}}}})
    pair = tuple(
        target.model_copy(update={"target": name, "steps": (own,)}) for name, own in (("a", step), ("b", other))
    )
    write_report(report.model_copy(update={"steps": (), "targets": pair}), project / "two.json")
    done = compress("report", "two.json", "--format", "plan")
    assert (done.code, "a plan for each target: a, b" in done.err, "--target a" in done.err) == (2, True, True)
    assert json.loads(compress("report", "two.json", "--format", "plan", "--target", "b").out)["cuts"] == {}
    write_report(report.model_copy(update={"steps": ()}), project / "none.json")
    done = compress("report", "none.json", "--format", "plan")
    assert (done.code, "has no plan: nothing was pruned" in done.err) == (2, True)
    write_report(
        report.model_copy(update={"steps": (step.model_copy(update={"metrics": {"plan": {"cuts": 3}}}),)}),
        project / "wrong.json",
    )
    done = compress("report", "wrong.json", "--format", "plan")
    assert (done.code, "wrong.json: plan: `" in done.err) == (2, True)


def test_threads_and_batch_of_the_measurement_are_those_of_pruning_by_latency(project: Path) -> None:
    options = RunOptions(targets=(str(NULL),), recipe="int8", prune="30%latency", threads=2, batch=4)
    plan = resolve(Path("model.onnx"), options)
    described = plan.recipe.describe()
    assert described["steps"] == ["prune", "quantize"]
    settings = described["prune"]
    assert isinstance(settings, dict)
    assert [settings[name] for name in ("amount", "latency_threads", "latency_batch")] == ["30%latency", 2, 4]


@pytest.mark.parametrize("amount", ["150%macs", "0%macs", "50%foo", "half", ""])
def test_a_wrong_amount_is_one_message_and_one_hint(compress: Compress, project: Path, amount: str) -> None:
    done = compress("run", "model.onnx", "--target", NULL, "--prune", amount, *FAST)
    assert done.code == 2
    assert f"`{amount}`" in done.err
    assert "hint: write the share to remove and of what: 50%macs" in done.err
    assert "Traceback" not in done.err
    assert not (project / "model.compressed").exists()


@pytest.mark.parametrize(("limit", "floor"), [("", "0.1"), ("floor = 0.5\n", "0.5")])
def test_ninety_per_cent_of_everything_is_refused_and_leaves_nothing(
    compress: Compress, project: Path, limit: str, floor: str
) -> None:
    (project / "quick.toml").write_text(RECIPE + limit)
    done = compress("run", "model.onnx", "--target", NULL, "--recipe", "quick.toml", "--prune", "90%params", *FAST)
    assert done.code == 2
    assert f"90%params cannot be reached: everything that may be cut with floor = {floor} is " in done.err
    assert "hint: ask for less than" in done.err
    assert not (project / "model.compressed").exists()


def test_a_model_with_nothing_to_prune_is_refused_and_leaves_nothing(compress: Compress, project: Path) -> None:
    from onnx import helper
    from small_graphs import build, normal

    nodes = [
        helper.make_node("Flatten", ["x"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "w"], ["logits"], "only", transB=1),
    ]
    model = build(nodes, {"w": normal(10, 784)}, ["batch", 1, 28, 28], ["logits"])
    (project / "single.onnx").write_bytes(model.to_bytes())
    done = compress("run", "single.onnx", "--target", NULL, "--prune", "50%macs", *FAST)
    assert done.code == 2
    assert "nothing in this model can be pruned" in done.err
    assert "`compress inspect` says why" in done.err
    assert not (project / "single.compressed").exists()


def test_a_plan_for_another_model_is_refused_and_leaves_nothing(compress: Compress, project: Path) -> None:
    (project / "quick.toml").write_text(RECIPE)
    assert compress("run", "model.onnx", "--target", NULL, "--recipe", "quick.toml", "--out", "first", *FAST).code == 0
    plan = json.loads((project / "first" / "report.json").read_text())["steps"][0]["metrics"]["plan"]
    (project / "plan.json").write_text(json.dumps(plan))
    (project / "replay.toml").write_text(RECIPE.replace('amount = "20%params"', 'plan = "plan.json"'))
    again = compress("run", "model.onnx", "--target", NULL, "--recipe", "replay.toml", "--out", "again", *FAST)
    assert again.code == 0, again.err
    engines = [project / out / "engine" / "board" / "model.onnx" for out in ("first", "again")]
    assert engines[0].read_bytes() == engines[1].read_bytes()
    done = compress("run", "lossy.onnx", "--target", NULL, "--recipe", "replay.toml", "--out", "other", *FAST)
    assert done.code == 2
    assert "the plan is for another model" in done.err
    assert not (project / "other").exists()


@pytest.mark.parametrize(
    ("recipe", "setting", "problem"),
    [
        (RECIPE + "floor = 1.5\n", "[prune]: `floor`", "less than 1"),
        (SPARSE + 'pattern = "unstructured"\nratio = 1.5\n', "[sparsify]: `ratio`", "less than 1"),
        (SPARSE + 'pattern = "4:2"\n', "[sparsify]: `pattern`", "`4:2` is no sparsity pattern"),
    ],
)
def test_a_share_above_one_is_refused_by_the_name_of_its_setting(
    compress: Compress, project: Path, recipe: str, setting: str, problem: str
) -> None:
    (project / "wrong.toml").write_text(recipe)
    done = compress("run", "model.onnx", "--target", NULL, "--recipe", "wrong.toml", *FAST)
    assert done.code == 2
    assert setting in done.err
    assert problem in done.err
    assert "Traceback" not in done.err
    assert not (project / "model.compressed").exists()


def test_what_an_earlier_run_left_outlives_every_refusal(compress: Compress, project: Path) -> None:
    (project / "quick.toml").write_text(RECIPE)
    command = ("run", "model.onnx", "--target", NULL, *FAST, "--recipe")
    assert compress(*command, "quick.toml").code == 0
    folder = project / "model.compressed"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    plan = json.loads((folder / "report.json").read_text())["steps"][0]["metrics"]["plan"]
    (project / "plan.json").write_text(json.dumps({**plan, "model": "0" * 64}))
    (project / "replay.toml").write_text(RECIPE.replace('amount = "20%params"', 'plan = "plan.json"'))
    refused = [("quick.toml", "--prune", "90%params"), ("quick.toml", "--prune", "150%macs"), ("replay.toml",)]
    assert [compress(*command, *each).code for each in refused] == [2, 2, 2]
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_latency_of_a_board_that_is_not_here_is_refused(compress: Compress, project: Path) -> None:
    done = compress("run", "model.onnx", "--target", "jetson", "--prune", "30%latency", *FAST)
    assert done.code == 2
    assert "cannot be run on this machine" in done.err
    assert "40%macs" in done.err


def test_help_shows_the_form_of_an_amount(capsys: pytest.CaptureFixture[str]) -> None:
    import argparse

    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    with pytest.raises(SystemExit):
        parser.parse_args(["run", "--help"])
    assert "50%macs" in capsys.readouterr().out


def test_the_model_of_the_project_has_a_hidden_layer_to_prune() -> None:
    from compress.prune.coupling import analyse

    assert [group.units for group in analyse(nearest_mean_classifier()).groups] == [11]
