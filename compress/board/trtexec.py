"""TensorRT's own program: builds an engine, measures it, computes batches with it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from . import dla
from .common import Failed, run_logged, run_watched

TRTEXEC = "/usr/src/tensorrt/bin/trtexec"
GRAPH = "model.onnx"
ENGINE = "model.engine"
TIMING_CACHE = "timing.cache"
TIMES = "times.json"
WARM_UP_MILLISECONDS = 1000
SECONDS = 10.0

_MEASURED = b"] Warmup completed"
"""Begins trtexec's summary, once all queries are done."""

_ELEMENT_BYTES = {"int32": 4, "int64": 8, "bool": 1, "uint8": 1, "int8": 1}


class Block(NamedTuple):
    """What one run of trtexec measured.

    Attributes:
        seconds: Of each query: copy in, compute, copy out.
        gpu_seconds: Of each query, the compute alone.
        throughput: Queries a second.
        warnings: What trtexec warns of.
        ended: When the last query was done, in monotonic seconds; None where trtexec did not tell. Writing the times
            and giving the engine back come after it.
    """

    seconds: list[float]
    gpu_seconds: list[float]
    throughput: float
    warnings: list[str]
    ended: float | None


def find_trtexec() -> str | None:
    """Return the path of trtexec: on PATH, or where JetPack puts it; None where there is none."""
    found = shutil.which("trtexec")
    if found is not None:
        return found
    return TRTEXEC if Path(TRTEXEC).is_file() else None


def build_arguments(
    kit: dict[str, Any], *, usage: str | None = None, graph: str = GRAPH, engine: str = ENGINE
) -> list[str]:
    """Return trtexec's arguments that build an engine.

    Args:
        kit: What kit.json says.
        usage: What this trtexec's --help says; None: what that of TensorRT 10.3 says. Where it has no --stronglyTyped,
            networks are strongly typed anyway.
        graph: The ONNX file.
        engine: The file that is written.
    """
    arguments = [f"--onnx={graph}", f"--saveEngine={engine}", "--skipInference"]
    weak = usage is None or "--fp16" in usage
    for_dla = bool(kit.get("dla")) and graph == GRAPH
    if not (for_dla and weak) and (usage is None or "--stronglyTyped" in usage):
        arguments.append("--stronglyTyped")
    if kit["sparse"] and graph == GRAPH:
        arguments.append("--sparsity=enable")
    if kit["workspace_mib"] is not None:
        arguments.append(f"--memPoolSize=workspace:{kit['workspace_mib']}")
    if kit.get("timing_cache"):
        arguments.append(f"--timingCacheFile={TIMING_CACHE}")
    if for_dla:
        arguments += dla.list_arguments(kit["dla"], weak=weak)
    bounds = {bound: shape_list(kit["inputs"], 1, bound) for bound in ("min", "opt", "max")}
    return arguments + [f"--{bound}Shapes={shapes}" for bound, shapes in bounds.items() if shapes]


def measure_arguments(kit: dict[str, Any], *, engine: str = ENGINE, seconds: float = SECONDS) -> list[str]:
    """Return trtexec's arguments that measure an engine at batch 1 for so many seconds after the warm-up."""
    arguments = [f"--loadEngine={engine}", "--percentile=90,99", f"--exportTimes={TIMES}"]
    arguments += [f"--warmUp={WARM_UP_MILLISECONDS}", f"--duration={seconds:g}"]
    if shapes := shape_list(kit["inputs"], 1):
        arguments.append(f"--shapes={shapes}")
    if kit.get("dla") and engine == ENGINE:
        arguments += dla.CORE
    whole = [entry for entry in kit["inputs"] if entry["dtype"] in _ELEMENT_BYTES]
    if whole:
        arguments.append("--loadInputs=" + ",".join(f"{quote(e['name'])}:{zeros_name(e)}" for e in whole))
    return arguments


def compute_arguments(kit: dict[str, Any], shapes: dict[str, list[int]], files: dict[str, str], out: str) -> list[str]:
    """Return trtexec's arguments that compute one batch: shapes and files by input, outputs into a JSON file."""
    arguments = [f"--loadEngine={ENGINE}", "--iterations=1", "--warmUp=0", "--duration=0", "--avgRuns=1"]
    dynamic = [entry["name"] for entry in kit["inputs"] if "ranges" in entry]
    if dynamic:
        sizes = ",".join(f"{quote(name)}:{'x'.join(map(str, shapes[name]))}" for name in dynamic)
        arguments.append(f"--shapes={sizes}")
    if kit.get("dla"):
        arguments += dla.CORE
    named = ",".join(f"{quote(name)}:{file}" for name, file in files.items())
    return [*arguments, f"--loadInputs={named}", f"--exportOutput={out}"]


