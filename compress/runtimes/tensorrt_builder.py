"""One builder for TensorRT and TensorRT-RTX: their Python modules offer the same classes, so each is an argument."""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from compress.board import dla as board_dla
from compress.errors import TargetError
from compress.model import TensorSpec
from compress.runtimes.build_settings import SizeRange
from compress.runtimes.shape_profile import profile_shapes
from compress.runtimes.tensorrt_explain import ParserError, describe_parser_errors, explain_refusal

_WORKSPACE_SHARE = 4
# Without a GPU every build logs it once although the compiler needs none.
_NO_DRIVER = re.compile(r"cudaError(?: |\()*(?:35|100)\b|CUDA driver version is insufficient|no CUDA-capable device")
_NO_DRIVER_CLAUSE = re.compile(r"\s*\[checkMacros\.cpp::catchCudaError.*$", re.DOTALL)
_WEIGHTS = re.compile(r"Total Weights Memory: (\d+) bytes")


class CompilationError(TargetError):
    """The parser took the graph and the compiler did not."""


@dataclass(frozen=True, slots=True)
class Built:
    """A serialized engine.

    Attributes:
        weights_bytes: What the compiler says of the weights alone; the rest of the plan is GPU code. None if unsaid.
        log: Warnings, errors and what is said of sparse kernels, a line each.
        timing_cache: The timing cache after the build; None where it was asked for none.
    """

    plan: bytes
    seconds: float
    weights_bytes: int | None
    log: tuple[str, ...]
    timing_cache: bytes | None = None


def build_plan(
    trt: ModuleType,
    graph: Path,
    *,
    capabilities: Sequence[str] = (),
    memory_bytes: int | None = None,
    sparse: bool = False,
    ranges: Mapping[str, SizeRange] = MappingProxyType({}),
    timing_cache: bytes | None = None,
    dla: dict[str, Any] | None = None,
) -> Built:
    """Return the engine of an ONNX file; its types and Q/DQ nodes decide every precision (for a DLA see ``board.dla``).

    Args:
        trt: ``tensorrt`` or ``tensorrt_rtx_bindings``.
        graph: Path of the ONNX file (the parser does not find external data from bytes).
        capabilities: Compute capabilities (``"8.6"``) to compile for ahead of time (TensorRT-RTX), all into one engine;
            none: the GPU here.
        memory_bytes: The device's memory; a quarter of it may be used as workspace.
        sparse: Whether kernels for 2:4 weights may be chosen, where they are faster.
        ranges: Sizes of dynamic axes by name.
        timing_cache: The serialized timing cache to start from, ``b""`` for a new one; None for none.
        dla: What :func:`~compress.runtimes.dla.plan_dla` says, for layers to run on the first DLA core where it takes
            them, the others on the GPU; None for the GPU alone.

    Raises:
        TargetError: The parser refuses a node; the message names it. Or a dynamic axis has no range, or the timing
            cache is of another GPU or version.
        CompilationError: The compiler refuses a layer; the message names it.
    """
    with _capture(trt) as (logger, lines):
        builder = _start(trt, logger, lines)
        network = _parse(trt, board_dla.create_network(trt, builder, dla), logger, graph)
        config = builder.create_builder_config()
        # Without it the engine inspector knows the layers' names only.
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        _set_capabilities(trt, config, capabilities)
        if memory_bytes is not None:
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, memory_bytes // _WORKSPACE_SHARE)
        if sparse:
            config.set_flag(trt.BuilderFlag.SPARSE_WEIGHTS)
        if dla is not None:
            board_dla.use_dla(trt, network, config, dla)
        if timing_cache is not None:
            _set_timing_cache(config, timing_cache)
        _add_profile(builder, network, config, ranges, fixed=dla is not None)
        start = time.perf_counter()
        plan = builder.build_serialized_network(network, config)
        seconds = time.perf_counter() - start
        cache = None if timing_cache is None else bytes(config.get_timing_cache().serialize())
    if plan is None:
        message, hint = explain_refusal(_last_error(lines), graph)
        raise CompilationError(message, hint=hint)
    weights = [int(found[1]) for _, line in lines if (found := _WEIGHTS.search(line))]
    log = tuple(line for severity, line in lines if severity <= _WARNING or line.startswith(_SPARSITY))
    return Built(bytes(plan), seconds, weights[-1] if weights else None, log, cache)


