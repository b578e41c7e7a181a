"""ONNX Runtime on the CPU: the engine is the ONNX file itself, optimized as it is loaded."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast

import numpy as np
from numpy.typing import NDArray

from compress import machine
from compress.errors import CompressError, DataError, ModelError, TargetError
from compress.model import Model
from compress.runtimes import Availability, Engine, Feed
from compress.runtimes.build_settings import DEFAULT, BuildSettings
from compress.runtimes.engine_files import list_files, write_graph
from compress.runtimes.engine_options import EngineOptions
from compress.runtimes.session_options import make_session_options
from compress.targets import Target

if TYPE_CHECKING:
    import onnxruntime

_ERROR_PREFIX = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (?:\S+\.(?:cc|h):\d+ .*?\) )?", re.DOTALL)


def available(target: Target) -> Availability:
    """Return what can be done here: any engine can be written; it is measured only on the target's own CPU."""
    import onnxruntime

    versions = {"onnxruntime": onnxruntime.__version__}
    isa = machine.detect_isa()
    if target.isa is not None and target.isa not in ("detect", isa):
        reason = (
            f"this CPU is {isa or 'unknown'}: neither speed nor INT8 rounding of {target.isa} can be measured on it"
        )
        return Availability(build=True, run=False, versions=versions, reason=reason)
    board = machine.board_name()
    if target.board is not None and target.board not in (board or ""):
        reason = f"this machine is {board or machine.cpu_name()}, not a {target.board}"
        return Availability(build=True, run=False, versions=versions, reason=reason)
    return Availability(build=True, run=True, versions=versions)


def build(model: Model, target: Target, folder: Path, settings: BuildSettings = DEFAULT) -> Engine:  # noqa: ARG001
    """Write ``model.onnx`` into the folder, once ONNX Runtime has taken the graph.

    Raises:
        TargetError: ONNX Runtime refuses the graph; the message has its reason.
    """
    import onnxruntime

    try:
        with open_graph(model.to_bytes(), threads=1):
            pass
    except ModelError as error:
        raise TargetError(f"target {target.name}: {error.message}", hint=error.hint) from None
    graph = write_graph(model, folder)
    return Engine(
        runtime="onnxruntime",
        kind="onnx",
        target=target.name,
        folder=folder,
        main=graph,
        graph=graph,
        files=list_files([graph]),
        versions={"onnxruntime": onnxruntime.__version__},
    )


def open(engine: Engine, *, threads: int) -> "GraphSession":  # noqa: A001 the name every runtime module has
    """Return a session of the engine's graph as ONNX Runtime optimizes it for this CPU."""
    return open_graph(engine.main, threads=threads)


def open_graph(
    model: Path | bytes,
    *,
    threads: int = 1,
    simulate: bool = False,
    outputs: Sequence[str] | None = None,
    options: EngineOptions | None = None,
    write_optimized: Path | None = None,
    profile: Path | None = None,
) -> "GraphSession":
    """Return a session of an ONNX file or of serialized bytes.

    Args:
        model: A path (external data is found beside it), or a serialized ``ModelProto``.
        threads: Threads inside an operator; operators run one after the other.
        simulate: Compute every QuantizeLinear and DequantizeLinear as it is written, in float, instead of fusing them
            into integer kernels: what the graph *means*, the same on every instruction set.
        outputs: Names of the tensors that ``run`` returns, intermediate ones too; without it, the graph's outputs.
        options: How the graph is run, threads included; without it, the defaults.
        write_optimized: Where ONNX Runtime writes the graph that it makes of this one.
        profile: Start of the name of the file that ONNX Runtime's profiler writes until the session's
            ``end_profiling``.

    Raises:
        ModelError: ONNX Runtime cannot take the graph; the message has its reason in one line.
        TargetError: The execution provider is not there.
    """
    import onnxruntime

    chosen = options or EngineOptions(threads=threads)
    configured = make_session_options(chosen, simulate=simulate, write_optimized=write_optimized, profile=profile)
    providers = {} if chosen.provider != "cpu" else {"providers": ["CPUExecutionProvider"]}
    with _reasons(ModelError, "ONNX Runtime cannot take the graph"):
        source = _expose(model, outputs) if outputs is not None else model
        session = onnxruntime.InferenceSession(source, configured, **providers)
    return GraphSession(session, tuple(outputs) if outputs is not None else None)


class GraphSession:
    """A loaded graph; leaving its context frees it."""

    def __init__(self, session: "onnxruntime.InferenceSession", outputs: tuple[str, ...] | None) -> None:
        self._session: onnxruntime.InferenceSession | None = session
        self.outputs = outputs or tuple(output.name for output in session.get_outputs())

    def run(self, feed: Feed) -> dict[str, NDArray[np.generic]]:
        """Return the outputs by name for inputs by name, each [batch, …].

        Raises:
            DataError: An input is missing or does not fit; the message has ONNX Runtime's reason.
            TargetError: The session is closed.
        """
        if self._session is None:
            raise TargetError("this ONNX Runtime session is closed", hint="open the engine again")
        with _reasons(DataError, "ONNX Runtime cannot run these inputs"):
            values = self._session.run(self.outputs, dict(feed))
        return dict(zip(self.outputs, cast("list[NDArray[np.generic]]", values), strict=True))

    def end_profiling(self) -> Path:
        """Return the file that the profiler has written until now, and stop profiling."""
        if self._session is None:
            raise TargetError("this ONNX Runtime session is closed", hint="open the engine again")
        return Path(self._session.end_profiling())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session = None


def _expose(model: Path | bytes, outputs: Sequence[str]) -> bytes:
    """Return the model with these tensors as its graph outputs (ONNX Runtime infers their types itself)."""
    import onnx

    proto = onnx.load(model) if isinstance(model, Path) else onnx.ModelProto.FromString(model)
    declared = {value.name: value for value in proto.graph.output}
    del proto.graph.output[:]
    proto.graph.output.extend(declared.get(name, onnx.ValueInfoProto(name=name)) for name in outputs)
    return bytes(proto.SerializeToString())


@contextmanager
def _reasons(kind: type[CompressError], what: str) -> Iterator[None]:
    """Turn ONNX Runtime's exceptions (each a direct child of Exception) into one of ours with a one-line reason."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    known = (
        *(state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf, state.NoSuchFile),
        *(state.NotImplemented, state.RuntimeException, state.EPFail, DecodeError, ValueError, FileNotFoundError),
    )
    try:
        yield
    except known as error:
        reason = " ".join(_ERROR_PREFIX.sub("", str(error)).split())
        raise kind(f"{what}: {reason}", hint=_HINTS.get(type(error).__name__)) from None


_HINTS = {
    "NotImplemented": "the operator has no CPU kernel for that type or opset: export with a lower opset",
    "InvalidGraph": "check the file with `python -m onnx.checker` or export it again",
    "InvalidProtobuf": "the file is not ONNX or is cut short: export it again",
    "DecodeError": "the file is not ONNX or is cut short: export it again",
    "NoSuchFile": "check the path",
    "FileNotFoundError": "check the path",
    "InvalidArgument": "compare names, types and shapes with `compress inspect MODEL`",
    "ValueError": "compare names, types and shapes with `compress inspect MODEL`",
}
