"""Ways to run an engine: what a runtime offers that can run the same graph in more than one way on a machine."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, cast, runtime_checkable

from compress.runtimes import Engine, Feed, Session
from compress.runtimes.engine_options import EngineOptions

VARIANTS: dict[str, str] = {
    "onnxruntime": "compress.runtimes.onnxruntime_variants",
}
"""Runtimes that can run the same graph in more than one way on a machine."""

Providers = Literal["all", "cpu"]
"""Which execution providers may be tried: all that are installed, or the runtime's own kernels only."""


@dataclass(frozen=True, slots=True)
class Absent:
    """A way to run an engine that cannot be had here, and why."""

    what: str
    reason: str


@dataclass(frozen=True, slots=True)
class Variants:
    """Ways to run an engine, the default one first, and those that cannot be had here."""

    options: tuple[EngineOptions, ...]
    absent: tuple[Absent, ...]


@dataclass(frozen=True, slots=True)
class InputShape:
    """An input as the engine was measured with it: NumPy's name of the type, and the shape of one call."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RanNode:
    """A node of the graph that the runtime made and runs.

    Attributes:
        name: As the runtime calls it.
        op: Its operator: ``QLinearConv`` where an integer kernel computes.
        provider: The execution provider that runs it.
        seconds: Median time in a run, over all the times that it runs in one.
    """

    name: str
    op: str
    provider: str
    seconds: float


def describe_feed(feed: Feed) -> dict[str, InputShape]:
    """Return every input's type and shape."""
    return {name: InputShape(array.dtype.name, array.shape) for name, array in feed.items()}


@runtime_checkable
class LayerProfiler(Protocol):
    """A session that times its engine's layers one by one."""

    def profile(self, feed: Feed, runs: int) -> tuple[RanNode, ...]:
        """Return the layers in the engine's order, with the mean seconds over so many runs."""
        ...


class VariantRuntime(Protocol):
    """What a module in ``VARIANTS`` offers."""

    def list_variants(self, *, threads: int, providers: Providers) -> Variants:
        """Return the execution providers that can be had here, each with default settings, the default one first."""
        ...

    def list_settings(self, options: EngineOptions) -> tuple[EngineOptions, ...]:
        """Return the same provider with one setting changed, for every setting that may make a difference."""
        ...

    def open_variant(self, graph: Path, options: EngineOptions, folder: Path) -> Session:
        """Return a session of an ONNX file that is run so; what has to be written for it goes into the folder.

        Raises:
            CompressError: The runtime or the provider refuses the graph.
        """
        ...

    def pack_engine(
        self, engine: Engine, graph: Path, options: EngineOptions, inputs: Mapping[str, InputShape]
    ) -> Engine:
        """Return the engine with that graph as its own, and with what loads it in its folder."""
        ...

    def open_packed(self, engine: Engine, options: EngineOptions) -> Session:
        """Return a session of an engine that was packed with these options; only their threads may differ now."""
        ...

    def measure_peak(self, engine: Engine, feed: Feed) -> int:
        """Return the bytes by which loading and calling a packed engine raise the peak of a process of its own.

        Raises:
            TargetError: It cannot be measured here.
        """
        ...

    def profile_packed(
        self, engine: Engine, options: EngineOptions, feed: Feed, folder: Path, *, runs: int
    ) -> tuple[RanNode, ...]:
        """Return which nodes run in a packed engine, and how long each takes in the median of some runs.

        Raises:
            CompressError: The runtime leaves no profile.
        """
        ...


def load_variants(name: str) -> VariantRuntime | None:
    """Return the module with the ways to run an engine of that runtime, or None where there is only one."""
    return cast("VariantRuntime", importlib.import_module(VARIANTS[name])) if name in VARIANTS else None
