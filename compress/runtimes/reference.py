"""The ONNX reference evaluator: slow, and the living definition of what a graph means."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from compress.errors import DataError, ModelError, TargetError
from compress.model import Model
from compress.runtimes import Availability, Engine, Feed
from compress.runtimes.build_settings import DEFAULT, BuildSettings
from compress.runtimes.engine_files import list_files, write_graph
from compress.targets import Target

if TYPE_CHECKING:
    from onnx.reference import ReferenceEvaluator


def available(target: Target) -> Availability:  # noqa: ARG001 it needs nothing but the onnx package
    """Return that everything can be done here."""
    return Availability(build=True, run=True, versions=_versions())


def build(model: Model, target: Target, folder: Path, settings: BuildSettings = DEFAULT) -> Engine:  # noqa: ARG001
    """Write ``model.onnx`` into the folder, once ONNX's checker has taken the graph.

    Raises:
        TargetError: The graph is not valid ONNX.
    """
    import onnx

    try:
        onnx.checker.check_model(model.to_bytes())
    except onnx.checker.ValidationError as error:
        raise TargetError(
            f"target {target.name}: not a valid ONNX graph: {_one_line(error)}",
            hint="check the model with onnx.checker",
        ) from None
    graph = write_graph(model, folder)
    return Engine("reference", "onnx", target.name, folder, graph, graph, list_files([graph]), _versions())


def open(engine: Engine, *, threads: int) -> "ReferenceSession":  # noqa: A001, ARG001 the shape of every runtime module
    """Return a session of the engine's graph; the evaluator has one thread whatever is asked for.

    Raises:
        ModelError: The file is not ONNX, or has an operator that the evaluator does not implement.
    """
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from onnx.reference import ReferenceEvaluator

    try:
        return ReferenceSession(ReferenceEvaluator(str(engine.main)))
    except (DecodeError, RuntimeError, NotImplementedError, TypeError) as error:
        raise ModelError(
            f"{engine.main.name}: the reference evaluator cannot take it: {_one_line(error)}", hint="use another target"
        ) from None


class ReferenceSession:
    """A loaded graph; leaving its context frees it."""

    def __init__(self, evaluator: "ReferenceEvaluator") -> None:
        self._evaluator: ReferenceEvaluator | None = evaluator

    def run(self, feed: Feed) -> dict[str, NDArray[np.generic]]:
        """Return the outputs by name for inputs by name, each [batch, …].

        Raises:
            DataError: An input is missing.
            TargetError: The session is closed.
        """
        if self._evaluator is None:
            raise TargetError("this reference session is closed", hint="open the engine again")
        names = self._evaluator.input_names
        missing = [name for name in names if name not in feed]
        if missing:
            raise DataError(f"no value for input `{missing[0]}`", hint=f"the graph's inputs are {', '.join(names)}")
        values = self._evaluator.run(None, dict(feed))
        return dict(zip(self._evaluator.output_names, map(np.asarray, values), strict=True))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._evaluator = None


def _versions() -> Mapping[str, str]:
    import onnx

    return {"onnx": onnx.__version__}


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
