import json
import tomllib
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import pytest
from small_project import BOARD, PROJECT, Compress, nearest_mean_classifier

from compress.cli.run import _command, add_parser
from compress.errors import ModelError, TargetError
from compress.report.json_file import read_report
from compress.report.measurements import read_measurements
from compress.report.schema import schema_path
from compress.store import hash_file

REFERENCE = Path("reference/board.toml")
NULL = Path("null/board.toml")
FAST = ("--latency-seconds", "0.2")


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_a_run_passes_and_leaves_engine_reports_lock_and_log(compress: Compress, project: Path) -> None:
    done = compress("run", "model.onnx", "--target", REFERENCE, "--max-drop", "5", *FAST)
    assert done.code == 0, done.err
    assert "verdict: PASS" in done.out
    assert done.out.rstrip().endswith("results in model.compressed")
    out = project / "model.compressed"
    left = {path.name for path in out.iterdir()}
    named = {
        "bom.cdx.json",
        "engine",
        "measurements",
        "model.onnx",
        "provenance.json",
        "recipe.lock.toml",
        "report.json",
        "report.html",
        "report.md",
        "run.log",
        ".steps",
    }
    assert left == named
    onnx.checker.check_model(onnx.load(out / "engine" / "board" / "model.onnx"))
    report = json.loads((out / "report.json").read_text())
    jsonschema.validate(report, json.loads(schema_path().read_text()))
    assert report["source"]["export_check"]["samples"] == 64
    assert report["data"]["evaluation"] == {
        **report["data"]["evaluation"], "samples": 400, "overlap_with_calibration": 0, "synthetic": False,
    }  # fmt: skip
    target = report["targets"][0]
    assert target["accuracy"]["samples"] == 400
    assert target["accuracy"]["measured_on"] == "engine"
    assert target["engine"]["nodes"] == {"int8": 2}
    assert [step["step"] for step in report["steps"]] == ["quantize"]


def test_every_samples_outcome_and_every_rounds_seconds_are_stored_beside_the_report(
    compress: Compress, project: Path
) -> None:
    assert compress("run", "model.onnx", "--target", REFERENCE, "--max-drop", "5", *FAST).code == 0
    target = read_report(project / "model.compressed").targets[0]
    assert target.measurements is not None
    assert target.accuracy is not None
    assert target.latency is not None
    assert target.measurements.path == "measurements/board.npz"
    raw = read_measurements(target.measurements, project / "model.compressed")
    assert raw.baseline_score is not None
    assert raw.compressed_score is not None
    assert raw.label is not None
    assert raw.baseline_score.mean() == pytest.approx(target.accuracy.baseline)
    assert raw.compressed_score.mean() == pytest.approx(target.accuracy.compressed)
    assert np.array_equal(raw.baseline_prediction == raw.label, raw.baseline_score == 1)
    assert raw.compressed_seconds is not None
    assert float(np.median(raw.compressed_seconds)) == target.latency.compressed.p50
    assert target.measurements.bytes < 40 * raw.samples + 40 * len(raw.compressed_seconds) + 4000


def test_the_worst_mistakes_are_kept_and_shown_as_pictures_unless_the_project_forbids_it(
    compress: Compress, project: Path
) -> None:
    flags = ("lossy.onnx", "--target", REFERENCE, "--recipe", "int8", *FAST)
    assert compress("run", *flags).code == 10
    out = project / "lossy.compressed"
    target = read_report(out).targets[0]
    assert target.measurements is not None
    raw = read_measurements(target.measurements, out)
    assert raw.label is not None
    assert raw.baseline_prediction is not None
    assert raw.compressed_prediction is not None
    lost = (raw.baseline_prediction == raw.label) & (raw.compressed_prediction != raw.label)
    assert len(raw.pictures) == min(24, lost.sum())
    assert all(lost[place] and picture.shape == (28, 28) for place, picture in raw.pictures.items())
    assert (out / "report.html").read_text().count('<img src="data:image/png;base64,') == len(raw.pictures)
    (project / "compress.toml").write_text(PROJECT + "pictures = false\n")
    compress("run", *flags)
    assert "<img" not in (out / "report.html").read_text()


@pytest.fixture
def cpu(project: Path) -> str:
    """Return the target file of whatever CPU this is."""
    (project / "here").mkdir()
    (project / "here" / "board.toml").write_text(BOARD.format(runtime="onnxruntime") + 'isa = "detect"\n')
    return "here/board.toml"


