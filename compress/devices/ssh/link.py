"""The system's ssh: commands on the board, and what its refusals mean."""

import contextlib
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Final

from compress.devices.ssh.address import Board
from compress.errors import TargetError

VARIABLE: Final = "COMPRESS_SSH"
"""Environment variable with the ssh command and its options, as ``GIT_SSH_COMMAND`` has git's."""

CONNECT_SECONDS: Final = 10
_ALIVE_SECONDS = 5
_ALIVE_COUNT = 3
_SSH_FAILED = 255
_TICK_SECONDS = 0.2
MOST_BYTES: Final = 1 << 24
"""Of what a command there may print."""
_NO_PROGRAM = (126, 127)


@dataclass(frozen=True, slots=True)
class Said:
    """What a command on the board printed, and its exit code (255: ssh itself failed)."""

    code: int
    output: bytes
    errors: str


def ssh_words(board: Board, command: Sequence[str]) -> list[str]:
    """Return the words that run a command on a board: no questions, keys and known hosts as the user's ssh has them.

    Raises:
        TargetError: There is no ssh here.
    """
    program = shlex.split(os.environ.get(VARIABLE, "ssh"))
    if not program or shutil.which(program[0]) is None:
        name = program[0] if program else VARIABLE
        raise TargetError(f"there is no `{name}` here", hint="install OpenSSH's client: apt-get install openssh-client")
    options = {
        "BatchMode": "yes",
        "ConnectTimeout": str(CONNECT_SECONDS),
        "ServerAliveInterval": str(_ALIVE_SECONDS),
        "ServerAliveCountMax": str(_ALIVE_COUNT),
        # What the user's configuration says of terminals and tunnels to this host is not for a program.
        "ControlPath": "none",
        "ClearAllForwardings": "yes",
        "RemoteCommand": "none",
        "PermitLocalCommand": "no",
        # Nor is the board to use this computer's keys or screen.
        "ForwardAgent": "no",
        "ForwardX11": "no",
    }
    words = [*program, "-T", *board.ssh, *(word for key, value in options.items() for word in ("-o", f"{key}={value}"))]
    port = ["-p", str(board.port)] if board.port is not None else []
    return [*words, *port, board.login, " ".join(map(_quote, command))]


def _quote(word: str) -> str:
    """Return a word as the board's shell takes it; ``~/`` in front is the user's home there."""
    return f"~/{shlex.quote(word[2:])}" if word.startswith("~/") and len(word) > 2 else shlex.quote(word)


def call_board(board: Board, command: Sequence[str], content: bytes = b"", *, seconds: float) -> Said:
    """Return what a command on the board printed.

    Args:
        board: Where.
        command: Its words.
        content: For its standard input.
        seconds: How long it may take.

    Raises:
        TargetError: The board cannot be reached, refuses the key, is not the one that it was, or takes too long.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as said:
        code = _run(board, ssh_words(board, command), content, output, said, seconds)
        printed, errors = _read(output), _read(said).decode(errors="replace").strip()
    if code == _SSH_FAILED:
        raise explain_refusal(board, errors)
    if code in _NO_PROGRAM:
        raise TargetError(
            f"{board.device} has no `{command[0]}`",
            hint="install Python 3.9 or newer there, or name it: compress devices add NAME ADDRESS --python PATH",
        )
    return Said(code, printed, errors)


def _run(board: Board, words: Sequence[str], content: bytes, output: IO[bytes], said: IO[bytes], seconds: float) -> int:
    """Return ssh's exit code; a board that takes too long or prints without end is left."""
    deadline = time.monotonic() + seconds
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=output, stderr=said)  # noqa: S603 - checked, quoted
    try:
        rest: bytes | None = content
        while True:
            try:
                process.communicate(rest, timeout=_TICK_SECONDS)
                return process.returncode
            except subprocess.TimeoutExpired:
                rest = None
            if time.monotonic() > deadline:
                raise TargetError(
                    f"{board.device} gave no answer within {seconds:g} s", hint=f"does `ssh {board.login} true` return?"
                )
            if any(os.fstat(file.fileno()).st_size > MOST_BYTES for file in (output, said)):
                raise TargetError(
                    f"{board.device} prints without end", hint=f"what does `ssh {board.login} true` print?"
                )
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()


def _read(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read(MOST_BYTES)


def explain_refusal(board: Board, errors: str) -> TargetError:
    """Return what ssh's own failure means and what to do about it."""
    said = errors.splitlines()[-1].strip() if errors else "ssh ended without a word"
    by_hand = f"ssh {shlex.join([*board.ssh, *(['-p', str(board.port)] if board.port else []), board.login])}"
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in errors:
        return TargetError(
            f"the host key of {board.device} is not the one that is known: another machine may be answering",
            hint=f"if the board was installed anew: ssh-keygen -R '{_known_name(board)}', then `{by_hand}` once",
        )
    if "Host key verification failed" in errors:
        return TargetError(
            f"the host key of {board.device} is not known here", hint=f"connect once by hand and compare it: {by_hand}"
        )
    if "Permission denied" in errors:
        return TargetError(
            f"{board.device} does not take the key: {said}",
            hint=f"`ssh-copy-id {board.login}`, or name the key: compress devices add NAME ADDRESS --ssh '-i KEY'",
        )
    if any(word in errors for word in ("Connection refused", "timed out", "No route to host", "Could not resolve")):
        return TargetError(f"{board.device} cannot be reached: {said}", hint=f"is it on and named so? Try `{by_hand}`")
    return TargetError(f"ssh to {board.device} failed: {said}", hint=f"try it by hand: {by_hand}")


def _known_name(board: Board) -> str:
    return f"[{board.host}]:{board.port}" if board.port else board.host
