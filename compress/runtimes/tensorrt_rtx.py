"""TensorRT-RTX: compiles for desktop GPUs from Turing to Blackwell ahead of time, without having one.

It has no timing cache and no DLA: see ``timing_cache.py``.
"""

import importlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from compress import machine
from compress.errors import TargetError
from compress.model import Model
from compress.runtimes import Availability, Engine
from compress.runtimes.build_settings import DEFAULT, BuildSettings
from compress.runtimes.engine_files import list_files, write_graph
from compress.runtimes.shape_profile import describe_profile
from compress.runtimes.sparse_weights import describe_sparsity, find_sparse
from compress.runtimes.tensorrt_builder import Built, build_plan, capability_name, name_capabilities
from compress.runtimes.tensorrt_checks import require_accepted
from compress.runtimes.tensorrt_session import PlanSession, open_plan
from compress.runtimes.timing_cache import describe_no_timing_cache
from compress.runtimes.turing import CAPABILITY as TURING
from compress.runtimes.turing import halve_products
from compress.store import write_atomically
from compress.targets import Target

PLAN = "model.engine"
INSTALL = 'pip install "edge-compress[rtx]"'

_MODULE = "tensorrt_rtx_bindings"


def available(target: Target) -> Availability:
    """Return what can be done here: any engine where the package is installed; run only on the target's own GPU."""
    trt = find_module()
    if trt is None:
        return Availability(False, False, {}, "TensorRT-RTX is not installed", INSTALL)
    versions = {"tensorrt_rtx": str(trt.__version__)}
    unknown = [each for each in target.compute_capabilities if not supports(trt, each)]
    if unknown:
        reason = f"TensorRT-RTX {trt.__version__} does not compile for compute capability {name_capabilities(unknown)}"
        return Availability(False, False, versions, reason)
    wanted = target.compute_capabilities
    if not any(gpu.compute_capability in wanted for gpu in machine.list_gpus()):
        reason = f"no GPU of compute capability {_either(wanted)} here: it compiles, and cannot be measured"
        return Availability(True, False, versions, reason)
    return Availability(True, True, versions)


def build(model: Model, target: Target, folder: Path, settings: BuildSettings = DEFAULT) -> Engine:
    """Write the engine and its graph into the folder.

    Raises:
        TargetError: Not installed, or the graph is refused; the message names the node or the axis.
    """
    trt = find_module()
    if trt is None:
        raise TargetError(f"target {target.name}: TensorRT-RTX is not installed", hint=INSTALL)
    capabilities = target.compute_capabilities
    unknown = [each for each in capabilities if not supports(trt, each)]
    if unknown:
        raise TargetError(
            f"target {target.name}: TensorRT-RTX does not compile for compute capability {name_capabilities(unknown)}",
            hint="`compress targets` lists what can be built here",
        )
    fitted, halved = fit_graph(model, capabilities)
    require_accepted(fitted, target)
    graph = write_graph(fitted, folder)
    sparse = find_sparse(model, target)
    memory = target.memory.bytes if target.memory else None
    built = build_plan(
        trt, graph, capabilities=capabilities, memory_bytes=memory, sparse=bool(sparse), ranges=settings.ranges
    )
    plan = folder / PLAN
    write_atomically(plan, built.plan)
    return Engine(
        runtime="tensorrt_rtx",
        kind="tensorrt",
        target=target.name,
        folder=folder,
        main=plan,
        graph=graph,
        files=list_files([plan, graph]),
        versions={"tensorrt_rtx": str(trt.__version__)},
        log=built.log,
        notes=(
            *describe_halving(halved),
            describe_plan(built),
            *describe_capabilities(capabilities),
            *describe_sparsity(sparse),
            *describe_profile(model.inputs, settings.ranges),
            *describe_no_timing_cache(settings.timing_cache),
        ),
    )


def open(engine: Engine, *, threads: int) -> PlanSession:  # noqa: A001, ARG001 the shape of every runtime module
    """Return a session on the GPU here.

    Raises:
        TargetError: Not installed, or no GPU that takes the engine.
    """
    trt = find_module()
    if trt is None:
        raise TargetError("TensorRT-RTX is not installed", hint=INSTALL)
    return open_plan(trt, engine)


def prove(model: Model, capability: str, settings: BuildSettings = DEFAULT) -> tuple[Built, str, int] | None:
    """Return what compiling the graph for a compute capability gave, the version, and how many products were halved.

    Nothing is kept of the engine. None where TensorRT-RTX is not installed or does not know the capability.

    Raises:
        TargetError: The parser refuses the graph; :class:`~compress.runtimes.tensorrt_builder.CompilationError`: the
            compiler does.
    """
    trt = find_module()
    if trt is None or not supports(trt, capability):
        return None
    fitted, halved = fit_graph(model, (capability,))
    with tempfile.TemporaryDirectory() as scratch:
        built = build_plan(trt, write_graph(fitted, Path(scratch)), capabilities=(capability,), ranges=settings.ranges)
    return built, str(trt.__version__), halved


def find_module() -> ModuleType | None:
    """Return TensorRT-RTX's Python module, or None where it, or a library it needs, is missing."""
    try:
        return importlib.import_module(_MODULE)
    except (ImportError, OSError):
        return None


def supports(trt: ModuleType, capability: str) -> bool:
    """Return whether TensorRT-RTX compiles for that compute capability."""
    return hasattr(trt.ComputeCapability, capability_name(capability))


def fit_graph(model: Model, capabilities: Sequence[str]) -> tuple[Model, int]:
    """Return the graph as the compiler takes it for all of these, and how many products now run in float16."""
    return halve_products(model) if TURING in capabilities else (model, 0)


def describe_halving(count: int) -> tuple[str, ...]:
    """Return the sentence for the report about products in float16; none where there are none."""
    if not count:
        return ()
    what = "1 matrix product" if count == 1 else f"{count} matrix products"
    return (f"TensorRT-RTX has no float32 matrix product on Turing: {what} computed in float16 with casts around.",)


def describe_capabilities(capabilities: Sequence[str]) -> tuple[str, ...]:
    """Return the sentence for the report about an engine for several GPUs; none where it is for one."""
    if len(capabilities) < 2:
        return ()
    return (f"One engine for compute capabilities {name_capabilities(capabilities)}: it runs on each of these GPUs.",)


def _either(capabilities: Sequence[str]) -> str:
    return name_capabilities(capabilities).replace(" and ", " or ")


def describe_plan(built: Built) -> str:
    """Return the sentence for the report about the size of an engine."""
    weights = f", of which {built.weights_bytes:,} are weights and the rest GPU code" if built.weights_bytes else ""
    return f"Compiled in {built.seconds:.1f} s to {len(built.plan):,} bytes{weights}."
