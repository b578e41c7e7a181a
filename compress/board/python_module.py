"""Building with TensorRT's Python module, where there is no trtexec."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import dla
from .common import Failed
from .trtexec import ENGINE, GRAPH, TRTEXEC


def build(kit: dict[str, Any], folder: Path) -> str:
    """Build the engine with TensorRT's Python module; return its version.

    Raises:
        Failed: There is no such module, or it refuses the graph.
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
    dynamic = [entry for entry in kit["inputs"] if "ranges" in entry]
    if dynamic:
        profile = builder.create_optimization_profile()
        for entry in dynamic:
            profile.set_shape(entry["name"], *(entry["ranges"][bound] for bound in ("min", "opt", "max")))
        config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise Failed("TensorRT does not build the engine: see the messages above")
    (folder / ENGINE).write_bytes(bytes(plan))
    return str(trt.__version__)
