"""The agent on a board, seen from here: started, asked, reached again after a dropped link, ended."""

import contextlib
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

from compress.board.frames import BrokenFrame, Message, read_message, write_message
from compress.devices.ssh.address import Board
from compress.devices.ssh.link import MOST_BYTES, explain_refusal, ssh_words
from compress.devices.ssh.start import explain_answer, read_end, start_agent
from compress.errors import TargetError
from compress.store import hash_file

CHUNK: Final = 4 << 20
"""Bytes of a file in one message: what a dropped link costs at most."""

Told = Callable[[str, int, int], None] | None
"""Told a task, what is done of it, and what there is to do."""

_GOODBYES = 2
_LAST_WORDS_BYTES = 1 << 16

LEASE: Final = "/tmp/edge-compress.lease"  # noqa: S108 - every user of the board must find it
"""The file on the board whose lock a run holds."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds.

    Attributes:
        start: For the first connection and the agent's start.
        call: For one answer, unless the call says otherwise.
        reconnect: For reaching the board again after the link dropped.
        grace: How long the agent on the board waits for a sign of life before it cleans up and ends.
        ping: Between two signs of life.
    """

    start: float = 90.0
    call: float = 900.0
    reconnect: float = 60.0
    grace: float = 180.0
    ping: float = 3.0


