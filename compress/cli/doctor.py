"""``compress doctor``: what works on this machine, and the command that mends what does not."""

import argparse
import importlib.metadata
import json
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from compress.cli import Subparsers

State = Literal["ok", "missing", "broken", "idle"]
"""``idle``: installed, and this machine has nothing that it can run on."""

REQUIRED = (
    "cryptography",
    "cyclonedx-python-lib",
    "jinja2",
    "markupsafe",
    "numpy",
    "onnx",
    "onnx-ir",
    "onnxruntime",
    "onnxscript",
    "pillow",
    "psutil",
    "pydantic",
    "rich",
    "safetensors",
    "scipy",
    "tomli-w",
    "torch",
)
EXTRAS = {
    "rtx": ("tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu13-libs"),
    "tensorrt": ("tensorrt",),
    "openvino": ("onnxruntime-ep-openvino",),
    "hf": ("optimum", "tokenizers", "transformers"),
    "inc": ("neural-compressor",),
}
_PURPOSES = {
    "rtx": "engines for NVIDIA GPUs from Turing to Blackwell, and the proof for build kits",
    "tensorrt": "engines on a machine with its own NVIDIA GPU",
    "openvino": "Intel's execution provider, tried against ONNX Runtime's own kernels",
    "hf": "Hugging Face models",
    "inc": "Intel neural-compressor as a contestant",
}


@dataclass(frozen=True, slots=True)
class Package:
    """A package's installed version and the one that was tested, either None where there is none or it is unknown."""

    name: str
    installed: str | None
    tested: str | None


@dataclass(frozen=True, slots=True)
class Finding:
    """What works or does not, in a sentence, and the command that mends it."""

    subject: str
    state: State
    text: str
    mend: str | None = None


