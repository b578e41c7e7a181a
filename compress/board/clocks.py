"""A Jetson's clocks, locked while something is measured and given back whatever happens."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from .common import Failed, as_root, own_command

STATE = "clocks.saved"
_SECONDS = 60.0


class LockedClocks:
    """A context in which ``jetson_clocks`` holds every clock at the power mode's maximum.

    The clocks of before are stored in a file, and a second process waits for the end of this one: where this one is
    killed (SIGKILL too), that one restores them. A file that an earlier run left, because the board lost power or both
    were killed, is restored first.

    Raises:
        Failed: There is no jetson_clocks here, or root's rights are missing.
    """

    def __init__(self, folder: Path) -> None:
        self._state = folder / STATE
        self._guard: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> LockedClocks:
        program = shutil.which("jetson_clocks")
        if program is None:
            raise Failed("--lock-clocks: there is no jetson_clocks here; it is for NVIDIA Jetson boards")
        restore(self._state)
        _call([program, "--store", str(self._state)])
        self._guard = subprocess.Popen(  # noqa: S603 this program itself
            [*own_command(), "guard", str(self._state)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            _call([program])
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        restore(self._state)
        if self._guard is not None and self._guard.stdin is not None:
            with contextlib.suppress(OSError):
                self._guard.stdin.close()
            self._guard.wait(timeout=_SECONDS)


def restore(state: Path) -> bool:
    """Give the board the clocks that a file holds and remove it; return whether there was one.

    Raises:
        Failed: The board does not take them.
    """
    if not state.is_file():
        return False
    program = shutil.which("jetson_clocks")
    if program is not None:
        _call([program, "--restore", str(state)])
    # The program stored the file as root; its folder is ours.
    with contextlib.suppress(FileNotFoundError):
        state.unlink()
    return True


def guard(words: list[str]) -> int:
    """Wait until the process at the other end of standard input is gone; then restore what it left locked."""
    while sys.stdin.buffer.read(1 << 16):
        pass
    try:
        restore(Path(words[0]))
    except Failed:
        return 1
    return 0


def _call(command: list[str]) -> None:
    try:
        done = subprocess.run(  # noqa: S603 fixed words
            as_root(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(f"jetson_clocks does not run: {error}") from error
    if done.returncode != 0:
        said = done.stdout.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise Failed(f"jetson_clocks does not run ({said[-1]}): it needs root, or sudo without a password for it")
