"""Build and measure the engine of this kit on the board; write ``board-report.json``.

Runs on the device by itself: Python 3.8, standard library only, trtexec (or TensorRT's Python module, which builds but
does not measure).
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import shutil
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

SCHEMA = "compress.board-report/1"
TRTEXEC = "/usr/src/tensorrt/bin/trtexec"
ENGINE = "model.engine"
FAILED = 20

_WARM_UP_MILLISECONDS = 1000
_SECONDS = 10
_ELEMENT_BYTES = {"int32": 4, "int64": 8, "bool": 1, "uint8": 1, "int8": 1}
_SUMMARY = re.compile(r"(min|max|mean|median|percentile\(\d+%\)) = ([0-9.eE+-]+) ms")


class Failed(Exception):  # noqa: N818 it is told to a person, not handled
    """The engine cannot be built here; the message says why."""


def main() -> int:
    """Return 0 once the report is written, 20 with the reason on stderr where there is no engine."""
    folder = Path.cwd()
    try:
        report = make_report(folder)
    except Failed as failure:
        sys.stderr.write(f"board.py: {failure}\n")
        return FAILED
    text = json.dumps(report, indent=2, sort_keys=True) + "\n"
    (folder / "board-report.json").write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return 0


def make_report(folder: Path) -> dict[str, object]:
    """Return the report of building and measuring in a kit's folder.

    Raises:
        Failed: The kit is damaged, there is no TensorRT, or it refuses the graph.
    """
    kit = json.loads((folder / "kit.json").read_text(encoding="utf-8"))
    if digest(folder / "model.onnx") != kit["model_sha256"]:
        raise Failed("model.onnx is not the file of this kit (its SHA-256 differs): copy the folder again")
    trtexec = find_trtexec()
    start = time.time()
    version = build_with_trtexec(trtexec, kit, folder) if trtexec is not None else build_with_python(kit, folder)
    build_seconds = time.time() - start
    latency, notes = (None, ["trtexec was not found: latency is not measured"])
    if trtexec is not None:
        latency, notes = measure(trtexec, kit, folder)
        notes += describe_sparsity((folder / "build.log").read_text(encoding="utf-8", errors="replace"))
    engine = folder / ENGINE
    return {
        "schema": SCHEMA,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),  # noqa: UP017 Python 3.8
        "kit": {name: kit[name] for name in ("target", "tool_version", "model_sha256")},
        "board": describe_board(version),
        "engine": {
            "path": ENGINE,
            "sha256": digest(engine),
            "bytes": engine.stat().st_size,
            "build_seconds": round(build_seconds, 3),
            "built_with": "trtexec" if trtexec else "python",
        },
        "latency": latency,
        "notes": notes,
    }


def find_trtexec() -> str | None:
    """Return the path of trtexec: on PATH, or where JetPack puts it; None where there is none."""
    found = shutil.which("trtexec")
    if found is not None:
        return found
    return TRTEXEC if Path(TRTEXEC).is_file() else None


def build_arguments(kit: dict[str, Any], *, typed: bool = True) -> list[str]:
    """Return trtexec's arguments that build the engine.

    Args:
        kit: What kit.json says.
        typed: Whether this trtexec has --stronglyTyped; where it is gone, networks are strongly typed anyway.
    """
    arguments = ["--onnx=model.onnx", f"--saveEngine={ENGINE}", "--skipInference"]
    if typed:
        arguments.append("--stronglyTyped")
    if kit["sparse"]:
        arguments.append("--sparsity=enable")
    if kit["workspace_mib"] is not None:
        arguments.append(f"--memPoolSize=workspace:{kit['workspace_mib']}")
    bounds = {bound: shape_list(kit["inputs"], 1, bound) for bound in ("min", "opt", "max")}
    return arguments + [f"--{bound}Shapes={shapes}" for bound, shapes in bounds.items() if shapes]


def measure_arguments(kit: dict[str, Any]) -> list[str]:
    """Return trtexec's arguments that measure the engine at batch 1."""
    arguments = [f"--loadEngine={ENGINE}", "--percentile=90,99", "--exportTimes=times.json"]
    arguments += [f"--warmUp={_WARM_UP_MILLISECONDS}", f"--duration={_SECONDS}"]
    if shapes := shape_list(kit["inputs"], 1):
        arguments.append(f"--shapes={shapes}")
    whole = [entry for entry in kit["inputs"] if entry["dtype"] in _ELEMENT_BYTES]
    if whole:
        arguments.append("--loadInputs=" + ",".join(f"{quote(e['name'])}:{zeros_name(e)}" for e in whole))
    return arguments


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


