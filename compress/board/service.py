"""What the agent does when it is asked: take files, run engines, measure."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import facts, kit
from .clocks import LockedClocks
from .common import Failed, digest, own_command
from .frames import Message, pack_arrays, unpack_arrays
from .watch import read_throttling

if TYPE_CHECKING:
    from collections.abc import Callable

CHUNK = 4 << 20


class Service:
    """Answers one request at a time, in a folder of its own.

    An answer's head has ``error`` and ``kind`` where something failed: ``disk`` (no room), ``damaged`` (a file is not
    what was sent), ``refused`` (the runtime or the board says no) or ``failed``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._engines: dict[str, Any] = {}
        self.status: tuple[str, int, int] | None = None
        self._operations: dict[str, Callable[[dict[str, Any], bytes], Message]] = {
            "facts": self._facts,
            "put": self._put,
            "open": self._open,
            "run": self._run,
            "time": self._time,
            "memory": self._memory,
            "kit": self._kit,
            "get": self._get,
        }

    def answer(self, request: Message) -> Message:
        """Return the answer to a request; never raises for what goes wrong here."""
        operation = self._operations.get(str(request.head.get("op")))
        if operation is None:
            return Message({"error": f"unknown operation {request.head.get('op')}", "kind": "failed"})
        try:
            return operation(request.head, request.payload)
        except Failed as failure:
            return Message({"error": str(failure), "kind": "refused"})
        except OSError as error:
            kind = "disk" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else "failed"
            return Message({"error": f"{error.strerror or error}", "kind": kind})
        except Exception as error:  # noqa: BLE001 - whatever it is, the computer at the other end tells it
            return Message({"error": f"{type(error).__name__}: {' '.join(str(error).split())}", "kind": "failed"})

    def _facts(self, head: dict[str, Any], payload: bytes) -> Message:  # noqa: ARG002 one shape for all
        return Message(
            {"host": facts.describe_host(), "board": facts.describe_board(None), "throttled": read_throttling()}
        )

    def _put(self, head: dict[str, Any], payload: bytes) -> Message:
        """Write one piece of a file; the last one is checked against the whole file's SHA-256."""
        path, offset = self._path(head["name"]), head["offset"]
        with path.open("r+b" if path.exists() else "w+b") as file:
            file.seek(offset)
            file.write(payload)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
        if offset + len(payload) < head["total"]:
            return Message({"received": offset + len(payload)})
        if digest(path) != head["sha256"]:
            path.unlink()
            return Message({"error": f"{head['name']} is not what was sent (its SHA-256 differs)", "kind": "damaged"})
        return Message({"received": head["total"]})

    def _get(self, head: dict[str, Any], payload: bytes) -> Message:  # noqa: ARG002
        path = self._path(head["name"])
        with path.open("rb") as file:
            file.seek(head["offset"])
            content = file.read(CHUNK)
        return Message({"total": path.stat().st_size}, content)

    def _open(self, head: dict[str, Any], payload: bytes) -> Message:  # noqa: ARG002
        from .engine import open_engine

        engine = self._engines[head["engine"]] = open_engine(self._path(head["name"]), head["threads"])
        return Message({"versions": engine.versions})

    def _run(self, head: dict[str, Any], payload: bytes) -> Message:
        outputs = self._engines[head["engine"]].run(unpack_arrays(head["arrays"], payload))
        described, content = pack_arrays(outputs)
        return Message({"arrays": described}, content)

    def _time(self, head: dict[str, Any], payload: bytes) -> Message:
        from .engine import time_in_turn

        feed = unpack_arrays(head["arrays"], payload)
        first, second = (self._engines[name] for name in head["engines"])
        with LockedClocks(self._folder) if head["lock_clocks"] else contextlib.nullcontext():
            return Message(time_in_turn(first, second, feed, seconds=head["seconds"], rounds=head["rounds"]))

    def _memory(self, head: dict[str, Any], payload: bytes) -> Message:
        """Measure the peak of one engine in a process of its own; ``reason`` where that failed there."""
        from .memory import ask_process

        engine = {"model": str(self._path(head["name"])), "threads": head["threads"]}
        asked = Message({"engine": engine, "arrays": head["arrays"]}, payload)
        try:
            return Message(ask_process([*own_command(), "memory"], asked, seconds=head["seconds"]))
        except Failed as failure:
            return Message({"reason": str(failure)})

    def _kit(self, head: dict[str, Any], payload: bytes) -> Message:  # noqa: ARG002
        def tell(task: str, done: int, total: int) -> None:
            self.status = (task, done, total)

        report = kit.make_report(self._folder, lock_clocks=head["lock_clocks"], progress=tell)
        return Message({}, json.dumps(report, indent=2, sort_keys=True).encode())

    def _path(self, name: str) -> Path:
        """Return the path of a file in the folder.

        Raises:
            Failed: The name has a folder in it, or is one of the agent's own.
        """
        if not name or "/" in name or name.startswith(".") or name in ("board.pyz", "agent.sock"):
            raise Failed(f"`{name}` is not a file name")
        return self._folder / name
