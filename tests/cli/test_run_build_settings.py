"""What compress.toml says about building engines, and what happens where it does not say enough."""

import json
from pathlib import Path

import pytest
from qdq_graphs import Sketch
from small_project import Compress


@pytest.fixture
def sequences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a model of sequences of any length, and stand in it."""
    s = Sketch(["batch", "sequence", 16])
    hidden = s.node("MatMul", "x", s.constant(s.random.standard_normal((16, 16))))
    (tmp_path / "model.onnx").write_bytes(s.finish(s.node("Relu", hidden), ["batch", "sequence", 16]).to_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(compress: Compress, target: str) -> tuple[int, str]:
    done = compress(
        "run", "model.onnx", "--target", target, "--recipe", "int8", "--out", "out", "--latency-seconds", "0.1"
    )
    return done.code, done.err


def test_a_missing_range_is_told_before_any_step_has_run(compress: Compress, sequences: Path) -> None:
    assert run(compress, "jetson")[0] == 20
    target = json.loads((sequences / "out" / "report.json").read_text())["targets"][0]
    assert target["steps"] == []
    assert "input `x`: axis 1 (`sequence`) is dynamic" in target["error"]
    assert "under [model] in compress.toml: ranges = { sequence = [1, 128, 512] }" in target["error"]


def test_a_range_reaches_the_kit_the_lock_and_the_report(compress: Compress, sequences: Path) -> None:
    (sequences / "compress.toml").write_text("[model]\nranges = { sequence = [1, 32, 64] }")
    assert run(compress, "jetson")[0] == 13
    target = json.loads((sequences / "out" / "report.json").read_text())["targets"][0]
    assert "Shapes: x 1×1×16 to 16×64×16, best at 1×32×16." in target["engine"]["notes"]
    kit = json.loads((sequences / "out" / "engine" / "jetson-orin-nano" / "kit.json").read_text())
    assert kit["inputs"][0]["ranges"]["max"] == [16, 64, 16]
    assert (
        "[model.ranges.sequence]\nmin = 1\nopt = 32\nmax = 64" in (sequences / "out" / "recipe.lock.toml").read_text()
    )


def test_a_range_of_no_axis_is_a_mistake_in_the_file(compress: Compress, sequences: Path) -> None:
    (sequences / "compress.toml").write_text("[model]\nranges = { sequnce = 64 }")
    code, told = run(compress, "jetson")
    assert code == 2
    assert "no input has a dynamic axis `sequnce`" in told
    assert "Did you mean `sequence`?" in told


def test_a_board_without_dla_is_told_before_any_step_has_run(compress: Compress, sequences: Path) -> None:
    (sequences / "compress.toml").write_text("[engine]\ndla = true\n[model]\nranges = { sequence = 64 }")
    assert run(compress, "jetson")[0] == 20
    target = json.loads((sequences / "out" / "report.json").read_text())["targets"][0]
    assert "target jetson-orin-nano has no deep learning accelerator" in target["error"]


def test_a_timing_cache_that_is_not_there_is_a_mistake_in_the_file(compress: Compress, sequences: Path) -> None:
    (sequences / "compress.toml").write_text('[engine]\ntiming_cache = "orin.cache"')
    code, told = run(compress, "jetson")
    assert code == 2
    assert "orin.cache does not exist" in told
    assert not (sequences / "out").exists()


def test_a_timing_cache_is_stated_with_its_digest(compress: Compress, sequences: Path) -> None:
    (sequences / "orin.cache").write_bytes(b"")
    (sequences / "compress.toml").write_text(
        '[engine]\ntiming_cache = "orin.cache"\n[model]\nranges = { sequence = 64 }'
    )
    assert run(compress, "jetson")[0] == 13
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    out = sequences / "out"
    target = json.loads((out / "report.json").read_text())["targets"][0]
    assert target["engine"]["versions"]["timing_cache"] == f"sha256:{empty}"
    statement = json.loads((out / "provenance.json").read_text())
    inputs = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert {"name": "timing cache", "digest": {"sha256": empty}} in inputs
    assert empty in (out / "recipe.lock.toml").read_text()
