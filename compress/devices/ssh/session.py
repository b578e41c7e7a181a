"""ONNX Runtime engines on a board: run on streamed samples, or timed in turn."""

from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from compress.board.frames import pack_arrays
from compress.devices.ssh.agent import Agent
from compress.devices.ssh.answers import Opened, Peak, Timed, read_answer, read_outputs
from compress.runtimes import Feed

_MARGIN_SECONDS = 600.0
_MEMORY_SECONDS = 300.0


class BoardSession:
    """An engine that is loaded on a board; the agent's end unloads it.

    Attributes:
        versions: Of what runs there: ``onnxruntime``, ``python``.
    """

    def __init__(self, agent: Agent, name: str, versions: dict[str, str]) -> None:
        self.versions = versions
        self._agent = agent
        self._name = name

    def run(self, feed: Feed) -> dict[str, NDArray[np.generic]]:
        """Return the outputs by name for inputs by name, each [batch, …].

        Raises:
            TargetError: The engine failed there, or the link is gone.
        """
        described, payload = pack_arrays(dict(feed))
        answer = self._agent.call("run", {"engine": self._name, "arrays": described}, payload)
        return read_outputs(self._agent.board, answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return


def open_on_board(agent: Agent, file: str, name: str, *, threads: int) -> BoardSession:
    """Return a session of an ONNX file that was sent to a board.

    Args:
        agent: On the board.
        file: What the file is called there.
        name: What the session is called there.
        threads: Inside an operator.

    Raises:
        TargetError: No ONNX Runtime there, or it refuses the file.
    """
    answer = agent.call("open", {"engine": name, "name": file, "threads": threads})
    return BoardSession(agent, name, read_answer(agent.board, Opened, answer.head).versions.model_dump())


def measure_peak_on_board(agent: Agent, file: str, feed: Feed, *, threads: int) -> int | str:
    """Return the bytes that :func:`compress.board.memory.measure_peak` finds on a board, or why it finds none.

    Args:
        agent: On the board.
        file: What the ONNX file is called there.
        feed: One call's inputs.
        threads: Inside an operator.

    Raises:
        TargetError: The link is gone.
    """
    described, payload = pack_arrays(dict(feed))
    head = {"name": file, "threads": threads, "arrays": described, "seconds": _MEMORY_SECONDS}
    answer = agent.call("memory", head, payload, seconds=_MEMORY_SECONDS + _MARGIN_SECONDS)
    peak = read_answer(agent.board, Peak, answer.head)
    return peak.bytes if peak.bytes is not None else peak.reason or "the board does not say why"


def time_on_board(
    agent: Agent, names: tuple[str, str], feed: Feed, *, seconds: float, rounds: int, lock_clocks: bool
) -> Timed:
    """Return what :func:`compress.board.engine.time_in_turn` measures of two engines that were opened.

    Raises:
        TargetError: An engine failed, the clocks cannot be locked, or the link is gone.
    """
    described, payload = pack_arrays(dict(feed))
    settings = {"engines": list(names), "arrays": described, "seconds": seconds, "rounds": rounds}
    head = {**settings, "lock_clocks": lock_clocks}
    return read_answer(agent.board, Timed, agent.call("time", head, payload, seconds=seconds + _MARGIN_SECONDS).head)
