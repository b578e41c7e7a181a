import json
import shutil
from pathlib import Path

import pytest
from small_project import FASHION, RECIPE, Compress, change_a_byte

from compress.evidence.statement import PROVENANCE
from compress.store import hash_file


def test_a_folder_as_the_run_left_it_is_right_and_as_accurate_as_it_says(compress: Compress, results: Path) -> None:
    done = compress("verify", results, "--data", "evaluation.toml")
    assert done.code == 0, done.out + done.err
    report = json.loads((results / "report.json").read_text())
    value = report["targets"][0]["accuracy"]["compressed"]
    assert f"same     accuracy of board: top1 {value:.6g} on 400 samples" in done.out


def test_the_statement_names_every_file_but_itself_the_log_and_the_steps(results: Path) -> None:
    statement = json.loads((results / PROVENANCE).read_text())
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    named = {subject["name"]: subject["digest"]["sha256"] for subject in statement["subject"]}
    files = {path.relative_to(results).as_posix() for path in results.rglob("*") if path.is_file()}
    there = {name for name in files if name not in (PROVENANCE, "run.log") and not name.startswith(".steps/")}
    assert named == {name: hash_file(results / name) for name in there}
    report = json.loads((results / "report.json").read_text())
    sources = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    digests = [each["digest"]["sha256"] for each in sources if "digest" in each]
    data = report["data"]
    assert digests == [report["source"]["sha256"], data["calibration"]["digest"], data["evaluation"]["digest"]]


@pytest.mark.parametrize(
    "name",
    [
        "engine/board/model.onnx",
        "measurements/board.npz",
        "model.onnx",
        "recipe.lock.toml",
        "report.json",
        "report.md",
    ],
)
def test_one_changed_byte_of_any_file_is_found_and_named(compress: Compress, results: Path, name: str) -> None:
    change_a_byte(results / name)
    for flags in ((), ("--no-run",)):
        done = compress("verify", results, *flags)
        assert done.code == 2
        assert done.out.startswith(f"changed  {name}: SHA-256 ")
        assert len(done.out.splitlines()) == 2


def test_one_changed_byte_of_the_data_is_found(compress: Compress, project: Path, results: Path) -> None:
    images = project / "images.gz"
    shutil.copy(FASHION / "t10k-images-idx3-ubyte.gz", images)
    labels = FASHION / "t10k-labels-idx1-ubyte.gz"
    (project / "evaluation.toml").write_text(RECIPE.format(source=images, labels=labels, count=400))
    assert compress("verify", results, "--data", "evaluation.toml").code == 0
    import gzip

    pixels = bytearray(gzip.decompress(images.read_bytes()))
    for place in range(16, len(pixels), 28 * 28):  # the 400 samples are a random choice: one pixel of each image
        pixels[place] ^= 1
    images.write_bytes(gzip.compress(bytes(pixels), mtime=0))
    done = compress("verify", results, "--data", "evaluation.toml")
    assert done.code == 2
    assert done.out.startswith("changed  data evaluation.toml: digest ")


def test_missing_and_extra_files_are_named(compress: Compress, results: Path) -> None:
    (results / "report.md").unlink()
    (results / "engine" / "board" / "load.py").write_text("print('mine')\n")
    done = compress("verify", results)
    assert done.code == 2
    assert "missing  report.md: " in done.out
    assert "extra    engine/board/load.py: " in done.out


def test_links_are_not_followed(compress: Compress, project: Path, results: Path) -> None:
    model = results / "model.onnx"
    model.rename(project / "elsewhere.onnx")
    model.symlink_to(project / "elsewhere.onnx")
    engine = results / "engine"
    engine.rename(project / "elsewhere")
    engine.symlink_to(project / "elsewhere")
    done = compress("verify", results)
    assert done.code == 2
    assert "unsafe   model.onnx: a link" in done.out
    assert "missing  engine/board/model.onnx" in done.out
    assert "extra    engine: " in done.out


