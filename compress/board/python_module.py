"""Building with TensorRT's Python module, where there is no trtexec."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import dla
from .common import Failed
from .trtexec import ENGINE, GRAPH, TIMING_CACHE, TRTEXEC


def build(kit: dict[str, Any], folder: Path) -> str:
    """Build the engine with TensorRT's Python module; return its version.

    What the build adds to the kit's timing cache is written into its file, as trtexec does.

    Raises:
        Failed: There is no such module, or it refuses the graph or the timing cache.
    """
    try:
        import tensorrt as trt
    except ImportError as error:
        raise Failed(f"neither trtexec ({TRTEXEC}) nor the Python module tensorrt: install JetPack") from error
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    network = dla.create_network(trt, builder, kit.get("dla"))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(folder / GRAPH)):
        raise Failed(f"the parser refuses the graph: {parser.get_error(0)}")
    config = builder.create_builder_config()
    if kit["sparse"]:
        config.set_flag(trt.BuilderFlag.SPARSE_WEIGHTS)
    if kit.get("dla"):
        dla.use_dla(trt, network, config, kit["dla"])
    if kit["workspace_mib"] is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, kit["workspace_mib"] << 20)
    if kit.get("timing_cache"):
        _read_timing_cache(config, folder / TIMING_CACHE)
    _add_profile(builder, config, kit["inputs"])
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise Failed("TensorRT does not build the engine: see the messages above")
    (folder / ENGINE).write_bytes(bytes(plan))
    if kit.get("timing_cache"):
        (folder / TIMING_CACHE).write_bytes(bytes(config.get_timing_cache().serialize()))
    return str(trt.__version__)


def _read_timing_cache(config: Any, path: Path) -> None:
    cache = config.create_timing_cache(path.read_bytes() if path.is_file() else b"")
    if cache is None or not config.set_timing_cache(cache, False):
        raise Failed(
            f"TensorRT does not take {path.name}: it was made by another version, on another GPU, or is damaged;"
            " begin with an empty file in its place"
        )


def _add_profile(builder: Any, config: Any, inputs: list[dict[str, Any]]) -> None:
    """Tell the compiler for which shapes to compile; nothing where all shapes are fixed."""
    dynamic = [entry for entry in inputs if "ranges" in entry]
    if not dynamic:
        return
    profile = builder.create_optimization_profile()
    for entry in dynamic:
        profile.set_shape(entry["name"], *(entry["ranges"][bound] for bound in ("min", "opt", "max")))
    config.add_optimization_profile(profile)
