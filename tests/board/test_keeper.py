"""The keeper in this process: what it removes, and whom it answers."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fake_jetson
import pytest

from compress.board.clocks import STATE
from compress.board.frames import Message, read_message, write_message
from compress.board.keeper import FOLDERS, remove_stale, take_lease


@pytest.fixture
def stale(tmp_path: Path) -> Path:
    """The folder that a killed run left, with clocks to give back."""
    made = tmp_path / "base" / f"{FOLDERS}killed"
    made.mkdir(parents=True)
    (made / STATE).write_text("as they were before\n", encoding="utf-8")
    (made / "model.onnx").write_bytes(b"left")
    return made


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that says how the fake board's clocks are."""
    found = fake_jetson.install(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    return found


def test_clocks_that_the_board_does_not_take_are_kept_for_the_next_run(stale: Path, state: Path) -> None:
    program = state.parent / "jetson_clocks"
    working = program.read_text(encoding="utf-8")
    program.write_text("#!/bin/sh\necho 'sudo: a password is required'\nexit 1\n", encoding="utf-8")
    remove_stale(stale.parent / "mine")
    assert [path.name for path in stale.iterdir()] == [STATE]
    program.write_text(working, encoding="utf-8")
    remove_stale(stale.parent / "mine")
    assert not stale.exists()
    assert state.read_text(encoding="utf-8") == "as they were before\n"


def test_another_users_folder_is_left_alone(stale: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    remove_stale(stale.parent / "mine")
    assert (stale / STATE).exists()
    assert state.read_text(encoding="utf-8") == "as they were\n"


def test_every_user_can_open_a_lease(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        held = take_lease(tmp_path / "lease", "run")
    finally:
        os.umask(before)
    assert held is not None
    os.close(held)
    assert (tmp_path / "lease").stat().st_mode & 0o777 == 0o644


PROGRAM = """
import os, socket, sys
from pathlib import Path
from compress.board.keeper import FOLDERS, Keeper
listener = socket.socket(socket.AF_UNIX)
listener.bind("socket")
listener.listen()
print("listens", flush=True)
os._exit(Keeper(listener, Path.cwd(), grace=60.0).serve())
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Where a keeper answers that has a large file."""
    (tmp_path / "large.bin").write_bytes(bytes(4 << 20))
    with subprocess.Popen([sys.executable, "-c", PROGRAM], cwd=tmp_path, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"listens\n"
        yield tmp_path / "socket"
        process.kill()


def connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(10)
    connection.connect(str(path))
    return connection


def test_a_link_that_stands_still_while_an_answer_is_sent_gives_way_to_a_new_one(place: Path) -> None:
    request = Message({"op": "get", "id": 1, "name": "large.bin", "offset": 0})
    with connect(place) as still, still.makefile("wb") as asked:
        write_message(asked, request)
        # The answer has begun, and is far more than a socket holds.
        assert still.recv(1)
        with connect(place) as connection, connection.makefile("wb") as asking, connection.makefile("rb") as answers:
            write_message(asking, request)
            answer = read_message(answers)
    assert answer is not None
    assert len(answer.payload) == 4 << 20
