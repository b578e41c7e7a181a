"""TensorRT: builds where it is installed and the GPU is there; elsewhere it writes a build kit for the board.

With TensorRT-RTX installed a kit comes with a proof: the same graph, compiled for the nearest architecture.
"""

import importlib
from pathlib import Path
from types import ModuleType

from compress import machine
from compress.errors import TargetError
from compress.model import Model
from compress.runtimes import Availability, Engine, tensorrt_rtx, timing_cache
from compress.runtimes.build_settings import DEFAULT, BuildSettings
from compress.runtimes.dla import describe_dla, plan_dla, require_dla
from compress.runtimes.engine_files import list_files, write_graph
from compress.runtimes.kit import write_kit
from compress.runtimes.shape_profile import describe_profile
from compress.runtimes.sparse_weights import describe_sparsity, find_sparse
from compress.runtimes.tensorrt_builder import CompilationError, build_plan, name_capabilities
from compress.runtimes.tensorrt_checks import require_accepted
from compress.runtimes.tensorrt_session import PlanSession, open_plan
from compress.store import hash_file, write_atomically
from compress.targets import Target


def available(target: Target) -> Availability:
    """Return what can be done here: an engine on the target's own GPU with TensorRT installed, else a kit."""
    rtx = tensorrt_rtx.find_module()
    versions = {"tensorrt_rtx": str(rtx.__version__)} if rtx is not None else {}
    if not _is_device(target):
        wanted = name_capabilities(target.compute_capabilities)
        reason = f"no GPU of compute capability {wanted} here: a build kit is written for the device"
        return Availability(False, False, versions, reason, "copy the kit to the device and run run.sh there", kit=True)
    trt = find_module()
    if trt is None:
        reason = "the GPU is here and TensorRT is not: a build kit is written"
        return Availability(False, False, versions, reason, 'pip install "edge-compress[tensorrt]"', kit=True)
    return Availability(True, True, {"tensorrt": str(trt.__version__), **versions})


def build(model: Model, target: Target, folder: Path, settings: BuildSettings = DEFAULT) -> Engine:
    """Write an engine, or a build kit where there is no GPU, into the folder.

    Raises:
        TargetError: The graph is refused; the message names the node or the axis.
    """
    require_accepted(model, target)
    require_dla(target, settings)
    trt = find_module() if _is_device(target) else None
    if trt is None:
        return _build_kit(model, target, folder, settings)
    return _build_engine(trt, model, target, folder, settings)


def open(engine: Engine, *, threads: int) -> PlanSession:  # noqa: A001, ARG001 the shape of every runtime module
    """Return a session on the GPU here.

    Raises:
        TargetError: It is a kit, TensorRT is not installed, or no GPU takes the engine.
    """
    if engine.kind == "build-kit":
        raise TargetError(
            f"the engine for {engine.target} is a build kit: it runs on the device only",
            hint=f"copy {engine.folder.name}/ to the device and run run.sh there",
        )
    trt = find_module()
    if trt is None:
        raise TargetError("TensorRT is not installed", hint='pip install "edge-compress[tensorrt]"')
    return open_plan(trt, engine)


def find_module() -> ModuleType | None:
    """Return TensorRT's Python module, or None where it is missing or no more than the stub of that name on PyPI."""
    try:
        trt = importlib.import_module("tensorrt")
    except (ImportError, OSError, RuntimeError):
        return None
    return trt if all(hasattr(trt, name) for name in ("Builder", "OnnxParser", "Runtime", "__version__")) else None


def _is_device(target: Target) -> bool:
    """Return whether this machine is the device: its board by name, any other by its GPU."""
    if target.board is not None:
        return target.board in (machine.board_name() or "")
    return any(gpu.compute_capability in target.compute_capabilities for gpu in machine.list_gpus())