def shape_list(inputs: list[dict[str, Any]], batch: int, bound: str | None = None) -> str:
    """Return ``x:1x3x224x224,…`` for the inputs with dynamic axes, at a batch or at a bound of their ranges, or ''."""
    shapes = {e["name"]: e["ranges"][bound] if bound else e["shape"] for e in inputs if "ranges" in e}
    return ",".join(
        quote(name) + ":" + "x".join(str(batch if size is None else size) for size in shape)
        for name, shape in shapes.items()
    )


def quote(name: str) -> str:
    """Return an input's name as trtexec reads it: in single quotes where it has special characters."""
    return name if re.fullmatch(r"[A-Za-z0-9_./-]+", name) else f"'{name}'"


def zeros_name(entry: dict[str, Any]) -> str:
    """Return the name of the file of zeros for an integer input."""
    return "zeros-" + re.sub(r"[^A-Za-z0-9_-]", "_", entry["name"]) + ".bin"


def build(trtexec: str, kit: dict[str, Any], folder: Path, *, graph: str = GRAPH, engine: str = ENGINE) -> str | None:
    """Build an engine; return TensorRT's version as trtexec prints it.

    Raises:
        Failed: trtexec refuses; the message has its first error.
    """
    log_file = folder / ("build.log" if engine == ENGINE else f"build-{Path(engine).stem}.log")
    usage = run_logged([trtexec, "--help"], log_file)
    arguments = build_arguments(kit, usage=usage, graph=graph, engine=engine)
    log = run_logged([trtexec, *arguments], log_file)
    if log is None or not (folder / engine).is_file():
        errors = re.findall(r"\[E\] (.*)", log_file.read_text(encoding="utf-8", errors="replace"))
        raise Failed(f"trtexec does not build {engine}: {errors[0] if errors else 'see ' + log_file.name}")
    return read_version(log)


def read_version(log: str) -> str | None:
    """Return ``"10.3.0"`` from trtexec's first line (``[TensorRT v100300]``), or None."""
    found = re.search(r"\[TensorRT v(\d+)\]", log)
    if found is None:
        return None
    number = int(found.group(1))
    # Since version 10 the number is major·10,000 + minor·100 + patch; before, major·1,000 + minor·100 + patch.
    major, rest = divmod(number, 10_000) if number >= 100_000 else divmod(number, 1_000)
    return f"{major}.{rest // 100}.{rest % 100}"


def describe_sparsity(log: str) -> list[str]:
    """Return what trtexec's build log says of sparse kernels, as a note; none where it says nothing."""
    kinds = ("TRT inference plan picked sparse implementation for layers", "Layers eligible for sparse math")
    lines = [re.search(rf"\(Sparsity\) {kind}:[ ]*(.*)", log) for kind in kinds]
    picked, eligible = (line and len([name for name in line.group(1).split(", ") if name.strip()]) for line in lines)
    if picked is None or eligible is None:
        return []
    return [f"TensorRT picked sparse kernels for {picked} of {eligible} eligible layers"]


def measure(trtexec: str, kit: dict[str, Any], folder: Path, *, engine: str, seconds: float) -> Block:
    """Return the latencies of an engine as trtexec measures them.

    Raises:
        Failed: It fails to run the engine, or writes no times.
    """
    _write_zeros(kit, folder)
    (folder / TIMES).write_text("[]", encoding="utf-8")
    command = [trtexec, *measure_arguments(kit, engine=engine, seconds=seconds)]
    log, ended = run_watched(command, folder / "measure.log", _MEASURED)
    if log is None:
        raise Failed(f"trtexec built {engine} and failed to run it (measure.log): latency is not measured")
    throughput = re.search(r"\] Throughput: (\d[0-9.eE+-]*) qps", log)
    trace = _read_times(folder / TIMES)
    if throughput is None or not trace:
        raise Failed("trtexec printed no performance summary (measure.log): latency is not measured")
    return Block(
        [whole for whole, _ in trace],
        [compute for _, compute in trace],
        float(throughput.group(1)),
        [f"trtexec: {line}" for line in re.findall(r"\[W\] \* (.*)", log)],
        ended,
    )


def _read_times(path: Path) -> list[tuple[float, float]]:
    """Return the seconds of each query and of its compute; the trace has the warm-up's queries too."""
    try:
        return [
            (query["latencyMs"] / 1000, query["computeMs"] / 1000)
            for query in json.loads(path.read_text(encoding="utf-8"))
            if query.get("startComputeMs", WARM_UP_MILLISECONDS) >= WARM_UP_MILLISECONDS
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Failed(f"trtexec's {path.name} is not understood: latency is not measured") from error


def _write_zeros(kit: dict[str, Any], folder: Path) -> None:
    for entry in kit["inputs"]:
        # trtexec would fill integer inputs with random numbers, which are no valid tokens or indices.
        if entry["dtype"] in _ELEMENT_BYTES:
            count = _ELEMENT_BYTES[entry["dtype"]]
            for size in entry["shape"]:
                count *= 1 if size is None else size
            (folder / zeros_name(entry)).write_bytes(bytes(count))
