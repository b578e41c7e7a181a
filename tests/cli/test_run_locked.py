"""A run that its lock repeats: the same bytes, or a message that says what differs."""

import errno
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from small_project import BOARD, PROJECT, Compress, nearest_mean_classifier

from compress import assembly
from compress.evidence.lock import replay
from compress.report.json_file import read_report

FAST = ("--latency-seconds", "0.1", "--max-drop", "5")
FLAGS = ("--target", "reference/board.toml", *FAST)
LOCK = "model.compressed/recipe.lock.toml"
GRAPHS = ("model.onnx", "engine/board/model.onnx")


@pytest.fixture
def cpu(project: Path) -> str:
    """Return the target file of whatever CPU this is."""
    (project / "here").mkdir()
    (project / "here" / "board.toml").write_text(BOARD.format(runtime="onnxruntime") + 'isa = "detect"\n')
    return "here/board.toml"


@pytest.fixture
def locked(compress: Compress, project: Path) -> Path:
    """Return the lock of a run that has been made."""
    done = compress("run", "model.onnx", *FLAGS)
    assert done.code == 0, done.err
    return project / LOCK


def edit(path: Path, change: Callable[[Any], object]) -> None:
    table = tomllib.loads(path.read_text())
    change(table)
    path.write_text(tomli_w.dumps(table))


def same(project: Path, first: str, second: str) -> bool:
    return all((project / first / name).read_bytes() == (project / second / name).read_bytes() for name in GRAPHS)


def test_a_locked_run_gives_the_same_bytes_and_says_so(compress: Compress, project: Path, locked: Path) -> None:
    (project / "compress.toml").unlink()
    (project / "compress.toml").write_text("[gate]\nmax_drop = 0.001\n")
    done = compress("run", "--locked", LOCK, "--out", "again")
    assert done.code == 0, done.err
    assert same(project, "model.compressed", "again")
    notes = read_report(project / "again").source.notes
    assert notes[-1] == "Repeated from recipe.lock.toml: 2 graphs are byte for byte the same."
    first, second = (tomllib.loads((project / out / "recipe.lock.toml").read_text()) for out in (LOCK[:16], "again"))
    assert second.pop("command") == f"compress run --locked {LOCK}"
    assert first.pop("command").startswith("compress run model.onnx --target reference/board.toml")
    assert second == first


def test_the_engine_of_a_cpu_is_the_one_that_was_raced_and_no_race_is_held(
    compress: Compress, project: Path, cpu: str
) -> None:
    flags = ("--contest-seconds", "0.1", "--providers", "cpu", *FAST)
    assert compress("run", "model.onnx", "--target", cpu, *flags).code == 0
    lock = tomllib.loads((project / LOCK).read_text())
    graph = "original" if lock["targets"][0]["graph"] == "compressed" else "compressed"

    def ship_the_other(table: Any) -> None:
        target = table["targets"][0]
        target["graph"], target["graph_sha256"] = graph, "0" * 64
        target["options"]["offline"] = True

    assert compress("run", "--locked", LOCK, "--out", "again").code == 0
    assert same(project, "model.compressed", "again")
    assert read_report(project / "again").targets[0].contest is None
    edit(project / LOCK, ship_the_other)
    done = compress("run", "--locked", LOCK, "--out", "other", "--allow-other-versions")
    assert done.code == 0, done.err
    assert not same(project, "model.compressed", "other")
    assert (project / "other" / "engine" / "board" / "model.optimized.onnx").exists()
    assert "engine/board/model.onnx is not byte for byte what recipe.lock.toml says." in (
        read_report(project / "other").source.notes
    )


def test_what_mixed_found_is_not_searched_again(
    compress: Compress, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "two.toml").write_text(
        'attempts = [["quantize"], ["quantize", "mixed"]]\n[mixed]\nlatency_seconds = 0.1'
    )
    flags = ("--target", "reference/board.toml", "--recipe", "two.toml", "--max-drop", "2", "--latency-seconds", "0.1")
    assert compress("run", "lossy.onnx", *flags).code == 0
    (project / "two.toml").unlink()
    path = "lossy.compressed/recipe.lock.toml"
    target = tomllib.loads((project / path).read_text())["targets"][0]
    assert target["attempt"] == 2
    assert target["float_layers"]
    monkeypatch.delattr("compress.quantize.mixed.step.Search")
    done = compress("run", "lossy.onnx", "--locked", path, "--out", "again")
    assert done.code == 0, done.err
    assert same(project, "lossy.compressed", "again")


