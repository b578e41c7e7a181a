"""The agent's process on the board: it outlives a dropped link, and leaves nothing behind.

``start`` takes the board's lease and leaves two processes. The *keeper* loads engines, measures, and answers requests
on a socket in its folder; a dropped link ends only the relay in front of it. The *supervisor* waits for the keeper's
end, whatever it is, gives the clocks back, removes the folder, and with its own end the lease. The keeper does the
same where the supervisor is the one that was killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import stat
import sys
import threading
import time
from pathlib import Path
from typing import IO, NoReturn

from .clocks import STATE, restore
from .common import Failed
from .frames import BrokenFrame, Message, read_message, write_message
from .service import Service

SOCKET = "agent.sock"
ENDED = "ended.json"
FOLDERS = "edge-compress-run-"
"""How the names of agents' folders begin, beside which anything else may lie."""
BUSY = 3
"""Exit code: another run has the board."""

_LINGER_SECONDS = 1.0
_TICK_SECONDS = 0.2


def main(words: list[str]) -> int:
    """``start FOLDER LEASE RUN GRACE``: take the lease, leave the two processes, print what became of it as JSON.

    Args:
        words: The folder (it holds this archive; it is removed in the end), the lease file, who runs (free text), and
            the seconds without a sign of life after which the agent ends by itself.
    """
    folder, lease = Path(words[0]), Path(words[1])
    try:
        held = take_lease(lease, words[2])
    except OSError as error:
        said = f"the lease {lease} cannot be taken: {error.strerror}; whoever made it must remove it"
        sys.stdout.write(json.dumps({"error": said, "kind": "failed"}) + "\n")
        return BUSY
    if held is None:
        sys.stdout.write(json.dumps({"busy": lease.read_text(encoding="utf-8", errors="replace").strip()}) + "\n")
        return BUSY
    remove_stale(folder)
    os.chdir(folder)
    listener = socket.socket(socket.AF_UNIX)
    # The whole path may be longer than a socket's name may be.
    listener.bind(SOCKET)
    listener.listen(4)
    if os.fork() == 0:
        _detach()
        if os.fork() == 0:
            _supervise(folder, listener, float(words[3]))
        os._exit(0)
    os.wait()
    sys.stdout.write(json.dumps({"started": True}) + "\n")
    return 0


def take_lease(path: Path, run: str) -> int | None:
    """Return the open file whose lock is the lease, or None where another run holds it; a killed run's lock is gone.

    The file lies where everybody may write. A link that somebody put there is not followed, and only a file that is
    this user's own and has no other name is written to.

    Raises:
        OSError: It is a link, or cannot be opened.
    """
    flags = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        held = os.open(str(path), os.O_RDWR | os.O_CREAT | flags, 0o644)
    except PermissionError:
        # Another user's file: it can be locked, though not written.
        held = os.open(str(path), os.O_RDONLY | flags)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(held)
        return None
    found = os.fstat(held)
    if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_nlink == 1:
        with contextlib.suppress(OSError):
            # Whatever the umask: who cannot open it could not take the lease, ever.
            os.fchmod(held, 0o644)
            os.ftruncate(held, 0)
            os.write(held, run.encode())
    return held


def remove_stale(folder: Path) -> None:
    """Remove what this user's killed runs left beside this one's folder; the lease says that none of them is alive."""
    for other in folder.parent.glob(f"{FOLDERS}*"):
        found = other.lstat()
        # Root would write what another user's file of clocks says.
        if other != folder and stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
            remove(other)


def _detach() -> None:
    os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1):
        os.dup2(null, number)
    messages = os.open("agent.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(messages, 2)


def _supervise(folder: Path, listener: socket.socket, grace: float) -> NoReturn:
    alive, kept = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(kept)
        os.setsid()
        threading.Thread(target=_outlive, args=(alive, folder), daemon=True).start()
        code = Keeper(listener, folder, grace).serve()
        os._exit(code)
    os.close(alive)
    listener.close()
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGKILL))
    status = os.waitpid(child, 0)[1]
    with contextlib.suppress(OSError):
        os.killpg(child, signal.SIGKILL)
    _say_end(folder, status)
    clean(folder)
    os._exit(0)


