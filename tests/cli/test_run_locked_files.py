"""A locked run looks at the files that its recipe, its metric and its samples name, before any step runs."""

import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from small_project import Compress, Outcome

from compress.attempts import run_target
from compress.intake import IntakeOptions, take_in
from compress.prune.coupling import analyse
from compress.prune.plan import format_plan, make_plan
from compress.prune.prepare import prepare
from compress.report.record import TargetRecord
from compress.store import hash_file

FLAGS = ("--target", "reference/board.toml", "--latency-seconds", "0.1", "--max-drop", "100")
LOCK = "model.compressed/recipe.lock.toml"
METRIC = "def hits(outputs, labels):\n    return outputs['logits'].argmax(axis=1) == labels\n"
REPLAY = 'steps = ["prune"]\n[prune]\nplan = "plans/cut.json"\nsteps = 0\nupdate = "none"\n'


@pytest.fixture
def plan(project: Path) -> Path:
    """Return a plan that takes one hidden unit, and the recipe `replay.toml` that names it."""
    (project / "plans").mkdir()
    (project / "replay.toml").write_text(REPLAY)
    path = project / "plans" / "cut.json"
    path.write_text(plan_without(3, project))
    return path


def plan_without(unit: int, project: Path) -> str:
    coupling = analyse(prepare(take_in(project / "model.onnx", IntakeOptions()).trainable))
    return format_plan(make_plan(coupling, {coupling.groups[0].name: (unit,)}))


def repeat(compress: Compress, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    """Return what a locked run says in which no step may run."""
    with monkeypatch.context() as guarded:
        guarded.setattr("compress.pipeline.run_target", None)
        return compress("run", "--locked", LOCK, "--out", "again")


def test_another_pruning_plan_is_refused_before_the_first_step(
    compress: Compress, project: Path, plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert compress("run", "model.onnx", *FLAGS, "--recipe", "replay.toml").code == 0
    first = hash_file(plan)
    assert tomllib.loads((project / LOCK).read_text())["recipe"]["files"] == {"plans/cut.json": first}
    assert compress("run", "--locked", LOCK, "--out", "again").code == 0
    plan.write_text(plan_without(4, project))
    done = repeat(compress, monkeypatch)
    assert done.code == 2
    assert done.err.splitlines() == [
        f"error: plans/cut.json has the SHA-256 {hash_file(plan)[:12]}…, {LOCK} says {first[:12]}…",
        "hint: put it back as it was; to compress it as it is now, leave --locked away",
    ]
    plan.unlink()
    done = repeat(compress, monkeypatch)
    assert done.code == 2
    assert f"plans/cut.json, which {LOCK} names, does not exist" in done.err
    assert "its path starts at the working folder" in done.err


def test_a_lock_has_what_files_said_when_the_run_began(
    compress: Compress, project: Path, plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board, first = project / "reference" / "board.toml", hash_file(plan)
    before = hash_file(board)

    def run_and_edit(*arguments: Any) -> TargetRecord:
        record = run_target(*arguments)
        plan.unlink()
        board.write_text(board.read_text() + "# edited meanwhile\n")
        return record

    monkeypatch.setattr("compress.pipeline.run_target", run_and_edit)
    done = compress("run", "model.onnx", *FLAGS, "--recipe", "replay.toml")
    assert done.code == 0, done.err
    lock = tomllib.loads((project / LOCK).read_text())
    assert lock["recipe"]["files"] == {"plans/cut.json": first}
    assert lock["targets"][0]["sha256"] == before != hash_file(board)


def test_a_lock_without_digests_of_files_is_still_read(compress: Compress, project: Path, plan: Path) -> None:
    assert compress("run", "model.onnx", *FLAGS, "--recipe", "replay.toml").code == 0
    lock = tomllib.loads((project / LOCK).read_text())
    del lock["recipe"]["files"]
    (project / LOCK).write_text(tomli_w.dumps(lock))
    assert compress("run", "--locked", LOCK, "--out", "again").code == 0
    plan.write_text(plan_without(4, project))
    done = compress("run", "--locked", LOCK, "--out", "again")
    assert (done.code, "engine/board/model.onnx is not what" in done.err) == (2, True)


def test_another_metric_is_refused_before_its_code_runs(
    compress: Compress, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = project / "lockedmetric.py"
    module.write_text(METRIC)
    metric = ("--metric", "python:lockedmetric:hits")
    assert compress("run", "model.onnx", *FLAGS, *metric).code == 0
    assert tomllib.loads((project / LOCK).read_text())["metric_sha256"] == hash_file(module)
    module.write_text(f"{METRIC}raise SystemExit('it ran')\n")
    monkeypatch.delitem(sys.modules, "lockedmetric")
    done = repeat(compress, monkeypatch)
    assert (done.code, "lockedmetric.py has the SHA-256" in done.err) == (2, True)


def test_other_slices_are_refused_though_the_samples_are_the_same(
    compress: Compress, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.random.default_rng(0).standard_normal((32, 1, 28, 28)).astype(np.float32)
    np.savez(project / "eval.npz", x=images, labels=np.arange(32) % 10)
    table = project / "cameras.csv"
    table.write_text("camera\n" + "left\nright\n" * 16)
    (project / "compress.toml").write_text(
        '[data]\ncalibration = "calibration.toml"\nevaluation = { source = "eval.npz", slices = "cameras.csv" }\n'
    )
    assert compress("run", "model.onnx", *FLAGS).code in (0, 13)
    assert compress("run", "--locked", LOCK, "--out", "again").code in (0, 13)
    table.write_text("camera\n" + "right\nleft\n" * 16)
    done = repeat(compress, monkeypatch)
    assert done.code == 2
    assert "the slices of the evaluation samples `eval.npz` (cameras.csv) have the digest" in done.err
    assert [line.split(":")[0] for line in done.err.splitlines()] == ["error", "hint"]


def test_a_target_that_is_not_known_any_more_is_named_with_its_lock(
    compress: Compress, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert compress("run", "model.onnx", *FLAGS).code == 0
    text = (project / LOCK).read_text()
    (project / LOCK).write_text(text.replace('spec = "../reference/board.toml"', 'spec = "board-of-then"'))
    done = repeat(compress, monkeypatch)
    assert done.code == 2
    assert f"error: {LOCK}: unknown target `board-of-then`" in done.err
    assert "install edge-compress as it was" in done.err
