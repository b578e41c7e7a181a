import argparse
import json
from collections.abc import Callable

import pytest
from rich.console import Console

from compress import machine
from compress.cli import main
from compress.cli import targets as command
from compress.errors import TargetError
from compress.targets import load_targets


@pytest.fixture(autouse=True)
def _this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "list_gpus", tuple)
    monkeypatch.setattr(machine, "board_name", lambda: None)
    monkeypatch.setattr(machine, "detect_isa", lambda: "x86-vnni")


def test_every_target_has_a_line_with_what_can_be_done_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["targets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["target", "runtime", "device"]
    rows = {line.split()[0]: line for line in lines[1:]}
    assert rows.keys() == {target.name for target in load_targets()}
    assert rows["cpu"].split() == ["cpu", "onnxruntime", "x86-vnni", "u8s8", "yes", "yes"]
    assert " kit  " in rows["jetson-orin-nano"]
    assert "this CPU is x86-vnni" in rows["x86-avx2"]
    assert all(line.isascii() for line in lines)


def test_one_target_shows_every_number_with_its_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["targets", "jetson"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("jetson-orin-nano: NVIDIA Jetson Orin Nano 8GB")
    assert "memory       8 GiB, 68 GB/s" in text
    assert "20 T operations/s, dense" in text
    assert "DS-11105-001, AI Performance" in text
    assert "mend         copy the kit to the device" in text


def test_json_has_the_target_and_what_can_be_done(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["targets", "x86-vnni", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["name"], shown["dialect"]) == ("x86-vnni", "u8s8")
    assert (shown["here"]["build"], shown["here"]["run"], shown["here"]["reason"]) == ("yes", True, None)


def test_json_lists_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["targets", "--json"]) == 0
    shown = {entry["name"]: entry["here"]["build"] for entry in json.loads(capsys.readouterr().out)}
    assert shown["cpu"] == "yes"
    assert shown["jetson-thor"] == "kit"


def test_an_unknown_target_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["targets", "jetsn"]) == 2
    assert "unknown target `jetsn`" in capsys.readouterr().err


def test_a_terminal_gets_a_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    make: Callable[[], Console] = lambda: Console(force_terminal=True, width=200, no_color=True)  # noqa: E731
    monkeypatch.setattr("rich.console.Console", make)
    assert main(["targets"]) == 0
    text = capsys.readouterr().out
    assert "raspberry-pi-5" in text
    assert "INT8 dialect" in text


def test_an_unknown_cpu_is_still_listed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(machine, "detect_isa", lambda: None)
    assert main(["targets"]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("cpu "))
    assert row.split()[2] == "detect"
    with pytest.raises(TargetError):
        command.run(argparse.Namespace(name="cpu", json=False))


def test_what_cannot_be_built_says_no(monkeypatch: pytest.MonkeyPatch) -> None:
    from compress.runtimes import tensorrt_rtx
    from compress.targets import load_target

    monkeypatch.setattr(tensorrt_rtx, "find_module", lambda: None)
    row = command.assess(load_target("rtx-ada"))
    assert (row.builds, row.cells()[-1]) == ("no", "TensorRT-RTX is not installed")
