import json
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from compress.cli import main

Output = pytest.CaptureFixture[str]
BUDGET = ("--time-budget", "20ms")


def write_engine(path: Path, batch: str | int = "batch", size: int = 4, name: str = "x") -> Path:
    graph = helper.make_graph(
        [helper.make_node("Relu", [name], ["y"])],
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, size])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    return write_engine(tmp_path / "first.onnx")


def bench(*arguments: str | Path) -> int:
    return main(["bench", *(str(argument) for argument in arguments), *BUDGET])


def test_each_engine_gets_a_line_against_the_first(engine: Path, tmp_path: Path, capsys: Output) -> None:
    others = [write_engine(tmp_path / f"{name}.onnx") for name in ("second", "third")]
    assert bench(engine, *others) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["engine", "p50", "p90", "p99", "speed-up", "(95", "%", "interval)"]
    assert [line.split()[0] for line in lines[1:4]] == [str(engine), *(str(other) for other in others)]
    assert lines[1].endswith("baseline")
    assert all("×" in line for line in lines[2:4])


def test_one_engine_is_timed_against_itself(engine: Path, capsys: Output) -> None:
    assert bench(engine, "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["baseline_engine"] == found["engine"] == str(engine)
    assert found["compressed"]["runs"] == found["baseline"]["runs"] >= 5


def test_batch_and_threads_are_those_of_the_flags(engine: Path, capsys: Output) -> None:
    assert bench(engine, "--json", "--batch", "3", "--threads", "2") == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["batch"], found["threads"]) == (3, 2)


def test_a_fixed_batch_is_taken_from_the_engine(tmp_path: Path, engine: Path, capsys: Output) -> None:
    fixed = write_engine(tmp_path / "fixed.onnx", batch=7)
    assert bench(engine, fixed, "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["batch"] == 7
    assert bench(fixed, "--batch", "2") == 2
    assert "takes batches of 7, not of 2" in capsys.readouterr().err


def test_samples_of_the_user_are_fed(tmp_path: Path, engine: Path, capsys: Output) -> None:
    np.savez(tmp_path / "samples.npz", x=np.ones((5, 4), np.float32))
    assert bench(engine, "--data", tmp_path / "samples.npz", "--batch", "5", "--json") == 0
    capsys.readouterr()
    assert bench(engine, "--data", tmp_path / "samples.npz", "--batch", "6") == 2
    assert "has 5 samples, a batch of 6 was asked for" in capsys.readouterr().err


def test_samples_that_do_not_fit_are_exit_2(tmp_path: Path, engine: Path, capsys: Output) -> None:
    np.savez(tmp_path / "samples.npz", x=np.ones((5, 3), np.float32))
    assert bench(engine, "--data", tmp_path / "samples.npz") == 2
    assert "does not fit input `x`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--threads", "0"), "--threads 0: must be at least 1"),
        (("--batch", "0"), "--batch 0: must be at least 1"),
        (("--time-budget", "soon"), "--time-budget: `soon` is not a duration"),
        (("--data", "nowhere"), "nowhere"),
    ],
)
def test_a_users_mistake_is_exit_2_with_a_message_and_a_hint(
    engine: Path, arguments: tuple[str, ...], message: str, capsys: Output
) -> None:
    assert main(["bench", str(engine), *BUDGET, *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert "\nhint: " in error
    assert "Traceback" not in error


def test_an_engine_that_is_not_there_is_exit_2(engine: Path, capsys: Output) -> None:
    assert bench(engine, "absent.onnx") == 2
    assert capsys.readouterr().err.startswith("error: cannot read absent.onnx: No such file or directory\nhint: ")


@pytest.mark.parametrize("content", [b"\xff\xd8\xff\xe0 a photo", b"", b"import os"])
def test_a_file_that_is_no_engine_is_exit_2(tmp_path: Path, content: bytes, capsys: Output) -> None:
    path = tmp_path / "fake.onnx"
    path.write_bytes(content)
    assert bench(path) == 2
    error = capsys.readouterr().err
    assert str(path) in error
    assert "Traceback" not in error
