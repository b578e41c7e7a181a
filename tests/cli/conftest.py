"""The command line as a function, a small project to run it on, and a stored report."""

from pathlib import Path

import pytest
from small_project import BOARD, FASHION, PROJECT, RECIPE, Compress, Outcome, nearest_mean_classifier
from small_reports import report

from compress.cli import main
from compress.report.json_file import write_report


@pytest.fixture
def compress(capsys: pytest.CaptureFixture[str]) -> Compress:
    """Return a function that runs the command line."""

    def run(*arguments: str | Path) -> Outcome:
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a model, its data and two boards, and stand in it."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(nearest_mean_classifier().to_bytes())
    (folder / "lossy.onnx").write_bytes(nearest_mean_classifier(outlier=3e4).to_bytes())
    for runtime in ("reference", "null"):
        (folder / runtime).mkdir()
        (folder / runtime / "board.toml").write_text(BOARD.format(runtime=runtime))
    (folder / "compress.toml").write_text(PROJECT)
    for name, images, labels, count in (
        ("calibration", "calibration-images-idx3-ubyte.gz", "calibration-labels-idx1-ubyte.gz", 64),
        ("evaluation", "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz", 400),
    ):
        text = RECIPE.format(source=FASHION / images, labels=FASHION / labels, count=count)
        (folder / f"{name}.toml").write_text(text)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """Return the path of a stored report of two targets, `cpu` measured, `jetson-orin-nano` simulated."""
    path = tmp_path / "report.json"
    write_report(report(), path)
    return path


@pytest.fixture
def results(compress: Compress, project: Path) -> Path:
    """Return the folder of a run for the reference evaluator."""
    done = compress(
        "run", "model.onnx", "--target", "reference/board.toml", "--max-drop", "5", "--latency-seconds", "0.1"
    )
    assert done.code == 0, done.err
    return project / "model.compressed"
