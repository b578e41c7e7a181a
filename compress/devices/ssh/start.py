"""The first connection: the agent is brought to the board and started, or the board says why not."""

import contextlib
import getpass
import json
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from compress.devices.ssh.address import Board
from compress.devices.ssh.answers import End, Start, read_answer
from compress.devices.ssh.bootstrap import BOOTSTRAP, OLDEST_PYTHON
from compress.devices.ssh.link import call_board
from compress.errors import TargetError
from compress.runtimes.kit.archive import pack_board


def start_agent(board: Board, lease: str, *, grace: float, seconds: float) -> str:
    """Bring the agent to a board and start it; return its folder there.

    Args:
        board: Where.
        lease: The file there whose lock says that the board is taken.
        grace: Seconds without a sign of life after which the agent ends by itself.
        seconds: How long all of it may take.

    Raises:
        TargetError: The board cannot be reached, is busy or full, or its Python is too old.
    """
    archive = pack_board()
    run = json.dumps(
        {
            "user": getpass.getuser(),
            "from": socket.gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    )
    words = [board.python, "-c", BOOTSTRAP, board.folder or "", str(len(archive)), sha256(archive).hexdigest()]
    said = call_board(board, [*words, lease, run, str(grace)], archive, seconds=seconds)
    try:
        answer = read_answer(board, Start, json.loads(said.output))
    except (ValueError, RecursionError):
        last = (said.errors or said.output.decode(errors="replace")).strip().splitlines()[-1:] or ["nothing"]
        raise TargetError(
            f"the agent does not start on {board.device}: it said {last[0]!r}",
            hint="the shell's start files there must print nothing where nobody is at a terminal",
        ) from None
    if answer.python is not None:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        raise TargetError(
            f"{board.device} has Python {answer.python}, and the agent needs {oldest} or newer",
            hint="install one there and name it: compress devices add NAME ADDRESS --python PATH",
        )
    if answer.busy is not None:
        raise TargetError(
            f"{board.device} is taken: {_describe_lease(answer.busy)}",
            hint="wait for that run; two at once would measure each other",
        )
    if answer.folder is None or answer.error is not None:
        raise explain_answer(board, {"error": answer.error or "the agent does not start", "kind": answer.kind})
    return answer.folder


def _describe_lease(text: str) -> str:
    try:
        held = json.loads(text)
        return f"{held['user']} on {held['from']} measures there since {held['since']}"
    except (ValueError, KeyError, TypeError, RecursionError):
        return "another run measures there"


def explain_answer(board: Board, answer: Mapping[str, Any]) -> TargetError:
    """Return what an answer that has ``error`` in it means for the user."""
    if answer.get("kind") == "disk":
        return TargetError(
            f"{board.device} has no room left: {answer['error']}",
            hint="free some there, or name another folder: compress devices add NAME ADDRESS --folder PATH",
        )
    if answer.get("kind") == "folder":
        return TargetError(
            f"{board.device}: the agent has no place: {answer['error']}",
            hint="name a folder that you may write to: compress devices add NAME ADDRESS --folder PATH",
        )
    return TargetError(f"{board.device}: {answer['error']}", hint="`compress devices check` says what works there")


def read_end(said: str) -> str | None:
    """Return how the keeper ended, where the relay told."""
    for line in said.splitlines():
        if line.startswith("{"):
            with contextlib.suppress(ValueError, RecursionError):
                told = End.model_validate(json.loads(line))
                return ", ".join([told.how, *told.last])
    return None
