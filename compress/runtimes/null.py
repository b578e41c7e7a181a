"""Builds nothing and computes nothing: it lets every path through the tool be tested on any machine, in no time.

A session returns zeros in the shape of the graph's outputs, or what :func:`record` has put beside the graph.
"""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from compress.errors import DataError
from compress.model import Model, TensorSpec
from compress.runtimes import Availability, Engine, Feed
from compress.runtimes.build_settings import DEFAULT, BuildSettings
from compress.runtimes.engine_files import list_files, write_graph
from compress.targets import Target

_OUTPUTS = "recorded-outputs.npz"


def available(target: Target) -> Availability:  # noqa: ARG001 it needs nothing
    """Return that everything can be done here."""
    return Availability(build=True, run=True, versions={})


def build(model: Model, target: Target, folder: Path, settings: BuildSettings = DEFAULT) -> Engine:  # noqa: ARG001
    """Write ``model.onnx`` into the folder, unseen by any compiler."""
    graph = write_graph(model, folder)
    return Engine("null", "onnx", target.name, folder, graph, graph, list_files([graph]), versions={})


def open(engine: Engine, *, threads: int) -> "NullSession":  # noqa: A001, ARG001 the shape of every runtime module
    """Return a session that replays the recorded outputs, or zeros where there are none."""
    model = Model.from_bytes(engine.graph.read_bytes())
    recorded = engine.folder / _OUTPUTS
    if not recorded.is_file():
        return NullSession(model, {})
    with np.load(recorded, allow_pickle=False) as outputs:
        return NullSession(model, dict(outputs))


def record(engine: Engine, outputs: Mapping[str, NDArray[np.generic]]) -> None:
    """Put outputs beside the graph, for sessions to replay.

    Args:
        engine: What :func:`build` returned.
        outputs: One array [samples, …] for each output; the sessions return them row by row in the order of the calls.
    """
    np.savez(engine.folder / _OUTPUTS, allow_pickle=False, **outputs)


class NullSession:
    """Zeros, or recorded rows one after the other, from the start again when they are used up."""

    def __init__(self, model: Model, recorded: Mapping[str, NDArray[np.generic]]) -> None:
        self._model = model
        self._recorded = recorded
        self._row = 0

    def run(self, feed: Feed) -> dict[str, NDArray[np.generic]]:
        """Return the outputs by name for inputs by name, each [batch, …].

        Raises:
            DataError: An input is missing.
        """
        names = [spec.name for spec in self._model.inputs]
        missing = [name for name in names if name not in feed]
        if missing:
            raise DataError(f"no value for input `{missing[0]}`", hint=f"the graph's inputs are {', '.join(names)}")
        sizes = {
            dimension: size
            for spec in self._model.inputs
            for dimension, size in zip(spec.shape, feed[spec.name].shape, strict=False)
            if isinstance(dimension, str)
        }
        batch = len(feed[names[0]])
        start, self._row = self._row, self._row + batch
        return {spec.name: self._output(spec, sizes, start, batch) for spec in self._model.outputs}

    def _output(self, spec: TensorSpec, sizes: Mapping[str, int], start: int, batch: int) -> NDArray[np.generic]:
        if spec.name in self._recorded:
            rows = self._recorded[spec.name]
            return rows[np.arange(start, start + batch) % len(rows)]
        # A dynamic size that no input has (a count of detections) is not known without computing: one stands for it.
        shape = tuple(size if isinstance(size, int) else sizes.get(size, 1) for size in spec.shape)
        return np.zeros(shape, spec.dtype)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None