def test_the_fastest_engine_is_shipped_with_what_loads_it(compress: Compress, project: Path, cpu: str) -> None:
    flags = ("--target", cpu, "--max-drop", "5", "--contest-seconds", "0.2", "--providers", "cpu", *FAST)
    assert compress("run", "model.onnx", *flags).code == 0
    report = json.loads((project / "model.compressed" / "report.json").read_text())
    jsonschema.validate(report, json.loads(schema_path().read_text()))
    target = report["targets"][0]
    contest = target["contest"]
    assert [each["graph"] for each in contest["engines"]] == ["compressed", "original"]
    assert sum(each["outcome"] == "won" for each in contest["engines"]) == 1
    folder = project / "model.compressed" / "engine" / "board"
    listed = {Path(file["path"]).name: file["sha256"] for file in target["engine"]["files"]}
    assert listed == {path.name: hash_file(path) for path in folder.iterdir()}
    assert {"model.onnx", "load.py", "engine.json", "README.md"} <= set(listed)
    assert json.loads((folder / "engine.json").read_text())["options"]["threads"] == 1
    assert contest["finding"] in (project / "model.compressed" / "report.md").read_text()


def test_peak_memory_is_measured_shown_and_judged(compress: Compress, project: Path, cpu: str) -> None:
    fast = ("--target", cpu, "--max-drop", "5", "--contest-seconds", "0", *FAST)
    done = compress("run", "model.onnx", *fast, "--max-memory", "1KB")
    assert done.code == 12, done.err
    target = read_report(project / "model.compressed").targets[0]
    assert target.memory is not None
    # Two sessions of so small a graph take what the runtime itself takes for its first one.
    assert 1 << 20 < target.memory.compressed_peak < 1 << 28
    assert 1 << 20 < target.memory.baseline_peak < 1 << 28
    text = (project / "model.compressed" / "report.md").read_text()
    assert "| peak memory |" in text
    assert target.memory.method in text
    assert "peak memory" in done.out
    assert target.memory.method in (project / "model.compressed" / "report.html").read_text().replace("&#39;", "'")
    assert compress("gate", "model.compressed").code == 12
    passed = compress("gate", "model.compressed", "--max-memory", "256MiB")
    assert passed.code == 0
    assert "within the limit of 268 MB" in passed.out


def test_memory_that_nobody_measured_is_no_pass(compress: Compress, project: Path) -> None:
    done = compress("run", "model.onnx", "--target", REFERENCE, "--max-drop", "5", "--max-memory", "1GB", *FAST)
    assert done.code == 13
    assert read_report(project / "model.compressed").targets[0].memory is None
    assert "and none was measured" in done.out


def test_the_contest_is_bounded_in_compress_toml_and_flags_win(compress: Compress, project: Path, cpu: str) -> None:
    (project / "compress.toml").write_text(PROJECT + '[engine]\nproviders = "cpu"\nseconds = 0\n')
    compress("run", "model.onnx", "--target", cpu, "--recipe", "float", *FAST)
    out = project / "model.compressed"
    assert json.loads((out / "report.json").read_text())["targets"][0]["contest"] is None
    assert (out / "engine" / "board" / "load.py").exists()
    assert tomllib.loads((out / "recipe.lock.toml").read_text())["engine"] == {
        "providers": "cpu",
        "seconds": 0.0,
        "dla": False,
    }
    flags = ("--recipe", "float", "--contest-seconds", "0.1", *FAST)
    compress("run", "model.onnx", "--target", cpu, *flags)
    assert json.loads((out / "report.json").read_text())["targets"][0]["contest"]["absent"] == []


def test_the_lock_file_has_every_default(compress: Compress, project: Path) -> None:
    compress("run", "model.onnx", "--target", NULL, *FAST)
    lock = tomllib.loads((project / "model.compressed" / "recipe.lock.toml").read_text())
    settings = lock["recipe"]["quantize"]
    assert settings == {
        "observer": "mse",
        "percentile": 99.99,
        "samples": 2048,
        "smooth": True,
        "equalize": True,
        "bias_correction": "stepwise",
        "rounding": "nearest",
    }
    assert [target["name"] for target in lock["targets"]] == ["board"]
    assert set(lock["data"]) == {"calibration", "evaluation", "pictures"}
    assert "torch" in lock["versions"]