class Agent:
    """The agent on a board; leaving its context ends it there, and removes everything of it.

    Raises:
        TargetError: The board cannot be reached, is busy or full, or its Python is too old.
    """

    def __init__(self, board: Board, *, lease: str = LEASE, patience: Patience | None = None) -> None:
        self.board = board
        self.drops = 0
        self._patience = patience or Patience()
        self._folder = start_agent(board, lease, grace=self._patience.grace, seconds=self._patience.start)
        self._number = 0
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._messages: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the agent
        self._heard = 0.0
        self._closed = threading.Event()
        threading.Thread(target=self._ping, daemon=True).start()

    def call(
        self,
        operation: str,
        head: Mapping[str, Any] | None = None,
        payload: bytes = b"",
        *,
        seconds: float | None = None,
        progress: Told = None,
    ) -> Message:
        """Return the agent's answer; a request that a dropped link swallowed is sent again, and done once.

        Args:
            operation: What is asked.
            head: Its settings.
            payload: The bytes that go with it.
            seconds: How long the answer may take.
            progress: Told what the board is at, every few seconds.

        Raises:
            TargetError: The board says no, takes too long, or cannot be reached any more.
        """
        self._number += 1
        request = Message({**(head or {}), "op": operation, "id": self._number}, payload)
        allowed = self._patience.call if seconds is None else seconds
        deadline, dropped = time.monotonic() + allowed, 0.0
        while True:
            answer = self._exchange(request, deadline, progress)
            if answer is not None:
                return self._checked(answer)
            if time.monotonic() >= deadline:
                raise TargetError(
                    f"{self.board.device} gave no answer to `{operation}` within {allowed:g} s",
                    hint="is the board busy with something else?",
                )
            if self._heard >= dropped:
                dropped = time.monotonic()
            self._reconnect(dropped)

    def put(self, path: Path, name: str, progress: Callable[[int, int], None] | None = None) -> None:
        """Send a file; its SHA-256 is checked on the board.

        Raises:
            TargetError: No room there, or the link is gone.
        """
        total, digest, offset = path.stat().st_size, hash_file(path), 0
        with path.open("rb") as file:
            while offset < total or total == 0:
                content = file.read(CHUNK)
                self.call("put", {"name": name, "offset": offset, "total": total, "sha256": digest}, content)
                offset += len(content)
                if progress is not None:
                    progress(offset, total)
                if total == 0:
                    return

    def get(self, name: str, path: Path, *, size: int, sha256: str) -> None:
        """Fetch a file of the agent's folder, of so many bytes and with that SHA-256.

        Raises:
            TargetError: It is not there, is another, or the link is gone.
        """
        offset = 0
        with path.open("wb") as file:
            while offset < size:
                content = self.call("get", {"name": name, "offset": offset}).payload
                if not 0 < len(content) <= size - offset:
                    break
                file.write(content)
                offset += len(content)
        if offset != size or hash_file(path) != sha256:
            raise TargetError(
                f"{self.board.device} sends another {name} than the one it told of ({size} bytes, SHA-256 {sha256})",
                hint="run again; does something else write there?",
            )

    def close(self) -> None:
        """End the agent on the board: it removes its folder and gives the board free."""
        self._closed.set()
        for _ in range(_GOODBYES):
            if self._say_goodbye():
                break
            if "No such file" in self._drop()[1]:
                break
        self._drop()
        self._messages.close()

    def _say_goodbye(self) -> bool:
        """Return whether the agent heard it, and its folder is gone."""
        try:
            with self._lock:
                if self._process is None:
                    self._connect()
                process = self._process
                assert process is not None and process.stdin is not None  # noqa: S101, PT018 a pipe
                write_message(process.stdin, Message({"op": "goodbye"}))
        except (TargetError, OSError, ValueError):
            return False
        # An answer that nobody waits for any more must not stand in the way.
        threading.Thread(target=_drain, args=(process.stdout,), daemon=True).start()
        try:
            # The relay ends once the folder is gone.
            return process.wait(timeout=self._patience.start) == 0
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return False

    def _exchange(self, request: Message, deadline: float, progress: Told) -> Message | None:
        """Return the answer, or None where the link dropped or the time is over."""
        with self._lock:
            if self._process is None:
                self._connect()
            process = self._process
            assert process is not None and process.stdin is not None and process.stdout is not None  # noqa: S101, PT018
            timer = threading.Timer(max(0.0, deadline - time.monotonic()), process.kill)
            timer.start()
            try:
                write_message(process.stdin, request)
            except (OSError, ValueError):
                timer.cancel()
                return None
        try:
            while (answer := read_message(process.stdout)) is not None:
                self._heard = time.monotonic()
                if answer.head.get("id") == request.head["id"]:
                    return answer
                match answer.head.get("status"):
                    case [str(task), int(done), int(total)] if progress is not None:
                        progress(task, done, total)
        except BrokenFrame as error:
            raise TargetError(
                f"{self.board.device} prints something of its own: {str(error)[:80]!r}",
                hint="its shell's start files (.bashrc) must print nothing where nobody is at a terminal",
            ) from None
        finally:
            timer.cancel()
        return None

    def _connect(self) -> None:
        self._messages.seek(0)
        self._messages.truncate()
        words = ssh_words(self.board, [self.board.python, f"{self._folder}/board.pyz", "relay", self._folder])
        self._process = subprocess.Popen(  # noqa: S603 - the user's ssh, words that were checked and quoted
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._messages
        )

    def _reconnect(self, dropped: float) -> None:
        """Make ready for another try, after a while; the reason where there is none to be had."""
        code, said = self._drop()
        ended = read_end(said)
        if ended is not None:
            raise TargetError(f"the agent on {self.board.device} ended: {ended}", hint="was it out of memory?")
        if code is not None and "No such file" in said:
            raise TargetError(
                f"the agent on {self.board.device} is gone: it was ended there, or waited too long for this computer",
                hint="run again",
            )
        if time.monotonic() - dropped > self._patience.reconnect:
            error = explain_refusal(self.board, said)
            raise TargetError(f"the link dropped and {error.message}", hint=error.hint)
        self.drops += 1
        time.sleep(min(2.0, 0.2 * self.drops))

    def _drop(self) -> tuple[int | None, str]:
        """End the link that there is; return ssh's exit code and what it said."""
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return None, ""
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._messages.seek(max(0, self._said_bytes() - _LAST_WORDS_BYTES))
        return process.returncode, self._messages.read().decode(errors="replace").strip()

    def _said_bytes(self) -> int:
        return os.fstat(self._messages.fileno()).st_size

    def _ping(self) -> None:
        while not self._closed.wait(self._patience.ping):
            with self._lock, contextlib.suppress(OSError, ValueError):
                if self._process is None or self._process.stdin is None:
                    continue
                if self._said_bytes() > MOST_BYTES:
                    self._process.kill()
                write_message(self._process.stdin, Message({"op": "ping"}))

    def _checked(self, answer: Message) -> Message:
        if "error" not in answer.head:
            return answer
        raise explain_answer(self.board, answer.head)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _drain(stream: IO[bytes] | None) -> None:
    with contextlib.suppress(OSError, ValueError):
        while stream is not None and stream.read(_LAST_WORDS_BYTES):
            pass
