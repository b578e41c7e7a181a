"""A session of an ONNX engine on an emulated CPU."""

import contextlib
import os
import subprocess
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import numpy as np
from numpy.typing import NDArray

from compress.board.frames import BrokenFrame, Message, pack_arrays, read_message, unpack_arrays, write_message
from compress.devices.cpus import EmulatedCpu
from compress.devices.qemu import Launch, plan_launch
from compress.errors import TargetError
from compress.runtimes import Feed
from compress.runtimes.kit.archive import NAME, pack_board

CALL_SECONDS = 900.0
"""Float convolutions take long under emulation, and the cores may be busy."""


class EmulatedSession:
    """An engine that is loaded on an emulated CPU; leaving its context ends it.

    Attributes:
        versions: Versions of what runs there: ``onnxruntime``, ``python``, ``machine``.
    """

    def __init__(self, cpu: EmulatedCpu, launch: Launch, model: Path, seconds: float) -> None:
        self._cpu = cpu
        self._seconds = seconds
        self._expired = False
        self._messages: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._scratch = tempfile.TemporaryDirectory()
        program = Path(self._scratch.name) / NAME
        program.write_bytes(pack_board())
        self._process = subprocess.Popen(  # noqa: S603 - our own worker under the emulator that was found
            [*launch.words, str(program), "serve", str(model)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._messages,
            env=_environment(launch),
        )
        try:
            self.versions: dict[str, str] = self._exchange(None).head
        except BaseException:
            self.close()
            raise

    def run(self, feed: Feed) -> dict[str, NDArray[np.generic]]:
        """Return the outputs by name for inputs by name, each [batch, …].

        Raises:
            TargetError: The engine failed there, or took too long.
        """
        described, payload = pack_arrays(dict(feed))
        answer = self._exchange(Message({"arrays": described}, payload))
        return unpack_arrays(answer.head["arrays"], answer.payload)

    def _exchange(self, content: Message | None) -> Message:
        """Send one message, or none, and return the next that comes back."""
        assert self._process.stdin is not None  # noqa: S101 - opened as pipes above
        assert self._process.stdout is not None  # noqa: S101
        timer = threading.Timer(self._seconds, self._expire)
        timer.start()
        reply = None
        try:
            with contextlib.suppress(OSError, ValueError, BrokenFrame):  # it ended: what it said last is told below
                if content is not None:
                    write_message(self._process.stdin, content)
                reply = read_message(self._process.stdout)
        finally:
            timer.cancel()
        if reply is None:
            raise self._failure()
        return reply

    def _expire(self) -> None:
        self._expired = True
        self._process.kill()

    def _failure(self) -> TargetError:
        if self._expired:
            return TargetError(
                f"{self._cpu.device} gave no answer within {self._seconds:g} s",
                hint="float operators are slow under emulation: give a quantized engine, or a smaller model",
            )
        self._end()
        said = [line for line in self._said() if "warning" not in line]
        reason = said[-1] if said else f"it ended with code {self._process.returncode}"
        return TargetError(f"the engine does not run on {self._cpu.device}: {reason}", hint=_hint(self._cpu))

    def _said(self) -> list[str]:
        self._messages.seek(0)
        return [line for line in self._messages.read().decode(errors="replace").splitlines() if line.strip()]

    def close(self) -> None:
        """End the process."""
        self._end()
        self._messages.close()
        self._scratch.cleanup()

    def _end(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what is left in the buffer has no reader any more
                    pipe.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_emulated(cpu: EmulatedCpu, model: Path, *, seconds: float = CALL_SECONDS) -> EmulatedSession:
    """Return a session of an ONNX file on an emulated CPU, one thread.

    Args:
        cpu: Where it runs.
        model: The engine's file.
        seconds: How long loading, and then each call, may take.

    Raises:
        TargetError: QEMU or the interpreter for it is missing, the engine does not load there, or it takes too long.
    """
    return EmulatedSession(cpu, plan_launch(cpu), model, seconds)


def _environment(launch: Launch) -> dict[str, str]:
    """Return the worker's environment: this process's, without what would send another interpreter to its files."""
    if not launch.environment:
        return dict(os.environ)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LD_"))}
    return {**kept, **launch.environment}


def _hint(cpu: EmulatedCpu) -> str:
    if cpu.architecture == "aarch64":
        return "ONNX Runtime 1.28 and newer do not start under QEMU 7.2: `python -m compress.devices.prepare` pins 1.27"
    return "`compress doctor` says what emulation needs"
