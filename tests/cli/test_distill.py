import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from small_graphs import build, normal
from small_project import Compress, nearest_mean_classifier

from compress.distill.record import Distillation
from compress.model import Model

TRAINED = (
    "--data",
    "calibration.toml",
    "--steps",
    "40",
    "--learning-rate",
    "0.01",
    "--device",
    "cpu",
    "--threads",
    "1",
)


def students(width: int, *, output: str = "logits", batch_norm: bool = False) -> Model:
    """Return an untrained classifier: image [batch, 1, 28, 28] → logits [batch, 10]."""
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["c"], "conv", strides=[4, 4]),
        helper.make_node("BatchNormalization", ["c", "g", "b", "m", "v"], ["n"], "norm"),
        helper.make_node("Relu", ["n" if batch_norm else "c"], ["r"], "relu"),
        helper.make_node("Flatten", ["r"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "w1"], [output], "head", transB=1),
    ]
    constants = {"w0": normal(width, 1, 4, 4, seed=1), "w1": normal(10, 49 * width, seed=2)}
    if batch_norm:
        ones, zeros = np.ones(width, np.float32), np.zeros(width, np.float32)
        constants |= {"g": ones, "b": zeros, "m": zeros.copy(), "v": ones.copy()}
    else:
        del nodes[1]
    return build(nodes, constants, ["batch", 1, 28, 28], [output])


@pytest.fixture
def pair(project: Path) -> Callable[..., tuple[str, str]]:
    """Return a function that writes a student beside the project's model, and their two names."""

    def write(model: Model) -> tuple[str, str]:
        (project / "student.onnx").write_bytes(model.to_bytes())
        return "model.onnx", "student.onnx"

    return write


def test_a_student_is_trained_written_and_measured(compress: Compress, pair: Callable[..., tuple[str, str]]) -> None:
    found = compress(
        "distill", *pair(students(8)), *TRAINED, "--eval", "evaluation.toml", "--mirror", "--features", "1"
    )
    assert found.err == ""
    assert found.code == 0
    out = Path("student.distilled")
    assert sorted(path.name for path in out.iterdir()) == ["distillation.json", "student.onnx"]
    record = Distillation.model_validate_json((out / "distillation.json").read_text())
    assert record.fidelity.before.sqnr_db is not None
    assert record.fidelity.after.sqnr_db is not None
    assert record.fidelity.after.sqnr_db > record.fidelity.before.sqnr_db + 3
    assert record.accuracy is not None
    start, end = record.accuracy.against_start, record.accuracy.against_teacher
    assert end.compressed == start.compressed > start.baseline + 0.3
    assert end.samples == 400
    assert (record.data.trained, record.data.held_out) == (58, 6)
    assert record.settings["augment"] == {
        "mirror": True,
        "shift": 0,
        "border": "edge",
        "fill": 0.0,
        "zoom": 0.0,
        "contrast": 0.0,
    }
    assert len(record.training.pairs) == 1
    onnx.checker.check_model(onnx.load(out / "student.onnx"))
    lines = found.out.splitlines()
    assert lines[0].startswith("fidelity  ")
    assert lines[1].startswith("top1      ")
    assert "samples" in lines[1]
    assert lines[-1] == "results in student.distilled"


def test_the_record_is_printed_as_json_and_repeats_but_for_the_seconds(
    compress: Compress, pair: Callable[..., tuple[str, str]]
) -> None:
    records = []
    for out in ("one", "two"):
        found = compress("distill", *pair(students(4)), *TRAINED, "--json", "--out", out)
        records.append(json.loads(found.out))
        records[-1]["training"].pop("seconds")
    assert records[0] == records[1]
    assert Path("one/student.onnx").read_bytes() == Path("two/student.onnx").read_bytes()
    assert records[0]["schema"] == "compress.distillation/1"


def test_normalisation_is_trained_unfolded_and_folded_in_the_result(
    compress: Compress, pair: Callable[..., tuple[str, str]]
) -> None:
    found = compress("distill", *pair(students(8, batch_norm=True)), *TRAINED, "--quiet")
    assert found.code == 0
    assert found.out.count("\n") == 1
    written = Model.from_bytes(Path("student.distilled/student.onnx").read_bytes())
    assert "BatchNormalization" not in {node.op_type for node in written.graph.graph}
    record = Distillation.model_validate_json(Path("student.distilled/distillation.json").read_text())
    assert record.settings["batch_norm"] == "train"


def test_a_training_that_helps_nothing_says_so_in_its_exit_code(
    compress: Compress, pair: Callable[..., tuple[str, str]]
) -> None:
    found = compress("distill", *pair(nearest_mean_classifier()), *TRAINED)
    assert found.code == 10
    assert "fidelity  equal outputs and 100.0 % agreement → equal outputs" in found.out
    assert "nothing got better: the student is what it was" in found.out
    assert Path("student.distilled/student.onnx").exists()