@pytest.mark.parametrize("name", ["../model.onnx", "/etc/hostname", "a\\..\\b"])
def test_a_path_that_leads_out_of_the_folder_is_not_read(compress: Compress, results: Path, name: str) -> None:
    path = results / PROVENANCE
    statement = json.loads(path.read_text())
    statement["subject"].append({"name": name, "digest": {"sha256": "0" * 64}})
    path.write_text(json.dumps(statement))
    done = compress("verify", results)
    assert done.code == 2
    assert done.out.startswith(f"unsafe   {name}: the path leads out of the folder")


def test_a_report_that_names_another_engine_than_the_statement_is_found(compress: Compress, results: Path) -> None:
    report = results / "report.json"
    right = hash_file(results / "engine" / "board" / "model.onnx")
    report.write_text(report.read_text().replace(right, "0" * 64))
    _sign_off(results, "report.json")
    done = compress("verify", results)
    assert done.code == 2
    assert done.out.startswith("differs  engine/board/model.onnx: the report says SHA-256 0000")


def test_an_accuracy_that_the_engine_does_not_have_is_found_though_all_digests_are_right(
    compress: Compress, results: Path
) -> None:
    report = results / "report.json"
    content = json.loads(report.read_text())
    content["targets"][0]["accuracy"]["compressed"] += 0.01
    report.write_text(json.dumps(content))
    _sign_off(results, "report.json")
    assert compress("verify", results, "--no-run").code == 0
    done = compress("verify", results, "--data", "evaluation.toml")
    assert done.code == 2
    assert done.out.startswith("differs  accuracy of board: top1 ")


def test_a_targets_name_that_is_a_path_does_not_choose_the_engine(compress: Compress, results: Path) -> None:
    outside = results.parent / "outside"
    outside.mkdir()
    shutil.copy(results.parent / "lossy.onnx", outside / "model.onnx")
    report = results / "report.json"
    content = json.loads(report.read_text())
    content["targets"][0]["target"] = "../../outside"
    report.write_text(json.dumps(content))
    _sign_off(results, "report.json")
    change_a_byte(outside / "model.onnx")
    done = compress("verify", results, "--data", "evaluation.toml")
    assert done.code == 0, done.out + done.err
    assert "same     accuracy of ../../outside" in done.out


def test_samples_that_are_not_known_leave_the_accuracy_undecided(compress: Compress, results: Path) -> None:
    done = compress("verify", results)
    assert done.code == 13
    assert "give them with --data SPEC" in done.out


def test_an_engine_of_this_cpu_is_opened_with_the_options_that_it_was_shipped_with(
    compress: Compress, project: Path
) -> None:
    flags = ("--contest-seconds", "0.1", "--providers", "cpu", "--latency-seconds", "0.1", "--max-drop", "100")
    assert compress("run", "model.onnx", "--target", "cpu", *flags).code == 0
    done = compress("verify", "model.compressed", "--data", "evaluation.toml", "--json")
    assert done.code == 0, done.out
    found = json.loads(done.out)
    assert found["findings"] == []
    assert [each["outcome"] for each in found["accuracy"]] == ["same"]


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (None, "is missing"),
        ("{", "no statement of a run"),
        ("[" * 100_000, "no statement of a run"),
        ('{"_type": "https://in-toto.io/Statement/v0.1"}', "_type"),
    ],
)
def test_a_statement_that_cannot_be_read_is_one_message_and_one_hint(
    compress: Compress, tmp_path: Path, content: str | None, word: str
) -> None:
    if content is not None:
        (tmp_path / PROVENANCE).write_text(content)
    done = compress("verify", tmp_path)
    assert done.code == 2
    assert word in done.err
    assert [line.split(":")[0] for line in done.err.splitlines()] == ["error", "hint"]


def test_a_folder_that_is_not_there_and_flags_that_exclude_each_other_are_said(
    compress: Compress, tmp_path: Path
) -> None:
    assert "is not a folder" in compress("verify", tmp_path / "nowhere").err
    assert "--no-run" in compress("verify", tmp_path, "--no-run", "--data", "x").err


def _sign_off(results: Path, name: str) -> None:
    """Put the new digest of a file into the statement, as somebody would who can write to the folder."""
    path = results / PROVENANCE
    statement = json.loads(path.read_text())
    for subject in statement["subject"]:
        if subject["name"] == name:
            subject["digest"]["sha256"] = hash_file(results / name)
    path.write_text(json.dumps(statement))
