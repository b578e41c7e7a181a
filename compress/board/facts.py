"""What a board says of itself."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from .common import print_of, read_text

SYSTEM = Path(os.environ.get("COMPRESS_SYSTEM_ROOT", "/"))
"""Where the system's own files hang: in a container, where the host's are mounted."""


def main(words: list[str]) -> int:  # noqa: ARG001 the shape of every command
    """Print the facts as JSON."""
    sys.stdout.write(json.dumps(describe_host()) + "\n")
    return 0


def describe_board(tensorrt: str | None) -> dict[str, str | None]:
    """Return model, system and power mode of a board; None where it does not say."""
    return {
        "name": read_text(SYSTEM / "proc/device-tree/model"),
        "system": platform.platform(),
        "tensorrt": tensorrt,
        "l4t": read_text(SYSTEM / "etc/nv_tegra_release"),
        "jetpack": jetpack(),
        "power_mode": power_mode(),
        "clocks": clocks(),
    }


def power_mode() -> str | None:
    """Return the power mode that ``nvpmodel -q`` names (``"MAXN_SUPER"``), or None where there is no such program.

    The line may stand between others about the fan, and errors about what only root may read.
    """
    program = shutil.which("nvpmodel")
    said = print_of([program, "-q"]) if program is not None else None
    found = re.search(r"NV Power Mode: *(\S.*)", said or "")
    return found.group(1).strip() if found else None


def jetpack() -> str | None:
    """Return the version of the package nvidia-jetpack (``"6.2+b77"``), or None where it is not installed."""
    program = shutil.which("dpkg-query")
    said = print_of([program, "-W", "-f=${Version}", "nvidia-jetpack"]) if program is not None else None
    return said.strip() or None if said else None


def clocks() -> str | None:
    """Return the range of the GPU's and the memory's clock as ``jetson_clocks --show`` has it, or None without it.

    ``"GPU 306 to 1020 MHz, EMC 204 to 3199 MHz"``; where they are locked both ends are equal.
    """
    program = shutil.which("jetson_clocks")
    said = print_of([program, "--show"]) if program is not None else None
    found = re.findall(r"^\s*(GPU|EMC) MinFreq=(\d+) MaxFreq=(\d+)", said or "", re.MULTILINE)
    return ", ".join(f"{name} {int(low) // 10**6} to {int(high) // 10**6} MHz" for name, low, high in found) or None


def describe_host() -> dict[str, Any]:
    """Return what decides how an engine runs here: CPU, memory, system, runtimes; None where something is not known."""
    fields = cpu_fields()
    flags = fields.get("flags", fields.get("Features", "")).split()
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system() + " " + (re.match(r"[\d.]*\d", platform.release()) or [""])[0],
        "cpu": fields.get("model name"),
        "cpu_part": [fields.get("CPU implementer"), fields.get("CPU part")],
        "flags": flags,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": memory_bytes(),
        "governor": read_text(SYSTEM / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "temperature_celsius": temperature(),
        "load": os.getloadavg()[0],
        "runtimes": runtimes(),
        "compute_capabilities": compute_capabilities(),
    }


def runtimes() -> dict[str, str]:
    """Return the versions of NumPy and ONNX Runtime and the path of trtexec, as far as they are here."""
    from .trtexec import find_trtexec

    found: dict[str, str] = {}
    for name in ("numpy", "onnxruntime"):
        try:
            found[name] = str(__import__(name).__version__)
        except ImportError:
            continue
    trtexec = find_trtexec()
    return found if trtexec is None else {**found, "trtexec": trtexec}


def compute_capabilities() -> list[str]:
    """Return the compute capabilities (``"8.9"``) of the GPUs that ``nvidia-smi`` lists; it knows no Jetson's."""
    program = shutil.which("nvidia-smi")
    said = print_of([program, "--query-gpu=compute_cap", "--format=csv,noheader"]) if program is not None else None
    return re.findall(r"^\s*(\d+\.\d+)\s*$", said or "", re.MULTILINE)


def cpu_fields() -> dict[str, str]:
    """Return the first core's fields in ``/proc/cpuinfo``."""
    fields: dict[str, str] = {}
    try:
        text = (SYSTEM / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return fields
    for line in text.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    return fields


def memory_bytes() -> int:
    """Return the bytes of main memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def temperature() -> float | None:
    """Return the hottest thermal zone's temperature in degrees Celsius, or None where there is none."""
    # Source: Linux, Documentation/ABI/testing/sysfs-class-thermal: millidegrees Celsius.
    found = [read_text(path) for path in SYSTEM.glob("sys/class/thermal/thermal_zone*/temp")]
    degrees = [int(text) / 1000 for text in found if text is not None and text.lstrip("-").isdigit()]
    return max(degrees) if degrees else None
