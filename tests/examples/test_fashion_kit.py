"""The README's example for a Jetson: its kit passes on a recorded Jetson, and the report merges."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import fake_jetson
import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "fashion"


def compress(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "compress", *map(str, words)]
    return subprocess.run(command, cwd=EXAMPLE, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.rtx
def test_the_examples_kit_passes_on_a_recorded_jetson_and_its_report_merges(tmp_path: Path) -> None:
    results, kit = tmp_path / "results", tmp_path / "kit"
    done = compress("run", "model.pt", "--target", "jetson", "--out", results)
    assert done.returncode == 0, done.stderr
    shutil.copytree(results / "engine" / "jetson-orin-nano", kit)
    there = fake_jetson.make_jetson(tmp_path / "jetson", sys.executable)
    there["PATH"] += f":{Path(sys.executable).parent}"
    built = subprocess.run(
        [str(kit / "run.sh"), "--lock-clocks"], env=there, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    merged = compress("report", results, "--import", kit / "board-report.json")
    assert merged.returncode == 0, merged.stderr
    target = json.loads((results / "report.json").read_text(encoding="utf-8"))["targets"][0]
    accuracy = target["accuracy"]
    assert (accuracy["measured_on"], accuracy["samples"]) == ("engine", 1000)
    assert abs(accuracy["drop"]) < 0.01
    assert target["latency"]["compressed"]["runs"] == 440
    assert compress("verify", results).returncode == 13  # the files are right; the engine is measured on its board