def _start(trt: ModuleType, logger: Any, lines: list[tuple[int, str]]) -> Any:
    try:
        return trt.Builder(logger)
    except TypeError:
        # This is how its Python module says that the C++ factory returned nothing.
        reason = _last_error(lines)
        raise TargetError(f"TensorRT cannot start: {reason}", hint="check the driver with nvidia-smi") from None


def _set_capabilities(trt: ModuleType, config: Any, capabilities: Sequence[str]) -> None:
    if capabilities:
        config.num_compute_capabilities = len(capabilities)
    for index, capability in enumerate(capabilities):
        config.set_compute_capability(getattr(trt.ComputeCapability, capability_name(capability)), index)


def _set_timing_cache(config: Any, serialized: bytes) -> None:
    cache = config.create_timing_cache(serialized)
    if cache is None or not config.set_timing_cache(cache, False):
        raise TargetError(
            "TensorRT does not take the timing cache: it was made by another version, on another GPU, or is damaged",
            hint="begin with an empty file in its place ([engine] timing_cache in compress.toml)",
        )


def capability_name(capability: str) -> str:
    """Return TensorRT-RTX's name of a compute capability: ``"8.6"`` → ``"SM86"``."""
    return "SM" + capability.replace(".", "")


def name_capabilities(capabilities: Sequence[str]) -> str:
    """Return capabilities in words: ``"7.5, 8.6 and 8.9"``."""
    *first, last = capabilities
    return f"{', '.join(first)} and {last}" if first else last


_WARNING = 2
_ERROR = 1
_SPARSITY = "(Sparsity)"


@contextmanager
def _capture(trt: ModuleType) -> Iterator[tuple[Any, list[tuple[int, str]]]]:
    """Yield the logger of the module and the (severity, line) pairs it receives."""
    logger = make_logger(trt)
    logger.lines = []
    yield logger, logger.lines


@cache
def make_logger(trt: ModuleType) -> Any:
    """Return the logger of a TensorRT module: one for the whole process, since TensorRT registers only the first."""

    class Lines(trt.ILogger):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: list[tuple[int, str]] = []

        def log(self, severity: Any, message: str) -> None:
            if not _NO_DRIVER.search(message):
                self.lines.append((int(severity), " ".join(message.split())))

    return Lines()


def _parse(trt: ModuleType, network: Any, logger: Any, graph: Path) -> Any:
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(graph)):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        told, hint = describe_parser_errors([_read(error) for error in errors], graph)
        raise TargetError(f"the parser refuses the graph: {told}", hint=hint)
    return network


def _read(error: Any) -> ParserError:
    reason = " ".join(_NO_DRIVER_CLAUSE.sub("", error.desc()).split())
    return ParserError(error.node_name(), error.node_operator(), reason)


def _add_profile(builder: Any, network: Any, config: Any, ranges: Mapping[str, SizeRange], *, fixed: bool) -> None:
    """Tell the compiler for which shapes to compile; nothing where all shapes are fixed."""
    shapes = profile_shapes(
        [_spec(network.get_input(index)) for index in range(network.num_inputs)], ranges, fixed=fixed
    )
    if not shapes:
        return
    profile = builder.create_optimization_profile()
    for name, shape in shapes.items():
        profile.set_shape(name, list(shape.min), list(shape.opt), list(shape.max))
    config.add_optimization_profile(profile)


def _spec(tensor: Any) -> TensorSpec:
    """Return name and shape of an input, its dynamic axes named as in the ONNX file."""
    shape = tuple(
        (tensor.get_dimension_name(axis) or f"{tensor.name}_{axis}") if size == -1 else int(size)
        for axis, size in enumerate(tensor.shape)
    )
    return TensorSpec(str(tensor.name), "", shape)


def _last_error(lines: list[tuple[int, str]]) -> str:
    errors = [line for severity, line in lines if severity <= _ERROR]
    return errors[-1] if errors else "it does not say why"
