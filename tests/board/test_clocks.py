"""Clocks are given back: at the end, after an error, after SIGKILL, and after a power cut by the next run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import fake_jetson
import pytest

from compress.board.clocks import STATE, LockedClocks, restore
from compress.board.common import Failed


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that says how the fake board's clocks are."""
    found = fake_jetson.install(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    return found


def test_clocks_are_locked_inside_and_given_back_after(state: Path, tmp_path: Path) -> None:
    with LockedClocks(tmp_path):
        assert state.read_text(encoding="utf-8") == "locked\n"
        assert (tmp_path / STATE).exists()
    assert state.read_text(encoding="utf-8") == "as they were\n"
    assert not (tmp_path / STATE).exists()


def test_clocks_are_given_back_after_an_error(state: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), LockedClocks(tmp_path):
        raise RuntimeError
    assert state.read_text(encoding="utf-8") == "as they were\n"


def test_clocks_are_given_back_after_sigkill(state: Path, tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from compress.board.clocks import LockedClocks\n"
        f"with LockedClocks(Path({str(tmp_path)!r})):\n    print('in', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == b"in\n"
        assert state.read_text(encoding="utf-8") == "locked\n"
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while (tmp_path / STATE).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert state.read_text(encoding="utf-8") == "as they were\n"
    assert not (tmp_path / STATE).exists()


def test_what_a_power_cut_left_is_given_back_first(state: Path, tmp_path: Path) -> None:
    (tmp_path / STATE).write_text("as they were before that\n", encoding="utf-8")
    with LockedClocks(tmp_path):
        pass
    assert state.read_text(encoding="utf-8") == "as they were before that\n"
    assert restore(tmp_path / STATE) is False


def test_a_board_without_the_program_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Failed, match="no jetson_clocks here"), LockedClocks(tmp_path):
        pass


def test_missing_rights_are_told(state: Path, tmp_path: Path) -> None:
    program = state.parent / "jetson_clocks"
    program.write_text("#!/bin/sh\necho 'sudo: a password is required'\nexit 1\n", encoding="utf-8")
    with pytest.raises(Failed, match=r"a password is required.*needs root"), LockedClocks(tmp_path):
        pass