def test_two_targets_share_the_calibration(compress: Compress, project: Path) -> None:
    other = project / "second.toml"
    other.write_text(NULL.read_text().replace('"board"', '"second"'))
    done = compress("run", "model.onnx", "--target", NULL, "--target", other, "--max-drop", "100", *FAST, "--json")
    report = json.loads(done.out)
    assert [target["target"] for target in report["targets"]] == ["board", "second"]
    assert [len(report["steps"]), *(len(target["steps"]) for target in report["targets"])] == [1, 0, 0]
    entries = [path.name for path in (project / "model.compressed" / ".steps").iterdir()]
    assert len([name for name in entries if name.startswith("calibration-")]) == 1


def test_the_same_run_gives_the_same_engine_byte_for_byte(compress: Compress, project: Path) -> None:
    for out in ("one", "two"):
        compress("run", "model.onnx", "--target", NULL, "--out", out, *FAST)
    first, second = (project / out / "engine" / "board" / "model.onnx" for out in ("one", "two"))
    assert first.read_bytes() == second.read_bytes()


def test_a_resumed_run_takes_finished_steps_from_the_store(
    compress: Compress, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("compress.attempts.build_engines", killed)
        stopped = compress("run", "model.onnx", "--target", NULL, *FAST)
    assert stopped.code == 130
    assert "--resume" in stopped.err
    assert {path.name for path in (project / "model.compressed").iterdir()} == {".steps"}
    monkeypatch.setattr("compress.quantize.static.calibrate", killed)
    assert compress("run", "model.onnx", "--target", NULL, "--resume", "--max-drop", "100", *FAST).code == 0
    assert (project / "model.compressed" / "report.json").exists()


@pytest.mark.parametrize(
    ("flags", "code", "word"),
    [
        (("--max-drop", "5", "--max-latency", "1us"), 11, "p99"),
        (("--max-drop", "5", "--max-size", "1KB"), 12, "size"),
        (("--max-drop", "5", "--min-speedup", "1000"), 11, "speed"),
        (("--max-drop", "0.0001"), 13, "samples would decide"),
    ],
)
def test_a_limit_that_is_broken_has_its_own_exit_code(
    compress: Compress, project: Path, flags: tuple[str, ...], code: int, word: str
) -> None:
    done = compress("run", "model.onnx", "--target", REFERENCE, *flags, *FAST)
    assert done.code == code, done.out
    assert word in done.out
    assert (project / "model.compressed" / "engine" / "board" / "model.onnx").exists()


def test_a_model_that_loses_accuracy_fails_with_10_and_keeps_its_engine(compress: Compress, project: Path) -> None:
    done = compress("run", "lossy.onnx", "--target", REFERENCE, "--max-drop", "0", "--recipe", "int8", *FAST)
    assert done.code == 10, done.out
    assert "beyond the budget" in done.out
    assert (project / "lossy.compressed" / "engine" / "board" / "model.onnx").exists()


def test_without_data_the_verdict_is_13_and_the_samples_are_called_made_up(compress: Compress, project: Path) -> None:
    (project / "compress.toml").unlink()
    done = compress("run", "model.onnx", "--target", REFERENCE, *FAST)
    assert done.code == 13
    report = json.loads((project / "model.compressed" / "report.json").read_text())
    assert report["data"]["evaluation"]["synthetic"] is True
    assert report["targets"][0]["accuracy"] is None
    assert report["targets"][0]["fidelity"]["synthetic"] is True
    assert any("made-up" in note for note in report["data"]["notes"])


def test_evaluation_samples_without_labels_are_told_before_the_tables(compress: Compress, project: Path) -> None:
    np.savez(project / "bare.npz", x=np.random.default_rng(0).random((40, 1, 28, 28), np.float32))
    done = compress("run", "model.onnx", "--target", NULL, "--eval", "bare.npz", "--latency-seconds", "0.2")
    assert done.code == 13
    notes = [line for line in done.out.splitlines() if line.startswith("samples: ")]
    assert "samples: `bare.npz` has no labels: no metric that needs them can be measured on it" in notes


def test_calibrating_on_evaluation_samples_is_reported(compress: Compress, project: Path) -> None:
    (project / "compress.toml").write_text('[data]\nevaluation = "evaluation.toml"\n')
    compress("run", "model.onnx", "--target", NULL, *FAST)
    report = json.loads((project / "model.compressed" / "report.json").read_text())
    assert report["data"]["evaluation"]["overlap_with_calibration"] == 256
    assert any("256" in note for note in report["data"]["notes"])


def test_quiet_prints_the_verdict_only_and_json_nothing_but_json(compress: Compress, project: Path) -> None:
    quiet = compress("run", "model.onnx", "--target", NULL, "--quiet", "--max-drop", "100", *FAST)
    assert quiet.out.startswith("verdict: PASS")
    assert "latency" not in quiet.out
    noisy = compress("run", "model.onnx", "--target", NULL, "--json", *FAST)
    assert json.loads(noisy.out)["schema"] == "compress.report/1"
    assert noisy.err == ""


def test_a_target_that_cannot_be_built_is_20_and_the_other_is_still_done(
    compress: Compress, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise TargetError("the compiler refuses node `head`", hint="leave it in float")

    monkeypatch.setattr("compress.runtimes.reference.build", refuse)
    other = project / "second.toml"
    other.write_text(NULL.read_text().replace('"board"', '"second"'))
    done = compress("run", "model.onnx", "--target", REFERENCE, "--target", other, "--max-drop", "100", *FAST)
    assert done.code == 20
    assert "the compiler refuses node `head`" in done.out
    report = json.loads((project / "model.compressed" / "report.json").read_text())
    assert [target["engine"] is None for target in report["targets"]] == [True, False]


def test_a_recipe_with_attempts_stops_at_the_first_within_the_budget(compress: Compress, project: Path) -> None:
    (project / "two.toml").write_text('attempts = [["quantize"], []]\n')
    flags = ("--target", REFERENCE, "--recipe", "two.toml", *FAST, "--json")
    enough = json.loads(compress("run", "model.onnx", *flags, "--max-drop", "5").out)
    assert enough["targets"][0]["attempts"] == []
    assert enough["targets"][0]["engine"]["nodes"] == {"int8": 2}
    missed = json.loads(compress("run", "lossy.onnx", *flags, "--max-drop", "2").out)
    target = missed["targets"][0]
    assert [(attempt["steps"], attempt["kept"]) for attempt in target["attempts"]] == [
        (["quantize"], False),
        ([], True),
    ]
    assert target["verdict"]["status"] == "pass"
    engine = project / "lossy.compressed" / target["engine"]["files"][0]["path"]
    assert hash_file(engine) == target["engine"]["files"][0]["sha256"]
    told = (project / "lossy.compressed" / "report.md").read_text()
    assert "Attempt quantize: drop" in told
    assert "Attempt float: drop 0.00 points, kept." in told


def test_the_best_attempt_is_kept_though_none_is_within_the_budget(compress: Compress, project: Path) -> None:
    (project / "two.toml").write_text('attempts = [["quantize"], ["quantize"]]\n')
    flags = ("--target", REFERENCE, "--recipe", "two.toml", "--max-drop", "0.5", *FAST, "--json")
    target = json.loads(compress("run", "lossy.onnx", *flags).out)["targets"][0]
    assert [attempt["kept"] for attempt in target["attempts"]] == [True, False]
    assert target["verdict"]["exit_code"] == 10
    assert (project / "lossy.compressed" / "engine" / "board" / "model.onnx").exists()


def test_an_attempt_that_fails_leaves_the_one_before_and_says_so(
    compress: Compress, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ModelError("2 operators of this model cannot be run in PyTorch: Foo, Bar", hint="leave it out")

    monkeypatch.setattr("compress.quantize.mixed.step.mix_precision", refuse)
    monkeypatch.setattr("compress.quantize.qat.step.train_quantized", refuse)
    done = compress("run", "lossy.onnx", "--target", REFERENCE, "--max-drop", "1", *FAST)
    assert done.code == 10
    for number in (2, 3):
        assert f"Attempt {number} of recipe auto came to nothing" in done.out.replace("\n", " ")
    assert (project / "lossy.compressed" / "engine" / "board" / "model.onnx").exists()


def test_a_time_budget_reaches_the_steps_that_train(compress: Compress, project: Path) -> None:
    compress("run", "model.onnx", "--target", NULL, "--time-budget", "90s", "--max-drop", "100", *FAST)
    lock = tomllib.loads((project / "model.compressed" / "recipe.lock.toml").read_text())
    assert lock["recipe"]["name"] == "auto"
    assert lock["recipe"]["attempts"] == [["quantize"], ["quantize", "mixed"], ["quantize", "qat"]]
    for step in ("mixed", "qat"):
        assert lock["recipe"][step]["time_budget_seconds"] == 90


def test_layers_go_back_to_float_where_int8_misses_the_budget(compress: Compress, project: Path) -> None:
    recipe = 'attempts = [["quantize"], ["quantize", "mixed"]]\n[mixed]\nlatency_seconds = 0.1\n'
    (project / "two.toml").write_text(recipe)
    flags = ("--target", REFERENCE, "--recipe", "two.toml", "--max-drop", "2", "--threads", "2", *FAST, "--json")
    report = json.loads(compress("run", "lossy.onnx", *flags).out)
    target = report["targets"][0]
    assert [attempt["kept"] for attempt in target["attempts"]] == [False, True]
    assert target["accuracy"]["drop"] < 0.02
    mixed = next(step for step in (*report["steps"], *target["steps"]) if step["step"] == "mixed")
    assert mixed["settings"]["max_drop"] == 2
    assert mixed["settings"]["latency_threads"] == 2
    assert mixed["metrics"]["goal"] == "drop of top1 of at most 2 points"
    assert "Gemm_1" in mixed["metrics"]["float_layers"]
    assert "frontier" not in (project / "lossy.compressed" / "report.md").read_text()


def test_the_float_recipe_compiles_the_model_as_it_is(compress: Compress, project: Path) -> None:
    compress("run", "model.onnx", "--target", NULL, "--recipe", "float", *FAST)
    out = project / "model.compressed"
    assert (out / "engine" / "board" / "model.onnx").read_bytes() == (out / "model.onnx").read_bytes()


def test_a_second_run_replaces_the_first_and_a_foreign_folder_is_left_alone(compress: Compress, project: Path) -> None:
    for _ in range(2):
        assert compress("run", "model.onnx", "--target", NULL, "--max-drop", "100", *FAST).code == 0
    foreign = project / "thesis"
    foreign.mkdir()
    (foreign / "chapter.txt").write_text("years of work")
    done = compress("run", "model.onnx", "--target", NULL, "--out", "thesis", *FAST)
    assert done.code == 2
    assert "not empty" in done.err
    assert files_below(foreign) == {"chapter.txt"}


def jpeg(project: Path) -> None:
    (project / "bad.pt").write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(200))


def truncated_archive(project: Path) -> None:
    import zipfile

    with zipfile.ZipFile(project / "whole.zip", "w") as archive:
        archive.writestr("archive/models/model.json", "{}" * 500)
        archive.writestr("archive/archive_format", "pt2")
    (project / "bad.pt").write_bytes((project / "whole.zip").read_bytes()[:-60])
    (project / "whole.zip").unlink()


def climbing_external_data(project: Path) -> None:
    model = onnx.ModelProto.FromString(nearest_mean_classifier().to_bytes())
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", "../secret.bin"), ("offset", "0"), ("length", "64")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    (project / "bad.pt").write_bytes(model.SerializeToString())


def pickle_with_code(project: Path) -> None:
    import pickle

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return exec, ("open('executed', 'w').close()",)

    (project / "bad.pt").write_bytes(pickle.dumps(Evil()))


def missing(project: Path) -> None:
    """Leave it missing."""


@pytest.mark.parametrize("make", [jpeg, truncated_archive, climbing_external_data, pickle_with_code, missing])
def test_a_bad_model_file_is_one_message_one_hint_and_nothing_left(
    compress: Compress, project: Path, make: object
) -> None:
    make(project)  # type: ignore[operator]
    before = files_below(project)
    done = compress("run", "bad.pt", "--target", NULL, *FAST)
    assert done.code == 2
    assert done.out == ""
    lines = done.err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["error", "hint"], done.err
    assert files_below(project) == before


def nan_samples(project: Path) -> str:
    images = np.zeros((8, 1, 28, 28), np.float32)
    images[5, 0, 3, 3] = np.nan
    np.savez(project / "bad.npz", x=images, labels=np.zeros(8, np.int64))
    return "bad.npz"


def wrong_shape(project: Path) -> str:
    np.savez(project / "bad.npz", x=np.zeros((8, 28, 28, 3), np.float32), labels=np.zeros(8, np.int64))
    return "bad.npz"


def not_an_archive(project: Path) -> str:
    (project / "bad.npz").write_bytes(b"PK\x03\x04 not really")
    return "bad.npz"


@pytest.mark.parametrize("flag", ["--data", "--eval"])
@pytest.mark.parametrize("make", [nan_samples, wrong_shape, not_an_archive])
def test_bad_samples_are_one_message_one_hint_and_nothing_left(
    compress: Compress, project: Path, make: object, flag: str
) -> None:
    spec = make(project)  # type: ignore[operator]
    before = files_below(project)
    done = compress("run", "model.onnx", "--target", NULL, flag, spec, *FAST)
    assert done.code == 2
    assert [line.split(":")[0] for line in done.err.splitlines()] == ["error", "hint"], done.err
    assert "bad.npz" in done.err
    assert files_below(project) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--target", "jetsom"), ("unknown target `jetsom`", "jetson")),
        ((), ("no target", "--target")),
        (("--target", "cpu", "--recipe", "int9"), ("unknown recipe `int9`", "int8")),
        (("--target", "cpu", "--threads", "0"), ("--threads 0", "--threads 1")),
        (("--target", "cpu", "--contest-seconds", "-1"), ("--contest-seconds -1", "no contest")),
        (("--target", "cpu", "--max-drop", "lots"), ("--max-drop lots", "")),
        (("--target", "cpu", "--max-latency", "8"), ("--max-latency 8", "8ms")),
        (("--target", "cpu", "--metric", "top2"), ("top2", "top1")),
        (("--target", "cpu", "--data", "nowhere.npz"), ("nowhere.npz", "")),
        (("--target", "cpu", "--input", "image"), ("--input `image`", "image=batch")),
        (("--target", "cpu", "--no-such-flag"), ("--no-such-flag", "--help")),
    ],
)
def test_a_wrong_flag_is_named_with_what_to_do(
    compress: Compress, project: Path, arguments: tuple[str, ...], words: tuple[str, str]
) -> None:
    before = files_below(project)
    done = compress("run", "model.onnx", *arguments)
    assert done.code == 2
    error, hint = done.err.splitlines()
    assert words[0] in error
    assert words[1] in hint
    assert files_below(project) == before


