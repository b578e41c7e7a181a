from pathlib import Path

import pytest

import compress


def test_run_returns_the_report_and_prints_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from small_project import nearest_mean_classifier

    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.onnx").write_bytes(nearest_mean_classifier().to_bytes())
    report = compress.run(
        "model.onnx", targets=["cpu"], out=tmp_path / "out", latency_seconds=0.2, evaluation="fashion-mnist/calibration"
    )
    assert isinstance(report, compress.Report)
    assert report.targets[0].engine is not None
    assert (tmp_path / "out" / "report.json").exists()
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_a_locked_run_needs_nothing_but_its_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from small_project import nearest_mean_classifier

    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.onnx").write_bytes(nearest_mean_classifier().to_bytes())
    compress.run("model.onnx", targets=["cpu"], out=tmp_path / "out", latency_seconds=0.1, contest_seconds=0)
    # Results in the place of those that the lock came from.
    report = compress.run(locked=tmp_path / "out" / "recipe.lock.toml", out=tmp_path / "out")
    assert report.source.notes[-1].endswith("2 graphs are byte for byte the same.")
    with pytest.raises(compress.CompressError, match="no model given"):
        compress.run(targets=["cpu"])


def test_a_mistake_raises_with_hint_and_exit_code(tmp_path: Path) -> None:
    with pytest.raises(compress.CompressError, match="does not exist") as caught:
        compress.run(tmp_path / "missing.pt", targets=["cpu"])
    assert caught.value.hint
    assert caught.value.exit_code == 2


def test_targets_load_by_alias_and_unknown_attributes_are_errors() -> None:
    assert compress.load_target("jetson").name == "jetson-orin-nano"
    with pytest.raises(AttributeError, match="frobnicate"):
        compress.frobnicate  # noqa: B018