def build_with_trtexec(trtexec: str, kit: dict[str, Any], folder: Path) -> str | None:
    """Build the engine; return TensorRT's version as trtexec prints it.

    Raises:
        Failed: trtexec refuses; the message has its first error.
    """
    usage = run_logged([trtexec, "--help"], folder / "build.log")
    typed = usage is None or "--stronglyTyped" in usage
    log = run_logged([trtexec, *build_arguments(kit, typed=typed)], folder / "build.log")
    if log is None or not (folder / ENGINE).is_file():
        errors = re.findall(r"\[E\] (.*)", (folder / "build.log").read_text(encoding="utf-8", errors="replace"))
        raise Failed(f"trtexec does not build the engine: {errors[0] if errors else 'see build.log'}")
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


def build_with_python(kit: dict[str, Any], folder: Path) -> str:
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
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(folder / "model.onnx")):
        raise Failed(f"the parser refuses the graph: {parser.get_error(0)}")
    config = builder.create_builder_config()
    if kit["sparse"]:
        config.set_flag(trt.BuilderFlag.SPARSE_WEIGHTS)
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


def measure(trtexec: str, kit: dict[str, Any], folder: Path) -> tuple[dict[str, float] | None, list[str]]:
    """Return latency in seconds as trtexec measures it and notes; None and the reason where it does not."""
    for entry in kit["inputs"]:
        # trtexec would fill integer inputs with random numbers, which are no valid tokens or indices.
        if entry["dtype"] in _ELEMENT_BYTES:
            count = _ELEMENT_BYTES[entry["dtype"]]
            for size in entry["shape"]:
                count *= 1 if size is None else size
            (folder / zeros_name(entry)).write_bytes(bytes(count))
    log = run_logged([trtexec, *measure_arguments(kit)], folder / "measure.log")
    if log is None:
        return None, ["trtexec built the engine and failed to run it (measure.log): latency is not measured"]
    latency = parse_summary(log)
    if latency is None:
        return None, ["trtexec printed no performance summary (measure.log): latency is not measured"]
    notes = [f"trtexec: {line}" for line in re.findall(r"\[W\] \* (.*)", log)]
    return latency, notes


def parse_summary(log: str) -> dict[str, float] | None:
    """Return the figures of trtexec's performance summary in seconds, or None where there is none."""
    host = re.search(r"\] Latency: (.*)", log)
    compute = re.search(r"\] GPU Compute Time: (.*)", log)
    throughput = re.search(r"\] Throughput: ([0-9.eE+-]+) qps", log)
    runs = re.search(r"Timing trace has (\d+) queries", log)
    if host is None or compute is None or throughput is None:
        return None
    found = {name: float(value) / 1000 for name, value in _SUMMARY.findall(host.group(1))}
    gpu = {name: float(value) / 1000 for name, value in _SUMMARY.findall(compute.group(1))}
    return {
        "batch": 1,
        "runs": int(runs.group(1)) if runs else 0,
        "p50": found["median"],
        "p90": found["percentile(90%)"],
        "p99": found["percentile(99%)"],
        **{name: found[name] for name in ("mean", "min", "max")},
        "gpu_p50": gpu["median"],
        "throughput": float(throughput.group(1)),
    }


def describe_board(version: str | None) -> dict[str, str | None]:
    """Return what the board says of itself; None where it says nothing."""
    nvpmodel = shutil.which("nvpmodel")
    mode = print_of([nvpmodel, "-q"]) if nvpmodel is not None else None
    return {
        "name": read_text(Path("/proc/device-tree/model")),
        "system": platform.platform(),
        "tensorrt": version,
        "l4t": read_text(Path("/etc/nv_tegra_release")),
        "power_mode": " ".join(mode.split()) if mode else None,
    }


def read_text(path: Path) -> str | None:
    """Return the first line of a file without its final zero byte, or None where there is no such file."""
    if not path.is_file():
        return None
    return path.read_text(encoding="utf-8", errors="replace").split("\n", 1)[0].strip("\0 ") or None


def run_logged(command: list[str], log: Path) -> str | None:
    """Return what a command prints, kept in a file too; None where it fails."""
    with log.open("wb") as file:
        done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, cwd=str(log.parent), check=False)  # noqa: S603
    return log.read_text(encoding="utf-8", errors="replace") if done.returncode == 0 else None


def print_of(command: list[str]) -> str | None:
    """Return what a command prints, or None where it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)  # noqa: S603 fixed words
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None


def digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            found.update(block)
    return found.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
