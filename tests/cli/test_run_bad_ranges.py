"""Inputs and activations whose ranges are no ranges, through the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from small_graphs import build, normal
from small_project import Compress

REFERENCE = Path("reference/board.toml")
FAST = ("--latency-seconds", "0.2", "--recipe", "int8")


def write_images(path: Path, images: np.ndarray, labels: np.ndarray | None = None) -> Path:
    if labels is None:
        np.savez(path, x=images.astype(np.float32))
    else:
        np.savez(path, x=images.astype(np.float32), labels=labels)
    return path


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 1, 28, 28))


@pytest.fixture
def evaluation(project: Path) -> Path:
    return write_images(project / "evaluation.npz", images(64, seed=1), np.arange(64) % 10)


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_activations_that_never_change_are_quantized(compress: Compress, project: Path, value: float) -> None:
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "none", "bias"], ["h"], "constant"),
        helper.make_node("Gemm", ["h", "w"], ["y"], "head"),
    ]
    constants = {"none": np.zeros((784, 4), np.float32), "bias": np.full(4, value, np.float32), "w": normal(4, 10)}
    model = build(nodes, constants, ["batch", 1, 28, 28], ["y"])
    (project / "constant.onnx").write_bytes(model.to_bytes())
    done = compress("run", "constant.onnx", "--target", REFERENCE, "--max-drop", "100", *FAST, "--json")
    assert done.code == 0, done.err
    target = json.loads(done.out)["targets"][0]
    assert target["engine"]["nodes"] == {"int8": 2}
    assert target["fidelity"]["agreement"] == 1.0


def test_an_activation_that_is_not_finite_is_named(compress: Compress, project: Path) -> None:
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "w"], ["h"], "first"),
        helper.make_node("Exp", ["h"], ["e"], "exp"),
        helper.make_node("Gemm", ["e", "v"], ["g"], "second"),
        helper.make_node("Tanh", ["g"], ["y"], "tanh"),
    ]
    constants = {"w": np.full((784, 4), 5, np.float32), "v": np.abs(normal(4, 10))}
    model = build(nodes, constants, ["batch", 1, 28, 28], ["y"])
    (project / "infinite.onnx").write_bytes(model.to_bytes())
    bright = write_images(project / "bright.npz", np.full((8, 1, 28, 28), 1.0))
    done = compress("run", "infinite.onnx", "--target", REFERENCE, "--data", bright, "--eval", bright, *FAST)
    assert done.code == 2
    assert "activation `Exp` is not finite on the samples of bright.npz" in done.err
    assert "hint:" in done.err


def test_samples_that_are_not_finite_are_refused(compress: Compress, project: Path, evaluation: Path) -> None:
    wrong = images(8)
    wrong[3, 0, 5, 5] = np.nan
    path = write_images(project / "wrong.npz", wrong)
    done = compress("run", "model.onnx", "--target", REFERENCE, "--data", path, "--eval", evaluation, *FAST)
    assert done.code == 2
    assert "nan" in done.err.lower()


def test_a_single_calibration_sample_is_taken_with_a_remark(
    compress: Compress, project: Path, evaluation: Path
) -> None:
    one = write_images(project / "one.npz", images(1))
    flags = ("--data", one, "--eval", evaluation, "--max-drop", "100", *FAST, "--json")
    done = compress("run", "model.onnx", "--target", REFERENCE, *flags)
    assert done.code == 0, done.err
    notes = json.loads(done.out)["data"]["notes"]
    assert any(note.startswith("calibrated on one sample only") for note in notes)


def test_calibration_samples_of_another_kind_are_remarked_on(
    compress: Compress, project: Path, evaluation: Path
) -> None:
    bytes_ = write_images(project / "bytes.npz", 127 + 60 * images(32))
    flags = ("--eval", evaluation, "--max-drop", "100", *FAST, "--json")
    done = compress("run", "model.onnx", "--target", REFERENCE, "--data", bytes_, *flags)
    notes = json.loads(done.out)["data"]["notes"]
    assert any("do not look like evaluation samples: `x` reaches from" in note for note in notes)
    alike = write_images(project / "alike.npz", images(32))
    done = compress("run", "model.onnx", "--target", REFERENCE, "--data", alike, *flags)
    assert not any("do not look like" in note for note in json.loads(done.out)["data"]["notes"])
