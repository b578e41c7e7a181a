"""What one engine takes at its peak: the worker, in processes of its own."""

import mmap
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper
from small_graphs import build, normal

from compress.board import memory
from compress.board.common import Failed
from compress.board.frames import Message, pack_arrays
from compress.board.memory import ask_process
from compress.runtimes.kit.archive import NAME, pack_board

SIDE = 2048
WEIGHT_BYTES = 4 * SIDE * SIDE
"""16.8 MB."""


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """The words that start the worker, from the archive as on a board."""
    (tmp_path / NAME).write_bytes(pack_board())
    return [sys.executable, str(tmp_path / NAME), "memory"]


def product(folder: Path, side: int) -> Path:
    path = folder / f"{side}.onnx"
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    path.write_bytes(build(nodes, {"w": normal(side, side)}, ["batch", side], ["y"]).to_bytes())
    return path


def ask(command: list[str], model: Path, x: "np.ndarray[Any, Any]") -> dict[str, Any]:
    described, payload = pack_arrays({"x": x})
    engine = {"model": str(model), "threads": 1}
    return ask_process(command, Message({"engine": engine, "arrays": described}, payload), seconds=60)


def test_an_engine_takes_its_weights_at_least_and_three_calls(command: list[str], tmp_path: Path) -> None:
    large = ask(command, product(tmp_path, SIDE), np.zeros((1, SIDE), np.float32))
    small = ask(command, product(tmp_path, 4), np.zeros((1, 4), np.float32))
    assert large["calls"] == 3
    assert large["bytes"] >= WEIGHT_BYTES
    assert large["bytes"] - small["bytes"] >= WEIGHT_BYTES
    assert 0 < small["bytes"] < WEIGHT_BYTES


def test_inputs_do_not_count_and_what_is_computed_of_them_does(command: list[str], tmp_path: Path) -> None:
    x = np.ones((SIDE, SIDE), np.float32)
    summed, copied = tmp_path / "sum.onnx", tmp_path / "copy.onnx"
    reduced = helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)
    summed.write_bytes(build([reduced], {}, ["batch", SIDE], ["y"]).to_bytes())
    copied.write_bytes(build([helper.make_node("Neg", ["x"], ["y"])], {}, ["batch", SIDE], ["y"]).to_bytes())
    few, many = ask(command, summed, x)["bytes"], ask(command, copied, x)["bytes"]
    assert few < x.nbytes
    assert many >= x.nbytes


def test_an_engine_that_the_runtime_refuses_is_told_with_its_reason(command: list[str], tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a graph")
    with pytest.raises(Failed, match=r"^Failed: ONNX Runtime \S+ refuses the engine: "):
        ask(command, broken, np.zeros((1, 4), np.float32))


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import time; time.sleep(60)", r"it took more than 0\.5 s"),
        ("print('x' * 100)", r"it printed '.*x"),
        ("", "its process ended with code 0"),
        ("import os; os.kill(os.getpid(), 9)", "its process ended with code -9"),
    ],
)
def test_a_process_that_gives_no_answer_is_told(program: str, message: str) -> None:
    with pytest.raises(Failed, match=message):
        ask_process([sys.executable, "-c", program], Message({"engine": {}, "arrays": []}), seconds=0.5)


def test_a_peak_is_forgotten_where_the_system_allows_that() -> None:
    size = 64 << 20
    with mmap.mmap(-1, size) as held:  # given back to the system at once, unlike what an allocator frees
        held.write(b"x" * size)
        before = memory.peak_bytes()
    if memory.reset_peak():
        assert memory.peak_bytes() < before - size // 2
    assert memory.resident_bytes() <= before


def test_without_proc_the_peak_is_that_since_the_process_began(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = memory.peak_bytes()
    monkeypatch.setattr(memory, "_STATUS", str(tmp_path / "absent"))
    monkeypatch.setattr(memory, "_CLEAR", str(tmp_path / "absent" / "either"))
    assert not memory.reset_peak()
    assert memory.peak_bytes() == memory.resident_bytes() >= whole // 2
