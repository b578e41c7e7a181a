import json
from pathlib import Path

import pytest
from small_project import Compress
from two_reports import hits, target_of, with_target

from compress.report.json_file import write_report
from compress.report.measurements import RawMeasurements, write_measurements


def store(folder: Path, raw: RawMeasurements) -> Path:
    (folder / "measurements").mkdir(parents=True)
    name = "measurements/cpu.npz"
    file = write_measurements(raw, folder / name, name)
    write_report(with_target(target_of(raw, measurements=file)), folder / "report.json")
    return folder


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Return the folders of two runs; the second one lost samples."""
    return store(tmp_path / "a", hits(10)), store(tmp_path / "b", hits(60))


def test_two_folders_are_compared_sample_by_sample(compress: Compress, pair: tuple[Path, Path]) -> None:
    done = compress("diff", *pair)
    assert done.code == 0
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert lines[0] == "The verdict is still PASS (0)."
    assert "top1 99.00 % 94.00 % -5.00 points (-6.53 to -3.81) worse" in lines
    assert "Accuracy: paired sample by sample, 1000 samples, 50 lost and 0 won, McNemar mid-p 8.9e-16." in lines
    assert lines[-1] == "Nothing else changed."


def test_json_and_markdown_say_the_same(compress: Compress, pair: tuple[Path, Path]) -> None:
    found = json.loads(compress("diff", pair[0] / "report.json", pair[1], "--format", "json").out)
    assert found["targets"][0]["accuracy"]["lost"] == 50
    text = compress("diff", *pair, "--format", "md").out
    assert "| top1 | 99.00 % | 94.00 % | -5.00 points (-6.53 to -3.81) | worse |" in text


def test_a_report_alone_is_compared_by_its_numbers(compress: Compress, pair: tuple[Path, Path]) -> None:
    (pair[1] / "measurements" / "cpu.npz").unlink()
    done = compress("diff", *pair)
    assert done.code == 0
    assert f"not paired: measurements/cpu.npz does not lie beside {pair[1]}" in done.out


@pytest.mark.parametrize("wrong", ["report", "measurements", "format", "absent"])
def test_bad_input_is_exit_2_with_a_place_and_a_hint(compress: Compress, pair: tuple[Path, Path], wrong: str) -> None:
    flags, expected = [], str(pair[1])
    if wrong == "report":
        (pair[1] / "report.json").write_text('{"schema": "compress.report/1"')
    elif wrong == "measurements":
        path = pair[1] / "measurements" / "cpu.npz"
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    elif wrong == "format":
        flags, expected = ["--format", "yaml"], "unknown format `yaml`"
    else:
        (pair[1] / "report.json").unlink()
    done = compress("diff", *pair, *flags)
    assert done.code == 2
    assert done.out == ""
    assert expected in done.err
    assert "\nhint: " in done.err


def test_two_real_runs_are_compared(compress: Compress, project: Path) -> None:
    flags = ("--target", "reference/board.toml", "--latency-seconds", "0.1", "--max-drop", "100", "--quiet")
    for model, recipe in (("model.onnx", "int8"), ("lossy.onnx", "int8"), ("model.onnx", "float")):
        out = f"{Path(model).stem}-{recipe}"
        assert compress("run", model, *flags, "--recipe", recipe, "--out", out).code == 0
    found = json.loads(compress("diff", "model-int8", "lossy-int8", "--format", "json").out)
    (target,) = found["targets"]
    assert (target["accuracy"]["paired"], target["accuracy"]["word"]) == (True, "worse")
    found = json.loads(compress("diff", "model-int8", "model-float", "--format", "json").out)
    order = next(change for change in found["changes"] if change["what"] == "order")
    assert (order["before"], order["after"]) == (["quantize"], [])
