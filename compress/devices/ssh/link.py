"""The system's ssh: commands on the board, and what its refusals mean."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from compress.devices.ssh.address import Board
from compress.errors import TargetError

VARIABLE: Final = "COMPRESS_SSH"
"""Environment variable with the ssh command and its options, as ``GIT_SSH_COMMAND`` has git's."""

CONNECT_SECONDS: Final = 10
_ALIVE_SECONDS = 5
_ALIVE_COUNT = 3
_SSH_FAILED = 255
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
    try:
        done = subprocess.run(  # noqa: S603 - the user's ssh, words that were checked and quoted
            ssh_words(board, command), input=content, capture_output=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise TargetError(
            f"{board.device} gave no answer within {seconds:g} s", hint=f"does `ssh {board.login} true` return?"
        ) from None
    errors = done.stderr.decode(errors="replace").strip()
    if done.returncode == _SSH_FAILED:
        raise explain_refusal(board, errors)
    if done.returncode in _NO_PROGRAM:
        raise TargetError(
            f"{board.device} has no `{command[0]}`",
            hint="install Python 3.9 or newer there, or name it: compress devices add NAME ADDRESS --python PATH",
        )
    return Said(done.returncode, done.stdout, errors)


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
