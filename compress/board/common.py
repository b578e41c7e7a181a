"""Small things that every module here needs."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

FAILED = 20
"""The exit code of what cannot be done on this board."""


class Failed(Exception):  # noqa: N818 it is told to a person, not handled
    """Something cannot be done on this board; the message says what and what to do."""


def own_command() -> list[str]:
    """Return the words that start this program again, whether it is an archive or a package."""
    holder = Path(__file__).parents[1]
    if holder.is_file():
        return [sys.executable, str(holder)]
    return [sys.executable, "-m", str(__package__)]


def take_output() -> IO[bytes]:
    """Return standard output for frames alone: what a library prints from now on goes to standard error."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return replies


def read_text(path: Path) -> str | None:
    """Return the first line of a file without its final zero byte, or None where it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.split("\n", 1)[0].strip("\0 ") or None


def run_logged(command: list[str], log: Path) -> str | None:
    """Return what a command prints, kept in a file too; None where it fails."""
    with log.open("wb") as file:
        done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, cwd=str(log.parent), check=False)  # noqa: S603
    return log.read_text(encoding="utf-8", errors="replace") if done.returncode == 0 else None


def run_watched(command: list[str], log: Path, mark: bytes) -> tuple[str | None, float | None]:
    """Return what :func:`run_logged` does, and when the command first printed a mark (monotonic seconds)."""
    moment = None
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=str(log.parent))  # noqa: S603
        with process:
            assert process.stdout is not None  # noqa: S101 a pipe
            for line in process.stdout:
                if moment is None and mark in line:
                    moment = time.monotonic()
                file.write(line)
    return (log.read_text(encoding="utf-8", errors="replace") if process.returncode == 0 else None), moment


def print_of(command: list[str], seconds: float = 20.0) -> str | None:
    """Return what a command prints, or None where it fails or takes too long."""
    try:
        done = subprocess.run(  # noqa: S603 fixed words
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None


def as_root(command: list[str]) -> list[str]:
    """Return a command as root runs it: through sudo, which must not ask for a password, where this is not root."""
    return command if os.geteuid() == 0 else ["sudo", "-n", *command]


def digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            found.update(block)
    return found.hexdigest()
