"""The graph that ONNX Runtime makes of a graph, kept as a file."""

from dataclasses import replace
from pathlib import Path

from compress.errors import CompressError
from compress.runtimes.engine_options import EngineOptions
from compress.runtimes.onnxruntime import open_graph

OFFLINE_GRAPH = "model.optimized.onnx"


def prepare_graph(graph: Path, options: EngineOptions, folder: Path) -> Path:
    """Return the file that a session loads: the graph itself, or what ONNX Runtime made of it, written to the folder.

    Raises:
        CompressError: ONNX Runtime refuses the graph.
    """
    if not options.offline:
        return graph
    made = folder / OFFLINE_GRAPH
    with open_graph(graph, options=replace(options, offline=False), write_optimized=made):
        pass
    if not made.is_file():
        raise CompressError(
            f"ONNX Runtime wrote no optimized graph of {graph.name}", hint="leave the optimization to the start"
        )
    return made


def loading_options(options: EngineOptions) -> EngineOptions:
    """Return the options of the session that loads what :func:`prepare_graph` returned: optimized once is enough."""
    return replace(options, optimization="none") if options.offline else options
