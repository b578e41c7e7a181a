"""Joins a link (standard input and output) to the keeper's socket; ends with either of them."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from pathlib import Path

from .keeper import ENDED, SOCKET

GONE = 4
"""Exit code: no agent answers here (any more)."""

_BLOCK = 1 << 16
_WAIT_SECONDS = 3.0


def main(words: list[str]) -> int:
    """``relay FOLDER``: carry bytes both ways; where the keeper ends first, print how on standard error."""
    folder = Path(words[0])
    try:
        os.chdir(folder)
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(SOCKET)
    except OSError as error:
        sys.stderr.write(_read_end(Path()) or f"no agent answers: {error.strerror}\n")
        return GONE
    threading.Thread(target=_send, args=(connection,), daemon=True).start()
    output = sys.stdout.buffer
    with contextlib.suppress(OSError):
        while block := connection.recv(_BLOCK):
            output.write(block)
            output.flush()
    said = _wait_for_end()
    if said is not None:
        sys.stderr.write(said)
        return GONE
    return 0


def _send(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while block := os.read(0, _BLOCK):
            connection.sendall(block)
    # The link is gone: nothing is to be sent to it any more.
    os._exit(0)


def _wait_for_end() -> str | None:
    """Return how the keeper ended, or None where a newer link took this one's place."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < deadline:
        said = _read_end(Path())
        if said is not None:
            return said
        if not Path(SOCKET).exists():
            return None
        time.sleep(0.1)
    return None


def _read_end(folder: Path) -> str | None:
    try:
        return (folder / ENDED).read_text(encoding="utf-8") + "\n"
    except OSError:
        return None