def test_training_that_is_repeated_gives_the_same_bytes(compress: Compress, project: Path) -> None:
    (project / "qat.toml").write_text('steps = ["quantize", "qat"]\n[qat]\nsteps = 4\n')
    assert compress("run", "model.onnx", *FLAGS, "--recipe", "qat.toml", "--seed", "7").code == 0
    assert compress("run", "--locked", LOCK, "--out", "again").code == 0
    assert same(project, "model.compressed", "again")


def test_settings_that_somebody_stated_are_still_told_from_defaults(compress: Compress, project: Path) -> None:
    (project / "cut.toml").write_text(
        'attempts = [["prune", "quantize"], ["prune", "distill"]]\n'
        '[prune]\namount = "10%params"\nsteps = 0\nlearning_rate = 0.0003\n[distill]\nsteps = 1\n'
    )
    from compress.evidence.lock.recipe_table import describe_recipe, read_recipe
    from compress.recipe import load_recipe

    recipe = load_recipe("cut.toml")
    table = tomllib.loads(tomli_w.dumps(describe_recipe(recipe)))
    assert table["attempts"] == [["prune", "quantize"], ["prune@2", "distill"]]
    again = read_recipe(table, "lock")
    assert again == recipe
    one, two = ([step.settings.model_fields_set for each in made.attempts for step in each] for made in (recipe, again))
    assert one == two
    assert "learning_rate" in two[0]
    assert "patience" not in two[0]


def test_another_model_is_refused_and_the_lock_works_where_the_model_has_moved(
    compress: Compress, project: Path, locked: Path
) -> None:
    done = compress("run", "lossy.onnx", "--locked", LOCK, "--out", "again")
    assert done.code == 2
    assert "lossy.onnx has the SHA-256" in done.err
    assert "hint: give the model of the lock" in done.err
    assert not (project / "again").exists()
    moved = project / "moved"
    moved.mkdir()
    (project / "model.onnx").rename(moved / "renamed.onnx")
    assert "model.onnx does not exist" in compress("run", "--locked", LOCK, "--out", "again").err
    (project / "calibration.toml").rename(moved / "calibration.toml")
    (project / "evaluation.toml").rename(moved / "evaluation.toml")
    done = compress("run", moved / "renamed.onnx", "--locked", LOCK, "--out", "again")
    assert done.code == 0, done.err
    assert same(project, "model.compressed", "again")


def test_another_recipe_of_samples_is_named_by_its_key(compress: Compress, project: Path, locked: Path) -> None:
    recipe = project / "evaluation.toml"
    recipe.write_text(recipe.read_text().replace("count = 400", "count = 300"))
    done = compress("run", "--locked", LOCK, "--out", "again")
    assert done.code == 2
    assert "data.evaluation: `evaluation.toml` says count = 300" in done.err
    assert "says 400" in done.err
    assert "--eval SPEC" in done.err
    recipe.unlink()
    done = compress("run", "--locked", LOCK, "--out", "again")
    assert (done.code, "say where the samples are now: --eval SPEC" in done.err) == (2, True)


@pytest.mark.parametrize(("role", "flag"), [("calibration", "--data"), ("evaluation", "--eval")])
def test_other_samples_are_refused_by_their_digest(compress: Compress, project: Path, role: str, flag: str) -> None:
    images = np.random.default_rng(0).standard_normal((32, 1, 28, 28)).astype(np.float32)
    labels = np.arange(32) % 10
    np.savez(project / f"{role}.npz", x=images, labels=labels)
    (project / "compress.toml").write_text(PROJECT.replace(f"{role}.toml", f"{role}.npz"))
    compress("run", "model.onnx", *FLAGS)
    changed = images.copy()
    changed[3, 0, 5, 5] += 1
    np.savez(project / f"{role}.npz", x=changed, labels=labels)
    done = compress("run", "--locked", LOCK, "--out", "again")
    assert done.code == 2
    assert f"the {role} samples `{role}.npz` (32) have the digest" in done.err
    assert f"{flag} SPEC" in done.err
    np.savez(project / "mended.npz", x=images, labels=labels)
    done = compress("run", "--locked", LOCK, "--out", "again", flag, "mended.npz")
    assert done.code == (13 if role == "evaluation" else 0), done.err
    assert same(project, "model.compressed", "again")


def test_made_up_samples_are_repeated_too(compress: Compress, project: Path) -> None:
    (project / "compress.toml").unlink()
    assert compress("run", "model.onnx", *FLAGS, "--seed", "3").code == 13
    assert compress("run", "--locked", LOCK, "--out", "again").code == 13
    assert same(project, "model.compressed", "again")