def _say_end(folder: Path, status: int) -> None:
    """Leave word for a relay that still listens, where the end was no orderly one."""
    if status == 0:
        return
    log = (folder / "agent.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit code {os.WEXITSTATUS(status)}"
    with contextlib.suppress(OSError):
        (folder / ENDED).write_text(json.dumps({"how": how, "last": log[-1:]}), encoding="utf-8")
        time.sleep(_LINGER_SECONDS)


def _outlive(alive: int, folder: Path) -> None:
    """Wait for the supervisor's end; then do its work and end."""
    while os.read(alive, 1):
        pass
    clean(folder)
    os.killpg(0, signal.SIGKILL)


def clean(folder: Path) -> None:
    """Give the clocks back and remove the folder, and its parent where nothing else is in it."""
    os.chdir("/")
    remove(folder)
    with contextlib.suppress(OSError):
        folder.parent.rmdir()


def remove(folder: Path) -> None:
    """Give the clocks back and remove a folder; clocks that the board does not take are left to the next run."""
    try:
        restore(folder / STATE)
    except Failed as failure:
        sys.stderr.write(f"{failure}\n")
        for path in folder.iterdir():
            if path.name != STATE:
                with contextlib.suppress(OSError):
                    path.unlink()
        return
    shutil.rmtree(str(folder), ignore_errors=True)


class Keeper:
    """Serves one connection at a time, the newest; a request is answered once, however often it is sent."""

    def __init__(self, listener: socket.socket, folder: Path, grace: float) -> None:
        self._listener = listener
        self._service = Service(folder)
        self._grace = grace
        self._lock = threading.Lock()
        self._seen = time.monotonic()
        self._connection: socket.socket | None = None
        self._stream: IO[bytes] | None = None
        self._running: int | None = None
        self._answered: tuple[int, Message] | None = None
        self._ended = threading.Event()

    def serve(self) -> int:
        """Return 0 once the other end says goodbye, or gave no sign of life for too long."""
        threading.Thread(target=self._accept, daemon=True).start()
        while not self._ended.wait(_TICK_SECONDS):
            if time.monotonic() - self._seen > self._grace:
                break
        return 0

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._connection is not None:
                # An answer that is being written to a link that stands still must end before the lock is free.
                with contextlib.suppress(OSError):
                    self._connection.shutdown(socket.SHUT_RDWR)
            with self._lock:
                self._connection, self._stream = connection, connection.makefile("wb")
            threading.Thread(target=self._listen, args=(connection,), daemon=True).start()

    def _listen(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, BrokenFrame):
            stream = connection.makefile("rb")
            while (message := read_message(stream)) is not None:
                self._seen = time.monotonic()
                self._take(message)

    def _take(self, message: Message) -> None:
        operation, number = message.head["op"], message.head.get("id")
        if operation == "ping":
            with self._lock:
                self._send(Message({"status": self._service.status}))
            return
        if operation == "goodbye":
            self._ended.set()
            return
        with self._lock:
            answered = self._answered
            if answered is not None and answered[0] == number:
                self._send(answered[1])
                return
            if self._running == number:
                return
            self._running = number
        threading.Thread(target=self._work, args=(message,), daemon=True).start()

    def _work(self, message: Message) -> None:
        answer = self._service.answer(message)
        number = message.head["id"]
        answer = Message({**answer.head, "id": number}, answer.payload)
        with self._lock:
            self._answered, self._running = (number, answer), None
            self._send(answer)

    def _send(self, answer: Message) -> None:
        """Send an answer on the newest connection; where that is gone it is asked for again."""
        if self._stream is not None:
            with contextlib.suppress(OSError, ValueError):
                write_message(self._stream, answer)
