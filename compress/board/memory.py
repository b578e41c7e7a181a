"""The memory of one engine: what a process of its own holds more at its peak than before the engine was loaded."""

from __future__ import annotations

import gc
import io
import runpy
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .common import Failed, take_output
from .engine import import_runtime, open_engine
from .frames import BrokenFrame, Message, read_message, unpack_arrays, write_message

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

CALLS = 3
"""A provider may keep buffers that its first call did not need."""
ENOUGH_SECONDS = 1.0
"""An engine that is slow is not called again after so long."""

_STATUS = "/proc/self/status"
_CLEAR = "/proc/self/clear_refs"
_RESET_PEAK = "5"
"""Sets VmHWM to what is resident now (proc_pid_clear_refs(5))."""


def main(words: list[str]) -> int:  # noqa: ARG001 one shape for all commands
    """``memory``: read an engine and a feed from standard input, answer with what :func:`measure_peak` returns.

    Returns 1 where the engine fails, with the reason in the last line on standard error.
    """
    with take_output() as replies:
        try:
            message = read_message(sys.stdin.buffer)
            if message is None:
                raise Failed("nothing was asked")
            feed = unpack_arrays(message.head["arrays"], message.payload)
            write_message(replies, Message(measure_peak(message.head["engine"], feed)))
        except Exception as error:  # noqa: BLE001 - whatever it is, the process that started this one tells it
            sys.stderr.write(f"{type(error).__name__}: {' '.join(str(error).split())}\n")
            return 1
    return 0


def measure_peak(engine: dict[str, Any], feed: dict[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
    """Return what loading an engine and calling it takes beyond what this process held before.

    Args:
        engine: ``loader``, the path of a Python file that leaves a ``session``; or ``model`` and ``threads``.
        feed: One batch; it is held before and does not count.

    Returns:
        ``bytes``, and ``calls`` (how often the engine was called).

    Raises:
        Failed: ONNX Runtime is missing or refuses the engine.
    """
    import_runtime()
    gc.collect()
    reset_peak()
    before = resident_bytes()
    run = _open(engine)
    calls, begin = 0, time.monotonic()
    while calls < CALLS and (calls == 0 or time.monotonic() - begin < ENOUGH_SECONDS):
        run(feed)
        calls += 1
    return {"bytes": max(0, peak_bytes() - before), "calls": calls}


def ask_process(command: list[str], asked: Message, *, seconds: float) -> dict[str, Any]:
    """Return what :func:`measure_peak` found in a process of its own.

    Args:
        command: The words that start :func:`main`.
        asked: The head has ``engine`` and ``arrays``, the payload the arrays' bytes.
        seconds: How long it may take.

    Raises:
        Failed: It took longer, or the engine failed there; the message has the process's last words.
    """
    frame = io.BytesIO()
    write_message(frame, asked)
    try:
        done = subprocess.run(  # noqa: S603 this program
            command, input=frame.getvalue(), capture_output=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Failed(f"it took more than {seconds:g} s") from error
    said = done.stderr.decode(errors="replace").strip().splitlines()
    try:
        answer = read_message(io.BytesIO(done.stdout)) if done.returncode == 0 else None
    except BrokenFrame as error:
        raise Failed(f"it printed {str(error)[:80]!r}") from error
    if answer is None:
        raise Failed(said[-1] if said else f"its process ended with code {done.returncode}")
    return answer.head


def _open(engine: dict[str, Any]) -> Callable[[dict[str, np.ndarray[Any, Any]]], Any]:
    """Return the call of an engine that is loaded now."""
    if "loader" not in engine:
        return open_engine(Path(engine["model"]), engine["threads"]).run
    session = runpy.run_path(engine["loader"])["session"]
    return lambda feed: session.run(None, feed)


def reset_peak() -> bool:
    """Return whether the peak could be set to what is resident now; elsewhere it is that since the process began."""
    try:
        with open(_CLEAR, "w", encoding="ascii") as file:  # noqa: PTH123 one character
            file.write(_RESET_PEAK)
    except OSError:
        return False
    return True


def resident_bytes() -> int:
    """Return the bytes of this process that are in main memory now; their peak where the system does not tell."""
    return _read_status("VmRSS") or peak_bytes()


def peak_bytes() -> int:
    """Return the most bytes that were in main memory since the process began, or since they were reset."""
    found = _read_status("VmHWM")
    if found is not None:
        return found
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _read_status(key: str) -> int | None:
    """Return a size that Linux tells of this process, None on other systems."""
    try:
        lines = Path(_STATUS).read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith(key + ":")]
    return int(found[0]) * 1024 if found else None
