"""The ways in which ONNX Runtime can run an engine on this machine: what the contest for the fastest chooses among."""

from dataclasses import replace
from pathlib import Path

from compress.errors import TargetError
from compress.runtimes import Engine, Feed, Session
from compress.runtimes.engine_options import PROVIDER_NAMES, EngineOptions
from compress.runtimes.loading import pack_engine
from compress.runtimes.offline import loading_options, prepare_graph
from compress.runtimes.onnxruntime import open_graph
from compress.runtimes.openvino_plugin import find_device, float_precisions
from compress.runtimes.peak_memory import measure_peak
from compress.runtimes.profiling import profile_engine
from compress.runtimes.variants import Absent, Providers, RanNode, Variants

__all__ = [
    "list_settings",
    "list_variants",
    "measure_peak",
    "open_packed",
    "open_variant",
    "pack_engine",
    "profile_packed",
]


def list_variants(*, threads: int, providers: Providers) -> Variants:
    """Return the execution providers that can be had here, each with default settings, the default provider first.

    Args:
        threads: What the user allows.
        providers: ``cpu``: ONNX Runtime's own kernels only; ``all``: whatever is installed.
    """
    default = EngineOptions(threads=threads)
    if providers == "cpu":
        return Variants((default,), ())
    name = PROVIDER_NAMES["openvino"]
    try:
        find_device()
    except TargetError as error:
        return Variants((default,), (Absent(name, f"{error.message} ({error.hint})"),))
    openvino = replace(default, provider="openvino")
    able = float_precisions()
    found = (default, *(replace(openvino, precision=precision) for precision in able))
    missing = () if "bfloat16" in able else (Absent(f"{name}, bfloat16", "this CPU has no bfloat16 instructions"),)
    return Variants(found, missing)


def list_settings(options: EngineOptions) -> tuple[EngineOptions, ...]:
    """Return the same provider with one setting changed, for every setting that may make a difference there."""
    fewer = (replace(options, threads=options.threads // 2),) if options.threads > 1 else ()
    if options.provider != "cpu":
        return fewer
    sleeping = (replace(options, spinning=False),) if options.threads > 1 else ()
    changed = (
        replace(options, optimization="extended"),
        replace(options, arena=False),
        replace(options, offline=True),
    )
    return (*changed, *sleeping, *fewer)


def open_variant(graph: Path, options: EngineOptions, folder: Path) -> Session:
    """Return a session of a graph that is run so.

    Args:
        graph: The ONNX file.
        options: How it is run.
        folder: Where an offline-optimized graph may be written.

    Raises:
        CompressError: ONNX Runtime or the execution provider refuses the graph.
    """
    return open_graph(prepare_graph(graph, options, folder), options=loading_options(options))


def open_packed(engine: Engine, options: EngineOptions) -> Session:
    """Return a session of an engine that was packed with these options; only their threads may differ now.

    Raises:
        CompressError: ONNX Runtime or the execution provider refuses the graph.
    """
    return open_graph(engine.main, options=loading_options(options))


def profile_packed(
    engine: Engine, options: EngineOptions, feed: Feed, folder: Path, *, runs: int
) -> tuple[RanNode, ...]:
    """Return which nodes run in a packed engine, and how long each takes in the median of some runs.

    Raises:
        CompressError: ONNX Runtime refuses the graph or the inputs, or leaves no profile.
    """
    return profile_engine(engine.main, loading_options(options), feed, folder, runs=runs)
