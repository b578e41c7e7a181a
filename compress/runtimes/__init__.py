"""Runtimes: one module each, all of the same shape.

A runtime module offers what :class:`Runtime` lists. Adding one is a module and a line in ``RUNTIMES``; nothing outside
the module imports the library it wraps.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self, cast

import numpy as np
from numpy.typing import NDArray

from compress.model import Model
from compress.runtimes.build_settings import BuildSettings
from compress.targets import Target

Feed = Mapping[str, NDArray[np.generic]]
EngineKind = Literal["onnx", "tensorrt", "build-kit"]

RUNTIMES: dict[str, str] = {
    "onnxruntime": "compress.runtimes.onnxruntime",
    "onnxruntime_gpu": "compress.runtimes.onnxruntime_gpu",
    "tensorrt": "compress.runtimes.tensorrt",
    "tensorrt_rtx": "compress.runtimes.tensorrt_rtx",
    "reference": "compress.runtimes.reference",
    "null": "compress.runtimes.null",
}


@dataclass(frozen=True, slots=True)
class EngineFile:
    """One file of an engine, with its SHA-256 in hexadecimal and its size in bytes."""

    path: Path
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Engine:
    """Files that a runtime loads, and how they came to be.

    Attributes:
        kind: ``onnx`` (ONNX Runtime loads it), ``tensorrt`` (a serialized engine) or ``build-kit`` (a folder that makes
            the engine on the board).
        folder: Where all the files lie.
        main: The file (or, for a kit, the script) that a user hands to the runtime.
        graph: The ONNX file that the engine was made from; what accuracy is simulated on where the engine cannot run.
        files: Every file, ``main`` and ``graph`` included.
        versions: Runtime and compiler versions.
        log: What the compiler said, a line each.
        notes: Sentences for the report.
    """

    runtime: str
    kind: EngineKind
    target: str
    folder: Path
    main: Path
    graph: Path
    files: tuple[EngineFile, ...]
    versions: Mapping[str, str]
    log: tuple[str, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())

    def size(self) -> int:
        """Return the bytes of ``main``, or of ``graph`` for a kit: what ends up on the device."""
        counted = self.graph if self.kind == "build-kit" else self.main
        return next(file.bytes for file in self.files if file.path == counted)


@dataclass(frozen=True, slots=True)
class Availability:
    """What this machine can do for one target.

    Attributes:
        build: Whether an engine (not a kit) can be built here.
        run: Whether the engine can be run, and so measured, here.
        kit: Whether a build kit is written where an engine cannot be built.
        versions: Versions of what is installed.
        reason: Why something is not possible, or None.
        hint: The command that mends it, or None.
    """

    build: bool
    run: bool
    versions: Mapping[str, str]
    reason: str | None = None
    hint: str | None = None
    kit: bool = False


class Session(Protocol):
    """An engine that is loaded and ready; a context manager."""

    def run(self, feed: Feed) -> dict[str, NDArray[np.generic]]:
        """Return the outputs by name for inputs by name, each [batch, …]."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Runtime(Protocol):
    """What every runtime module offers."""

    def available(self, target: Target) -> Availability:
        """Return what can be built and run here for the target, without building anything."""
        ...

    def build(self, model: Model, target: Target, folder: Path, settings: BuildSettings = ...) -> Engine:
        """Write an engine for the target into the (existing, empty) folder.

        Args:
            model: The graph.
            target: The device.
            folder: Where the engine's files go.
            settings: What the project says; a runtime leaves aside what does not concern it.

        Raises:
            TargetError: The compiler refuses the graph, or something it needs is missing.
        """
        ...

    def open(self, engine: Engine, *, threads: int) -> Session:
        """Return a session of an engine that this module built.

        Raises:
            TargetError: The engine cannot run here.
        """
        ...


def load_runtime(name: str) -> Runtime:
    """Return the runtime module of that name.

    Raises:
        KeyError: Not in ``RUNTIMES``.
    """
    return cast("Runtime", importlib.import_module(RUNTIMES[name]))


def open_graph(
    model: Path | bytes, *, threads: int, simulate: bool = False, outputs: Sequence[str] | None = None
) -> Session:
    """Return a session of an ONNX file or of serialized bytes on this CPU.

    Args:
        model: A path (external data is found beside it), or a serialized ``ModelProto``.
        threads: Threads inside an operator.
        simulate: Compute Q/DQ as they are written, in float: what the graph means, the same on every instruction set.
        outputs: Names of the tensors that ``run`` returns, intermediate ones too; without it, the graph's outputs.

    Raises:
        ModelError: The graph cannot be taken.
    """
    from compress.runtimes import onnxruntime

    return onnxruntime.open_graph(model, threads=threads, simulate=simulate, outputs=outputs)