def add_parser(commands: "Subparsers") -> None:
    """Add the command's flags."""
    parser = commands.add_parser(
        "doctor",
        help="show what works on this machine and the command that mends what does not",
        description="Show what works here. Exit code 0 if models can be compressed for this CPU, 20 if not.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print machine, packages and findings; return 0 if the CPU line works, 20 if not."""
    from compress.errors import ExitCode

    machine = describe_system()
    packages = list_packages()
    findings = examine(packages)
    if options.json:
        found = {
            "machine": machine,
            "packages": [{"name": p.name, "installed": p.installed, "tested": p.tested} for p in packages],
            "findings": [{"subject": f.subject, "state": f.state, "text": f.text, "mend": f.mend} for f in findings],
        }
        print(json.dumps(found, indent=2))
    else:
        _print(machine, packages, findings)
    return int(ExitCode.PASS if findings[0].state == "ok" else ExitCode.TARGET)


def describe_system() -> dict[str, str]:
    """Return tool, Python, system, CPU, instruction set, cores and GPUs in words."""
    from compress import __version__
    from compress.machine import board_name, core_count, cpu_name, detect_isa, list_gpus

    gpus = ", ".join(f"{gpu.name} (compute capability {gpu.compute_capability})" for gpu in list_gpus())
    facts = {
        "edge-compress": __version__,
        "Python": f"{platform.python_version()} ({sys.executable})",
        "system": platform.platform(),
        "board": board_name() or "",
        "CPU": f"{cpu_name()}, {core_count()} cores usable",
        "ISA": detect_isa() or "unknown",
        "GPU": gpus or "none that nvidia-smi lists",
    }
    return {name: value for name, value in facts.items() if value}


def list_packages() -> list[Package]:
    """Return installed and tested versions of everything that has a part, without importing any of it."""
    tested = read_tested(Path(__file__).parents[2] / "constraints.txt")
    names = [*REQUIRED, *(name for extra in EXTRAS.values() for name in extra)]
    return [Package(name, _installed(name), tested.get(name)) for name in names]


def read_tested(path: Path) -> dict[str, str]:
    """Return the versions of a constraints file by normalized name; empty where there is none (an installed wheel)."""
    if not path.is_file():
        return {}
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;#]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): version.partition("+")[0] for name, version in pins}


def examine(packages: list[Package]) -> list[Finding]:
    """Return the findings, the CPU line first."""
    installed = {package.name: package.installed is not None for package in packages}
    missing = [name for name in REQUIRED if not installed[name]]
    if missing:
        mend = "pip install --upgrade edge-compress"
        findings = [Finding("cpu", "missing", f"needed and not installed: {', '.join(missing)}", mend)]
    else:
        findings = [_try_cpu()]
    for extra, names in EXTRAS.items():
        absent = [name for name in names if not installed[name]]
        command = f'pip install "edge-compress[{extra}]"'
        if absent:
            findings.append(Finding(extra, "missing", f"not installed: {_PURPOSES[extra]}", command))
        else:
            findings.append(_try_extra(extra, command))
    return [*findings, *_try_emulation(), _try_ssh()]


def _try_emulation() -> list[Finding]:
    """Return whether engines for other CPUs can be measured under emulation, one finding for each architecture."""
    from compress.devices.cpus import CPUS
    from compress.devices.qemu import plan_launch
    from compress.errors import TargetError

    findings = []
    for architecture in ("x86_64", "aarch64"):
        cpus = [cpu for cpu in CPUS.values() if cpu.architecture == architecture]
        names = ", ".join(cpu.device for cpu in cpus)
        try:
            plan_launch(cpus[0])
        except TargetError as error:
            findings.append(Finding(f"emulated {architecture}", "missing", f"{error.message} ({names})", error.hint))
        else:
            text = f"accuracy of {names} can be measured"
            findings.append(Finding(f"emulated {architecture}", "ok", text))
    return findings


def _try_ssh() -> Finding:
    """Return whether boards can be reached over SSH, and how many are kept by name."""
    from compress.devices.names import read_devices
    from compress.devices.ssh.address import Board
    from compress.devices.ssh.link import ssh_words
    from compress.errors import ConfigError, TargetError

    try:
        ssh_words(Board("board"), ["true"])
        names = ", ".join(read_devices())
    except TargetError as error:
        return Finding("ssh", "missing", f"{error.message}: no --device ssh://…", error.hint)
    except ConfigError as error:
        return Finding("ssh", "broken", error.message, error.hint)
    return Finding("ssh", "ok", f"boards are reached with --device ssh://…; by name: {names or 'none yet'}")


def _try_cpu() -> Finding:
    """Quantize and dequantize two numbers in ONNX Runtime: the shortest run that needs everything."""
    from compress.errors import CompressError

    try:
        from compress.targets import load_target

        target = load_target("cpu")
        found = _round_trip()
    except (CompressError, ImportError, OSError) as error:
        hint = getattr(error, "hint", None) or "pip install --force-reinstall onnxruntime"
        return Finding("cpu", "broken", str(error), hint)
    if found != [1.0, -2.0]:
        return Finding("cpu", "broken", f"ONNX Runtime computes {found} for [1, -2]", "pip install -U onnxruntime")
    return Finding("cpu", "ok", f"INT8 engines for this CPU ({target.isa}, {target.dialect}) can be built and measured")


def _round_trip() -> list[float]:
    import numpy as np
    from onnx import parser

    from compress.runtimes.onnxruntime import open_graph

    graph = parser.parse_model("""<ir_version: 8, opset_import: ["": 13]> g (float[n] x) => (float[n] y)
        <float s = {0.5}, int8 z = {0}> { q = QuantizeLinear(x, s, z)  y = DequantizeLinear(q, s, z) }""")
    with open_graph(graph.SerializeToString(), threads=1) as session:
        return [float(value) for value in session.run({"x": np.array([1.0, -2.0], np.float32)})["y"]]


def _try_extra(extra: str, command: str) -> Finding:
    """Return whether an installed extra is usable; the TensorRTs and OpenVINO can be installed and not be."""
    if extra == "rtx":
        from compress.runtimes import tensorrt_rtx

        if tensorrt_rtx.find_module() is None:
            return Finding(extra, "broken", "installed and cannot be imported", f"{command} --force-reinstall")
    if extra == "tensorrt":
        from compress.runtimes import tensorrt

        if tensorrt.find_module() is None:
            text = "the package on PyPI is only a stub here: it fetches the real one from NVIDIA as it is installed"
            return Finding(extra, "broken", text, "see NVIDIA's TensorRT installation guide")
    if extra == "openvino":
        from compress.errors import TargetError
        from compress.runtimes import openvino_plugin

        try:
            if openvino_plugin.look_for_device() is None:
                text = "installed, and lists no device on this CPU: ONNX Runtime's own kernels are used"
                return Finding(extra, "idle", text)
        except TargetError as error:
            return Finding(extra, "broken", error.message, error.hint)
    return Finding(extra, "ok", f"installed: {_PURPOSES[extra]}")


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _print(machine: dict[str, str], packages: list[Package], findings: list[Finding]) -> None:
    for name, value in machine.items():
        print(f"{name:<14} {value}")
    print()
    for package in packages:
        known = package.installed is not None and package.tested is not None
        other = known and str(package.installed).partition("+")[0] != package.tested
        tested = f"  (tested with {package.tested})" if other else ""
        print(f"{package.name:<28} {package.installed or '-'}{tested}")
    print()
    for finding in findings:
        print(f"{finding.state:<8} {finding.subject}: {finding.text}")
        if finding.mend:
            print(f"{'':<8} mend: {finding.mend}")
