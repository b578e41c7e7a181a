import json
from pathlib import Path

import numpy as np
import pytest
from small_project import Compress


def test_eval_gives_the_accuracy_with_its_interval(compress: Compress, project: Path) -> None:
    done = compress("eval", "model.onnx", "--data", "evaluation.toml", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["samples"] == 400
    assert 0.5 < found["interval"][0] < found["value"] < found["interval"][1] < 0.8
    assert found["measured_on"] == "engine"
    told = compress("eval", "model.onnx", "--data", "evaluation.toml")
    assert f"top1 {100 * found['value']:.2f} %" in told.out
    assert "400 samples, measured" in told.out


def test_eval_of_a_metric_that_is_no_proportion_has_a_bootstrap_interval(compress: Compress, project: Path) -> None:
    done = compress("eval", "model.onnx", "--data", "evaluation.toml", "--metric", "f1", "--simulate")
    assert done.code == 0, done.err
    assert "bootstrap" in done.out
    assert done.out.rstrip().endswith("simulated")


def test_eval_agrees_with_the_run_that_built_the_engine(compress: Compress, project: Path) -> None:
    run = compress("run", "model.onnx", "--target", "cpu", "--json", "--latency-seconds", "0.2")
    wanted = json.loads(run.out)["targets"][0]["accuracy"]["compressed"]
    engine = project / "model.compressed" / "engine" / "cpu" / "model.onnx"
    found = json.loads(compress("eval", engine, "--data", "evaluation.toml", "--json").out)
    assert found["value"] == wanted


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda folder: ("missing.onnx", "evaluation.toml"), "missing.onnx"),
        (lambda folder: ("compress.toml", "evaluation.toml"), "not an ONNX file"),
        (lambda folder: ("results", "evaluation.toml"), "results/engine/cpu/model.onnx"),
        (lambda folder: ("results/engine/cpu", "evaluation.toml"), "an .onnx file: results/engine/cpu/model.onnx"),
        (lambda folder: ("model.onnx", "nowhere"), "nowhere"),
        (lambda folder: ("model.onnx", "unlabelled.npz"), "no labels"),
    ],
)
def test_bad_input_of_eval_is_one_message_and_one_hint(
    compress: Compress, project: Path, make: object, word: str
) -> None:
    (project / "results" / "engine" / "cpu").mkdir(parents=True)
    (project / "results" / "engine" / "cpu" / "model.onnx").touch()
    np.savez(project / "unlabelled.npz", x=np.zeros((3, 1, 28, 28), np.float32))
    engine, data = make(project)  # type: ignore[operator]
    done = compress("eval", engine, "--data", data)
    assert done.code == 2
    assert word in done.err
    assert [line.split(":")[0] for line in done.err.splitlines()] == ["error", "hint"]
