"""ONNX Runtime on the board: one engine, or two timed in turn."""

from __future__ import annotations

import gc
import os
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .common import Failed
from .watch import Watch, describe_throttling, read_throttling

if TYPE_CHECKING:
    import numpy as np

WARM_UP_BLOCK = 5
STEADY_WITHIN = 0.05
WARM_UP_SHARE = 0.25
FEWEST_ROUNDS = 5
"""As in compress.measure.timings, which explains them."""

_FATAL_ONLY = 4


def import_runtime() -> Any:
    """Return ONNX Runtime's module.

    Raises:
        Failed: It is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise Failed("ONNX Runtime is not installed here: pip install onnxruntime") from error
    return onnxruntime


class GraphEngine:
    """An ONNX file that ONNX Runtime has loaded on this board's CPU."""

    def __init__(self, path: Path, threads: int) -> None:
        onnxruntime = import_runtime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        options.log_severity_level = _FATAL_ONLY
        # Idle threads of one session would spin on the cores that the other one needs.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise Failed(f"ONNX Runtime {onnxruntime.__version__} refuses the engine: {_one_line(error)}") from error
        self._outputs = [output.name for output in self._session.get_outputs()]
        self.versions = {"onnxruntime": str(onnxruntime.__version__), "python": platform.python_version()}

    def run(self, feed: dict[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
        """Return the outputs by name."""
        return dict(zip(self._outputs, self._session.run(self._outputs, feed)))  # noqa: B905 Python 3.8


def open_engine(path: Path, threads: int) -> GraphEngine:
    """Return a loaded engine.

    Raises:
        Failed: ONNX Runtime is missing or refuses the file.
    """
    return GraphEngine(path, threads)


def time_in_turn(
    first: GraphEngine, second: GraphEngine, feed: dict[str, np.ndarray[Any, Any]], *, seconds: float, rounds: int
) -> dict[str, Any]:
    """Return the latencies of two engines timed in turn (A B, B A, …).

    Args:
        first: The original.
        second: The compressed engine.
        feed: One batch.
        seconds: How long it may take in all, the warm-up a quarter of it at most.
        rounds: After so many it is enough.

    Returns:
        ``seconds`` [rounds][2], ``warm_up`` [rounds][2], ``steady`` (whether the warm-up ended because the medians
        stood still), ``pressure`` before and after, ``power`` (or None), ``throttled`` (reasons).
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        with Watch() as watch:
            slowed, before, begin = read_throttling(), read_pressure(), time.monotonic()
            made: list[list[float]] = []
            steady = _warm_up(first, second, feed, made, begin + WARM_UP_SHARE * seconds)
            warm, started = len(made), time.monotonic()
            while len(made) - warm < rounds:
                _make_round(first, second, feed, made)
                if len(made) - warm >= FEWEST_ROUNDS and time.monotonic() >= begin + seconds:
                    break
            after, power = read_pressure(), watch.summarize(started, time.monotonic())
            throttled = describe_throttling(slowed, read_throttling())
    finally:
        if collecting:
            gc.enable()
    return {
        "seconds": made[warm:],
        "warm_up": made[:warm],
        "steady": steady,
        "pressure": [before, after],
        "power": power,
        "throttled": throttled,
    }


def _warm_up(first: GraphEngine, second: GraphEngine, feed: Any, made: list[list[float]], deadline: float) -> bool:
    previous = None
    while True:
        for _ in range(WARM_UP_BLOCK):
            _make_round(first, second, feed, made)
            if time.monotonic() >= deadline:
                return False
        block = made[-WARM_UP_BLOCK:]
        medians = [sorted(column)[WARM_UP_BLOCK // 2] for column in zip(*block)]  # noqa: B905 Python 3.8
        if previous is not None and all(
            abs(now - then) <= STEADY_WITHIN * then
            for now, then in zip(medians, previous)  # noqa: B905 Python 3.8
        ):
            return True
        previous = medians


def _make_round(first: GraphEngine, second: GraphEngine, feed: Any, made: list[list[float]]) -> None:
    if len(made) % 2 == 0:
        seconds = _time(first, feed)
        made.append([seconds, _time(second, feed)])
    else:
        seconds = _time(second, feed)
        made.append([_time(first, feed), seconds])


def _time(engine: GraphEngine, feed: Any) -> float:
    start = time.perf_counter()
    engine.run(feed)
    return time.perf_counter() - start


def read_pressure() -> dict[str, float | None]:
    """Return CPU seconds until now, over all cores: total, busy, this process's own, and stolen by a hypervisor."""
    tick = os.sysconf("SC_CLK_TCK")
    with open("/proc/stat", encoding="ascii") as stat:  # noqa: PTH123 one line is enough
        fields = [int(word) / tick for word in stat.readline().split()[1:9]]
    total, idle, steal = sum(fields), fields[3] + fields[4], fields[7]
    return {"total": total, "busy": total - idle - steal, "own": time.process_time(), "steal": steal}


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
