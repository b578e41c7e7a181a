"""ONNX Runtime's own profile of an engine: which nodes it runs, with which kernels, and how long each takes."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np
from numpy.typing import NDArray

from compress.errors import TargetError
from compress.runtimes.engine_options import EngineOptions
from compress.runtimes.onnxruntime import open_graph
from compress.runtimes.variants import RanNode

_SUFFIX: Final = "_kernel_time"
_WARM_UP: Final = 2


def profile_engine(
    graph: Path, options: EngineOptions, feed: Mapping[str, NDArray[np.generic]], folder: Path, *, runs: int
) -> tuple[RanNode, ...]:
    """Return what runs when an engine runs, in the order of its first run, each node's time the median over the runs.

    Args:
        graph: The file that a session loads.
        options: How it is run, as a session loads it.
        feed: One call's inputs.
        folder: Where the runtime may leave its profile for a moment.
        runs: How many runs are counted; two more warm up.

    Raises:
        CompressError: The runtime refuses the graph or the inputs, or leaves no profile.
    """
    with open_graph(graph, options=options, profile=folder / "profile") as session:
        for _ in range(_WARM_UP + runs):
            session.run(feed)
        written = session.end_profiling()
    try:
        events = json.loads(written.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TargetError(f"ONNX Runtime's profile cannot be read: {error}") from None
    finally:
        written.unlink(missing_ok=True)
    return _gather(events, _WARM_UP + runs)


def _gather(events: Iterable[Mapping[str, object]], runs: int) -> tuple[RanNode, ...]:
    found: dict[str, list[float]] = {}
    facts: dict[str, tuple[str, str]] = {}
    for event in events:
        name, arguments = str(event.get("name", "")), event.get("args")
        if event.get("cat") != "Node" or not name.endswith(_SUFFIX) or not isinstance(arguments, dict):
            continue
        # Nodes need no names of their own; their place in the graph tells them apart.
        key = f"{arguments.get('node_index')} {name}"
        found.setdefault(key, []).append(float(str(event["dur"])) * 1e-6)
        facts[key] = (str(arguments.get("op_name", "")), str(arguments.get("provider", "")))
    return tuple(
        RanNode(key.partition(" ")[2].removesuffix(_SUFFIX), *facts[key], seconds=_per_run(seconds, runs))
        for key, seconds in found.items()
    )


def _per_run(seconds: list[float], runs: int) -> float:
    """Return the median time in a run; a node in the body of a loop runs several times in one."""
    each = max(1, len(seconds) // runs)
    sums = [sum(seconds[start : start + each]) for start in range(0, len(seconds), each)]
    return median(sums[_WARM_UP:] or sums)
