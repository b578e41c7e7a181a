"""From engine options to ONNX Runtime's session options."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

from compress.runtimes.engine_options import EngineOptions, OptimizationLevel
from compress.runtimes.openvino_plugin import find_device, provider_options

if TYPE_CHECKING:
    from onnxruntime import SessionOptions

LEVELS: Final[dict[OptimizationLevel, str]] = {
    "all": "ORT_ENABLE_ALL",
    "extended": "ORT_ENABLE_EXTENDED",
    "basic": "ORT_ENABLE_BASIC",
    "none": "ORT_DISABLE_ALL",
}
"""ONNX Runtime's names of the graph optimization levels."""

# Idle threads of one session would spin on the cores that the other session of a comparison needs.
SPINNING_STOP: Final = "session.force_spinning_stop"
ALLOW_SPINNING: Final = "session.intra_op.allow_spinning"
_SIMULATE: Final = "session.disable_quant_qdq"
_FATAL_ONLY: Final = 4


def make_session_options(
    options: EngineOptions, *, simulate: bool = False, write_optimized: Path | None = None, profile: Path | None = None
) -> "SessionOptions":
    """Return ONNX Runtime's session options, the execution provider among them where it is a plugin.

    Args:
        options: How the graph is run.
        simulate: Compute Q/DQ as they are written, in float.
        write_optimized: Where ONNX Runtime writes the graph that it runs.
        profile: Start of the name of the file that the profiler writes.

    Raises:
        TargetError: The plugin is not there.
    """
    import onnxruntime

    made = onnxruntime.SessionOptions()
    made.intra_op_num_threads = options.threads
    made.inter_op_num_threads = 1
    made.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    made.use_deterministic_compute = True
    made.log_severity_level = _FATAL_ONLY
    made.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, LEVELS[options.optimization])
    made.enable_cpu_mem_arena = options.arena
    made.add_session_config_entry(SPINNING_STOP, "1")
    if not options.spinning:
        made.add_session_config_entry(ALLOW_SPINNING, "0")
    if simulate:
        made.add_session_config_entry(_SIMULATE, "1")
    if write_optimized is not None:
        made.optimized_model_filepath = str(write_optimized)
    if profile is not None:
        made.enable_profiling = True
        made.profile_file_prefix = str(profile)
    if options.provider == "openvino":
        made.add_provider_for_devices([find_device()], provider_options(options))
    return made