def test_a_wrong_key_in_compress_toml_is_named_with_its_place(compress: Compress, project: Path) -> None:
    (project / "compress.toml").write_text("[gate]\nmax_dropp = 1.0\n")
    done = compress("run", "model.onnx", "--target", NULL)
    assert done.code == 2
    assert "max_dropp" in done.err
    assert "max_drop" in done.err.splitlines()[1]


def test_the_command_in_the_report_repeats_the_run() -> None:
    import argparse

    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    typed = ["run", "m.pt", "--target", "cpu", "--target", "jetson", "--max-drop", "0.5", "--seed", "3"]
    options = parser.parse_args(typed)
    repeated = parser.parse_args(_command(options).split()[1:])
    assert repeated == options


def test_rules_on_single_samples_judge_a_run_and_the_stored_report_alike(compress: Compress, project: Path) -> None:
    (project / "gate.toml").write_text("[gate]\nmax_drop = 5\nmax_class_drop = 60\nmax_flip_rate = 20\n")
    flags = ("--max-drop", "5", "--max-class-drop", "60", "--max-flip-rate", "20")
    done = compress("run", "model.onnx", "--target", REFERENCE, *flags, *FAST)
    assert done.code == 0, done.err
    reasons = read_report(project / "model.compressed").verdict.reasons
    assert [reason.split(" is ")[0] for reason in reasons if reason.startswith("The worst class")] == [
        "The worst class"
    ]
    again = compress("gate", "model.compressed", "--policy", "gate.toml", "--json")
    assert again.code == 0, again.err
    assert tuple(json.loads(again.out)["verdict"]["reasons"]) == reasons
    by_lock = compress("gate", "model.compressed", "--json")
    assert json.loads(by_lock.out)["policy"]["source"] == "run"
    assert json.loads(by_lock.out)["verdict"]["reasons"] == list(reasons)


def test_a_drop_that_no_accuracy_has_is_refused_before_anything_runs(compress: Compress, project: Path) -> None:
    done = compress("run", "model.onnx", "--target", REFERENCE, "--max-drop", "5000", *FAST)
    assert done.code == 2
    assert "`max_drop` is 5000 points, and the metric has 100 at most" in done.err
    assert not (project / "model.compressed").exists()