def _build_engine(trt: ModuleType, model: Model, target: Target, folder: Path, settings: BuildSettings) -> Engine:
    graph = write_graph(model, folder)
    sparse = find_sparse(model, target)
    memory = target.memory.bytes if target.memory else None
    cache = settings.timing_cache
    built = build_plan(
        trt,
        graph,
        memory_bytes=memory,
        sparse=bool(sparse),
        ranges=settings.ranges,
        timing_cache=None if cache is None else cache.read_bytes(),
        dla=plan_dla(model, settings),
    )
    plan = folder / tensorrt_rtx.PLAN
    write_atomically(plan, built.plan)
    files = [plan, graph]
    if built.timing_cache is not None:
        files.append(folder / timing_cache.FILE)
        write_atomically(files[-1], built.timing_cache)
    dla_notes, dla_log = describe_dla(model, settings)
    return Engine(
        runtime="tensorrt",
        kind="tensorrt",
        target=target.name,
        folder=folder,
        main=plan,
        graph=graph,
        files=list_files(files),
        versions={"tensorrt": str(trt.__version__), **_cache_version(settings)},
        log=(*built.log, *dla_log),
        notes=(
            tensorrt_rtx.describe_plan(built),
            *describe_sparsity(sparse),
            *describe_profile(model.inputs, settings.ranges, fixed=settings.dla),
            *timing_cache.describe_timing_cache(cache, built.timing_cache),
            *dla_notes,
        ),
    )


def _cache_version(settings: BuildSettings) -> dict[str, str]:
    """Return the digest of the timing cache, which an engine depends on as on TensorRT's version."""
    path = settings.timing_cache
    return {} if path is None else {"timing_cache": f"sha256:{hash_file(path)}"}


def _build_kit(model: Model, target: Target, folder: Path, settings: BuildSettings) -> Engine:
    versions, log, notes = _prove(model, target, settings)
    kit = write_kit(model, target, folder, settings)
    dla_notes, dla_log = describe_dla(model, settings)
    return Engine(
        runtime="tensorrt",
        kind="build-kit",
        target=target.name,
        folder=folder,
        main=kit.script,
        graph=kit.graph,
        files=list_files(kit.files),
        versions={**versions, **_cache_version(settings)},
        log=(*log, *dla_log),
        notes=(
            f"A build kit: {kit.script.name} makes and measures the engine on the {target.name}.",
            *describe_sparsity(find_sparse(model, target)),
            *describe_profile(model.inputs, settings.ranges, fixed=settings.dla),
            *dla_notes,
            *notes,
        ),
    )


def _prove(
    model: Model, target: Target, settings: BuildSettings
) -> tuple[dict[str, str], tuple[str, ...], tuple[str, ...]]:
    """Return versions, log and notes of compiling for the nearest architecture.

    A parser that refuses is final, since both products have the same one. The compiler's refusal is not: TensorRT-RTX
    lacks kernels on old architectures that TensorRT has.
    """
    nearest = target.nearest
    if nearest is None:
        return {}, (), ("Not proven: no architecture that TensorRT-RTX knows is near this one.",)
    try:
        proof = tensorrt_rtx.prove(model, nearest, settings)
    except CompilationError as error:
        return (
            {},
            (),
            (f"NOT proven: TensorRT-RTX does not compile it for compute capability {nearest}: {error.message}",),
        )
    except TargetError as error:
        raise TargetError(f"target {target.name}: {error.message}", hint=error.hint) from None
    if proof is None:
        return {}, (), (f"Not proven: TensorRT-RTX is not installed ({tensorrt_rtx.INSTALL}).",)
    built, version, halved = proof
    wanted = name_capabilities(target.compute_capabilities)
    near = "" if nearest == wanted else f", the nearest it knows to {wanted}"
    note = (
        f"Proof: TensorRT-RTX {version} takes the graph for compute capability {nearest}{near}."
        f" {tensorrt_rtx.describe_plan(built)} That engine is not for the device and was not kept."
    )
    return {"tensorrt_rtx": version}, built.log, (note, *tensorrt_rtx.describe_halving(halved))