def test_external_data_that_differ_are_refused(compress: Compress, project: Path) -> None:
    import onnx

    model = onnx.ModelProto.FromString(nearest_mean_classifier().to_bytes())
    onnx.save(model, project / "split.onnx", save_as_external_data=True, location="split.bin", size_threshold=0)
    assert compress("run", "split.onnx", *FLAGS).code == 0
    weights = bytearray((project / "split.bin").read_bytes())
    weights[0] ^= 1
    (project / "split.bin").write_bytes(weights)
    done = compress("run", "--locked", "split.compressed/recipe.lock.toml", "--out", "again")
    assert done.code == 2
    assert "split.onnx: taken in, it is the graph" in done.err
    assert "external data" in done.err


def test_another_target_file_is_refused(compress: Compress, project: Path, locked: Path) -> None:
    board = project / "reference" / "board.toml"
    board.write_text(board.read_text() + "opset = 17\n")
    done = compress("run", "--locked", LOCK)
    assert (done.code, "board.toml has the SHA-256" in done.err) == (2, True)
    board.unlink()
    assert "does not exist" in compress("run", "--locked", LOCK).err


def test_another_cpu_is_a_target_that_cannot_be_reached(
    compress: Compress, project: Path, cpu: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compress("run", "model.onnx", "--target", cpu, "--contest-seconds", "0", *FAST)
    monkeypatch.setattr("compress.machine.detect_isa", lambda: "arm64-neon")
    done = compress("run", "--locked", LOCK)
    assert (done.code, "here it is arm64-neon" in done.err) == (20, True)


def test_other_versions_are_refused_unless_they_are_allowed(
    compress: Compress, project: Path, locked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = assembly.list_versions()
    monkeypatch.setattr(replay, "list_versions", lambda: {**here, "onnx": "9.9"})
    done = compress("run", "--locked", LOCK, "--out", "again")
    assert done.code == 2
    assert f"[versions]: onnx 9.9 instead of {here['onnx']}" in done.err
    assert f"hint: pip install onnx=={here['onnx']}; or --allow-other-versions" in done.err
    done = compress("run", "--locked", LOCK, "--out", "again", "--allow-other-versions")
    assert done.code == 0, done.err
    assert any("with other versions: onnx 9.9" in note for note in read_report(project / "again").source.notes)
    without_tensorrt = {name: version for name, version in here.items() if not name.startswith("tensorrt")}
    monkeypatch.setattr(replay, "list_versions", lambda: without_tensorrt)
    assert compress("run", "--locked", LOCK, "--out", "again").code == 0


def test_a_package_that_no_step_and_no_engine_used_may_be_another_one(
    compress: Compress, project: Path, locked: Path
) -> None:
    optional = ("neural-compressor", "onnxruntime-ep-openvino")
    edit(locked, lambda table: table["versions"].update(dict.fromkeys(optional, "9.9")))
    assert compress("run", "--locked", LOCK, "--out", "again").code == 0
    edit(locked, lambda table: table["targets"][0].update(options={"threads": 1, "provider": "openvino"}))
    done = compress("run", "--locked", LOCK, "--out", "other")
    assert (done.code, "onnxruntime-ep-openvino" in done.err, "neural-compressor" in done.err) == (2, True, False)
    step = {"attempts": [["quantize-neural-compressor"]], "quantize-neural-compressor": {}}
    edit(locked, lambda table: table["recipe"].update(step))
    assert "neural-compressor" in compress("run", "--locked", LOCK, "--out", "other").err


def test_a_result_that_is_not_the_locks_is_refused_and_nothing_is_left(
    compress: Compress, project: Path, locked: Path
) -> None:
    edit(locked, lambda table: table["targets"][0].update(graph_sha256="0" * 64))
    done = compress("run", "--locked", LOCK, "--out", "again")
    assert done.code == 2
    assert "engine/board/model.onnx is not what" in done.err
    assert "another CPU rounds otherwise" in done.err
    assert not (project / "again").exists()


def test_what_the_lock_says_may_not_be_said_again(compress: Compress, locked: Path) -> None:
    done = compress("run", "--locked", LOCK, "--seed", "0", "--recipe", "int8")
    assert done.code == 2
    assert "leave --recipe, --seed away" in done.err
    assert "--locked" in compress("run", "model.onnx", "--allow-other-versions").err
    assert "no model given" in compress("run", "--target", "cpu").err


WRONG: list[tuple[Callable[[Any], object], str]] = [
    (lambda table: table.update(schema="compress.lock/1"), "`schema` is `compress.lock/1`, not `compress.lock/2`"),
    (lambda table: table.update(schema="gate"), "`schema` is `gate`"),
    (lambda table: table.pop("schema"), "`schema` is missing"),
    (lambda table: table.pop("seed"), "`seed`: Field required"),
    (lambda table: table.update(sede=1), "unknown key `sede`"),
    (lambda table: table["model"].update(sha="x"), "unknown key `model.sha`"),
    (lambda table: table["targets"][0].update(attempt=0), "`targets.0.attempt`"),
    (lambda table: table["targets"][0].update(attempt=9), "`attempt` is 9"),
    (lambda table: table["targets"][0].update(options={"thread": 1}), "`targets.0.options.thread`"),
    (lambda table: table["recipe"].update(quantise={}), "[recipe]: unknown key `quantise`"),
    (lambda table: table["recipe"].pop("stated"), "`name`, `contest` and `stated`"),
    (lambda table: table["recipe"].update(attempts="quantize"), "a list of such lists"),
    (lambda table: table["recipe"].update(attempts=[["quantise"]]), "unknown step `quantise`"),
    (lambda table: table["recipe"]["quantize"].update(observr="mse"), "unknown key `observr`"),
    (lambda table: table["recipe"].pop("quantize"), "the settings of `quantize` must be there"),
    (lambda table: table["gate"].update(max_dorp=1), "[gate]: unknown key `max_dorp`"),
    (lambda table: table["data"]["evaluation"].update(digest="12"), "`data.evaluation.digest`"),
]


def test_a_lock_that_is_none_is_one_message_with_the_place_and_one_hint(compress: Compress, locked: Path) -> None:
    text = locked.read_text()
    for change, word in WRONG:
        locked.write_text(text)
        edit(locked, change)
        done = compress("run", "--locked", LOCK, "--out", "again")
        assert done.code == 2
        assert word in done.err
        assert done.err.startswith(f"error: {LOCK}")
        assert [line.split(":")[0] for line in done.err.splitlines()] == ["error", "hint"]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda table: table.update(schema="compress.lock/3"), "`schema` is `compress.lock/3`, not `compress.lock/2`"),
        (lambda table: table.update(new=1), "unknown key `new`"),
    ],
)
def test_a_lock_of_another_version_says_which(
    compress: Compress, locked: Path, change: Callable[[Any], object], word: str
) -> None:
    edit(locked, lambda table: (change(table), table["versions"].update({"edge-compress": "9.9"})))
    done = compress("run", "--locked", LOCK)
    assert (done.code, word in done.err) == (2, True)
    assert "hint: it is of edge-compress 9.9, this is " in done.err
    edit(locked, lambda table: table.pop("versions"))
    assert "edge-compress 9.9" not in compress("run", "--locked", LOCK).err


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda table: table.update(metric="topp1"), "unknown metric `topp1`"),
        (lambda table: table["device"].update(name="emulated:hasswell"), "hasswell"),
        (lambda table: table["targets"][0].update(name="bored"), "`name` says bored, the files are of board"),
        (
            lambda table: table["targets"].append(table["targets"][0]),
            "`name` says board, board, the files are of board",
        ),
    ],
)
def test_a_name_in_a_lock_that_means_nothing_here_is_said_with_the_lock(
    compress: Compress, locked: Path, change: Callable[[Any], object], word: str
) -> None:
    edit(locked, change)
    done = compress("run", "--locked", LOCK, "--out", "again")
    assert (done.code, word in done.err) == (2, True)
    assert done.err.startswith(f"error: {LOCK}: ")


def test_a_model_that_cannot_be_read_is_said(compress: Compress, locked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> str:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("compress.evidence.lock.inputs.hash_file", refuse)
    done = compress("run", "--locked", LOCK, "--out", "again")
    assert (done.code, "model.onnx cannot be read: Permission denied" in done.err) == (2, True)


def test_a_lock_that_is_cut_off_or_not_there_is_said(compress: Compress, locked: Path) -> None:
    text = locked.read_text()
    locked.write_text(text[: text.index("[model]") + 20])
    assert "is not valid TOML" in compress("run", "--locked", LOCK).err
    locked.unlink()
    assert f"{LOCK} does not exist" in compress("run", "--locked", LOCK).err
    assert "reference cannot be read: Is a directory" in compress("run", "--locked", "reference").err


def test_a_pickle_is_not_trusted_because_a_lock_says_so(compress: Compress, locked: Path) -> None:
    edit(locked, lambda table: table["model"].update(trust_pickle=True))
    done = compress("run", "--locked", LOCK, "--out", "again")
    assert (done.code, "say --trust-pickle if it may again" in done.err) == (2, True)
