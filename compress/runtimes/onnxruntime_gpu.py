"""ONNX Runtime on an NVIDIA GPU: the engine is the ONNX file, and what its execution provider is told lies beside it.

The graph is checked as for the compiler that the provider hands it to. An engine can be written anywhere; it is
measured only where the provider is installed and the target's GPU is there.
"""

import json
from pathlib import Path
from typing import Any

from compress import machine
from compress.errors import TargetError
from compress.model import Model
from compress.runtimes import Availability, Engine
from compress.runtimes.build_settings import DEFAULT, BuildSettings
from compress.runtimes.engine_files import list_files, write_graph
from compress.runtimes.gpu_providers import PROVIDERS, GpuProvider, list_devices, provider_options, require_provider
from compress.runtimes.onnxruntime import GraphSession
from compress.runtimes.shape_profile import describe_profile, profile_shapes
from compress.runtimes.tensorrt_checks import require_accepted
from compress.store import write_atomically
from compress.targets import Target

OPTIONS = "provider.json"
"""The file beside the graph that says which provider runs it, and with which options."""

_FATAL_ONLY = 4


def available(target: Target) -> Availability:
    """Return what can be done here: any engine can be written; it runs with the provider and on the target's GPU."""
    import onnxruntime

    provider = _provider_of(target)
    versions = {"onnxruntime": onnxruntime.__version__}
    try:
        require_provider(provider)
    except TargetError as error:
        return Availability(build=True, run=False, versions=versions, reason=error.message, hint=error.hint)
    if not any(gpu.compute_capability in target.compute_capabilities for gpu in machine.list_gpus()):
        wanted = " or ".join(target.compute_capabilities)
        reason = f"no GPU of compute capability {wanted} here: an engine is written, and cannot be measured"
        return Availability(build=True, run=False, versions=versions, reason=reason)
    return Availability(build=True, run=True, versions=versions)


def build(model: Model, target: Target, folder: Path, settings: BuildSettings = DEFAULT) -> Engine:
    """Write ``model.onnx`` and ``provider.json`` into the folder.

    Raises:
        TargetError: TensorRT would refuse the graph, or a dynamic axis has no range; the message names the node or
            the axis.
    """
    import onnxruntime

    provider = _provider_of(target)
    shapes = {}
    if provider.prefix:
        require_accepted(model, target)
        shapes = profile_shapes(model.inputs, settings.ranges)
    memory = target.memory.bytes if target.memory else None
    told = {"provider": target.provider, "options": provider_options(provider, model, shapes, memory)}
    graph, path = write_graph(model, folder), folder / OPTIONS
    write_atomically(path, (json.dumps(told, indent=2, sort_keys=True) + "\n").encode())
    return Engine(
        runtime="onnxruntime_gpu",
        kind="onnx",
        target=target.name,
        folder=folder,
        main=graph,
        graph=graph,
        files=list_files([graph, path]),
        versions={"onnxruntime": onnxruntime.__version__},
        notes=(
            f"{provider.name} runs it with the options in {OPTIONS}.",
            *(describe_profile(model.inputs, settings.ranges) if provider.prefix else ()),
        ),
    )


def open(engine: Engine, *, threads: int) -> GraphSession:  # noqa: A001 the name every runtime module has
    """Return a session of the graph on the GPU here; nodes that the provider does not take run on the CPU.

    Raises:
        TargetError: The provider is not installed, finds no GPU, or does not start.
    """
    import onnxruntime

    told = json.loads((engine.folder / OPTIONS).read_text(encoding="utf-8"))
    provider, options = PROVIDERS[told["provider"]], told["options"]
    configured = onnxruntime.SessionOptions()
    configured.intra_op_num_threads = threads
    configured.log_severity_level = _FATAL_ONLY
    named: dict[str, Any] = {}
    if provider.plugin is not None:
        configured.add_provider_for_devices(list_devices(provider)[:1], options)
    else:
        require_provider(provider)
        named["providers"] = [(provider.name, options), "CPUExecutionProvider"]
    try:
        session = onnxruntime.InferenceSession(engine.main, configured, **named)
    except Exception as error:  # noqa: BLE001 the binding raises whatever the provider does
        reason = " ".join(str(error).split())
        raise TargetError(f"{provider.words} does not take the graph: {reason}", hint="see `compress doctor`") from None
    # A built-in provider whose libraries are missing is left out with no more than a line in the log.
    if provider.plugin is None and provider.name not in session.get_providers():
        raise TargetError(f"{provider.words} does not start here: {_libraries(provider)}", hint=provider.install)
    return GraphSession(session, None)


def _libraries(provider: GpuProvider) -> str:
    return "CUDA's or cuDNN's libraries are missing" if not provider.prefix else "TensorRT's libraries are missing"


def _provider_of(target: Target) -> GpuProvider:
    assert target.provider is not None  # noqa: S101 - reading the target checked it
    return PROVIDERS[target.provider]
