"""Two engines measured in turn by a recorded trtexec: whose power it is, and what is left out."""

import base64
import json
import os
import sys
from pathlib import Path
from typing import Any

import fake_jetson
import fake_trtexec
import numpy as np
import pytest

from compress.board import contest, outputs, trtexec
from compress.board.common import Failed, run_watched
from compress.board.contest import Run, summarize
from compress.board.trtexec import Block

KIT: dict[str, Any] = {"inputs": [{"name": "x", "dtype": "float32", "shape": [None, 3]}], "sparse": False}


def told(*tasks: object) -> None:
    """Take the progress and do nothing with it."""


def run(watts: float | None, *throttled: str, throughput: float = 100.0) -> Run:
    power = None if watts is None else {"samples": 10, "watts": watts, "rails": {}, "temperature_celsius": None}
    return Run("model.engine", Block([0.01], [0.01], throughput, [], None), power, list(throttled))


def test_energy_is_that_of_the_runs_whose_latency_counts() -> None:
    kept = contest._without_throttled([run(6.0), run(2.0, "cooling", throughput=50.0), run(8.0)])
    found = summarize(kept)
    assert (found["watts"], found["throughput"], found["joules"]) == (7.0, 100.0, 0.07)


def test_where_every_run_was_throttled_all_of_them_count() -> None:
    kept = contest._without_throttled([run(6.0, "cooling"), run(2.0, "cooling", throughput=50.0)])
    assert summarize(kept)["joules"] == pytest.approx(4.0 / 75.0)


def test_what_was_not_sampled_is_no_power() -> None:
    assert summarize([run(None)])["joules"] is None


def test_the_moment_of_a_mark_is_before_what_comes_after_it(tmp_path: Path) -> None:
    program = "import time; print('] Warmup completed', flush=True); time.sleep(0.5); print('end', time.monotonic())"
    text, moment = run_watched([sys.executable, "-c", program], tmp_path / "log", b"] Warmup completed")
    assert text is not None
    assert moment is not None
    assert moment <= float(text.split()[-1]) - 0.4
    assert run_watched([sys.executable, "-c", "import sys; sys.exit(3)"], tmp_path / "log", b"x") == (None, None)


def test_power_is_that_of_the_queries_and_not_of_what_comes_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    fake_jetson.install(programs)
    program = fake_trtexec.install(programs, sys.executable, seconds=0.6)
    line = fake_jetson.TEGRASTATS
    (programs / "line").write_text(line, encoding="utf-8")
    (programs / "tegrastats").write_text(
        f"#!/bin/sh\nwhile true; do cat {programs / 'line'}; echo; sleep 0.05; done\n", encoding="utf-8"
    )
    # trtexec gives the engine back for a second, while the board is idle.
    program.rename(f"{program}.real")
    idle = line.replace("VDD_IN 6626mW", "VDD_IN 1000mW")
    program.write_text(
        f"#!/bin/sh\n{program}.real \"$@\"\necho '{idle}' > {programs / 'line'}\nsleep 1\n", encoding="utf-8"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    monkeypatch.setattr(trtexec, "SECONDS", 0.6)
    (tmp_path / "model.engine").write_bytes(b"engine of model.onnx")
    found = contest.measure(str(program), KIT, tmp_path, ["model.engine"], told)
    assert found["latency"]["watts"] == pytest.approx(6.626)


@pytest.mark.parametrize("times", ["{", "[1]", '[{"startComputeMs": 2000}]', '[{"latencyMs": "x", "computeMs": 1}]'])
def test_times_that_are_none_are_told(tmp_path: Path, times: str) -> None:
    (tmp_path / "model.engine").write_bytes(b"engine of model.onnx")
    program = fake_trtexec.install(tmp_path / "bin", sys.executable)
    program.rename(f"{program}.real")
    program.write_text(f"#!/bin/sh\n{program}.real \"$@\"\necho '{times}' > times.json\n", encoding="utf-8")
    program.chmod(0o755)
    with pytest.raises(Failed, match=r"times\.json is not understood: latency is not measured"):
        trtexec.measure(str(program), KIT, tmp_path, engine="model.engine", seconds=0.1)


def write_outputs(folder: Path, values: str, dimensions: str = "2x3") -> tuple[Path, dict[str, Any]]:
    """Return a trtexec that writes such outputs for two samples, and their kit."""
    text = f'[ {{ "name" : "y, nan"\n , "dimensions" : "{dimensions}"\n , "values" : [ {values} ]\n }} ]'
    (folder / "given.json").write_text(text, encoding="utf-8")
    program = folder / "trtexec"
    program.write_text("#!/bin/sh\ncp given.json outputs.json\n", encoding="utf-8")
    program.chmod(0o755)
    (folder / "samples-0.bin").write_bytes(bytes(24))
    samples = {"count": 2, "batch": 2, "fixed": True, "files": ["samples-0.bin"], "bytes": [12], "shapes": [[3]]}
    return program, {**KIT, "samples": samples}


def test_outputs_that_are_no_numbers_come_back_as_they_are(tmp_path: Path) -> None:
    program, kit = write_outputs(tmp_path, "1.5, nan, -nan, inf, -inf, -2e-05")
    found, notes = outputs.compute_outputs(str(program), kit, tmp_path, told)
    assert notes == []
    assert found is not None
    values = np.frombuffer(base64.b64decode(found["y, nan"]["float32"]), "<f4")
    np.testing.assert_array_equal(values, np.array([1.5, np.nan, np.nan, np.inf, -np.inf, -2e-05], np.float32))
    assert found["y, nan"]["shape"] == [2, 3]
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(("values", "dimensions"), [("1, ?", "2"), ("1", ""), ("1", "0x3"), ('"a"', "1")])
def test_outputs_that_are_not_understood_leave_the_rest_of_the_report(
    tmp_path: Path, values: str, dimensions: str
) -> None:
    program, kit = write_outputs(tmp_path, values, dimensions)
    found, notes = outputs.compute_outputs(str(program), kit, tmp_path, told)
    assert found is None
    assert notes == ["trtexec's outputs.json is not understood: accuracy is not measured"]