def test_a_training_that_diverges_leaves_its_last_good_weights(
    compress: Compress, pair: Callable[..., tuple[str, str]]
) -> None:
    Path("s.toml").write_text("[distill]\nclip_norm = 0\nevaluate_every = 1\nwarmup_share = 0.9\nweight_decay = 0\n")
    rate = ("--learning-rate", "1e37", "--steps", "1000")
    found = compress("distill", *pair(students(4)), *TRAINED, "--settings", "s.toml", *rate)
    assert found.code == 2
    assert "training stopped a" in found.err
    assert "the last good weights are those after step" in found.err
    assert "written to student.distilled/student.last-good.onnx" in found.err
    assert "hint: lower the learning rate (now 1e+37)" in found.err
    kept = Model.from_bytes(Path("student.distilled/student.last-good.onnx").read_bytes())
    for value in kept.graph.graph.initializers.values():
        assert value.const_value is not None
        assert np.isfinite(value.const_value.numpy().astype(np.float64)).all()
    assert [path.name for path in Path("student.distilled").iterdir()] == ["student.last-good.onnx"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--time-budget", "soon"), "`soon` is not a duration"),
        (("--steps", "0"), "flags: `steps`: Input should be greater than 0 (got 0)"),
        (("--loss", "hinge"), "flags: `loss`: Input should be 'auto', 'kl', 'mse' or 'cosine' (got 'hinge')"),
        (("--settings", "s.toml"), "s.toml and flags: unknown key `stepz`"),
        (("--threads", "0"), "--threads 0 is not a positive number"),
        (("--out", "model.onnx"), "model.onnx is a file, not a folder"),
        (("--out", "."), ". holds other files than `compress distill` writes"),
    ],
)
def test_flags_that_make_no_sense_are_refused(
    compress: Compress, pair: Callable[..., tuple[str, str]], flags: tuple[str, ...], message: str
) -> None:
    Path("s.toml").write_text("stepz = 3\n")
    found = compress("distill", *pair(students(4)), "--data", "calibration.toml", *flags)
    assert (found.code, found.err.splitlines()[0]) == (2, f"error: {message}")
    assert not Path("student.distilled").exists()


def test_models_that_do_not_go_together_are_refused_and_nothing_is_left(
    compress: Compress, pair: Callable[..., tuple[str, str]]
) -> None:
    found = compress("distill", *pair(students(4, output="scores")), *TRAINED)
    assert found.code == 2
    assert "`logits` is float32[batch, 10] in the teacher, absent in the student" in found.err
    assert not Path("student.distilled").exists()
    missing = compress("distill", "model.onnx", "nothing.onnx", *TRAINED)
    assert missing.err.splitlines()[0] == "error: nothing.onnx does not exist"


def test_evaluation_needs_labels_and_overlap_is_said(compress: Compress, pair: Callable[..., tuple[str, str]]) -> None:
    names = pair(students(4))
    np.save("unlabelled.npy", np.zeros((4, 1, 28, 28), np.float32))
    found = compress("distill", *names, *TRAINED, "--eval", "unlabelled.npy")
    assert "has no labels, which top1 needs" in found.err
    shared = compress("distill", *names, *TRAINED, "--eval", "calibration.toml")
    assert "64 of these samples were trained on" in shared.out


def test_a_killed_command_resumes_to_the_same_bytes(compress: Compress, pair: Callable[..., tuple[str, str]]) -> None:
    Path("s.toml").write_text("checkpoint_every = 20\n")
    flags = (*TRAINED, "--settings", "s.toml", "--steps", "400")
    command = [sys.executable, "-m", "compress", "distill", *pair(students(8)), *flags, "--out", "cut"]
    with subprocess.Popen(command) as process:
        deadline = time.monotonic() + 300
        while not Path("cut/.training/training.pt").exists():
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
    assert not Path("cut/student.onnx").exists()
    assert compress("distill", *pair(students(8)), *flags, "--out", "cut", "--resume").code == 0
    assert compress("distill", *pair(students(8)), *flags, "--out", "whole").code == 0
    assert Path("cut/student.onnx").read_bytes() == Path("whole/student.onnx").read_bytes()
    assert not Path("cut/.training").exists()


def test_torchrun_trains_with_two_processes_and_one_writes(pair: Callable[..., tuple[str, str]]) -> None:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "compress"]
    command = [sys.executable, *launcher, "distill", *pair(students(4)), *TRAINED, "--out", "shared"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("results in shared") == 1
    record = Distillation.model_validate_json(Path("shared/distillation.json").read_text())
    assert record.training.processes == 2
    onnx.checker.check_model(onnx.load("shared/student.onnx"))
