"""Facts about this machine: CPU, cores, board, GPUs, and the instruction set that decides the INT8 form.

Where a fact cannot be had honestly the answer is None, never a guess.
"""

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Isa = Literal["x86-avx2", "x86-vnni", "x86-amx", "arm64-neon", "arm64-dotprod", "arm64-i8mm"]

CPUINFO = Path("/proc/cpuinfo")
BOARD = Path("/proc/device-tree/model")
_X86 = ("x86_64", "amd64")
_ARM64 = ("aarch64", "arm64")

# Linux on Arm names the core by its part number only (implementer 0x41 is Arm Ltd).
# Source: Linux, arch/arm64/include/asm/cputype.h.
ARM_PARTS = {
    "0xd03": "Cortex-A53",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1",
    "0xd40": "Neoverse-V1",
    "0xd42": "Cortex-A78AE",
    "0xd49": "Neoverse-N2",
    "0xd4f": "Neoverse-V2",
}
_MACOS_FLAGS = {
    "hw.optional.avx2_0": "avx2",
    "hw.optional.avx512vnni": "avx512_vnni",
    "hw.optional.arm.FEAT_DotProd": "asimddp",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
}


def detect_isa() -> Isa | None:
    """Return the instruction set of this CPU that decides how INT8 runs, or None where it cannot be told.

    The best that applies: ``x86-amx`` includes VNNI, which includes AVX2; ``arm64-i8mm`` includes the dot product.
    """
    return isa_of(cpu_flags(), platform.machine())


def isa_of(flags: frozenset[str], architecture: str) -> Isa | None:
    """Return the best instruction set of a CPU with these flags (Linux names: ``avx512_vnni``, ``asimddp``).

    Args:
        flags: What ``/proc/cpuinfo`` lists under ``flags`` (x86) or ``Features`` (Arm).
        architecture: What ``platform.machine()`` says: ``x86_64``, ``aarch64`` …
    """
    known = architecture.lower()
    if known in _X86:
        if "amx_int8" in flags:
            return "x86-amx"
        if flags & {"avx512_vnni", "avx_vnni"}:
            return "x86-vnni"
        return "x86-avx2" if "avx2" in flags else None
    if known in _ARM64:
        if "i8mm" in flags:
            return "arm64-i8mm"
        # Advanced SIMD is part of every 64-bit Arm application processor, so it needs no flag.
        return "arm64-dotprod" if "asimddp" in flags else "arm64-neon"
    return None


def cpu_flags() -> frozenset[str]:
    """Return this CPU's feature flags by their Linux names; empty where the system does not tell."""
    fields = _cpuinfo()
    if fields:
        return frozenset(fields.get("flags", fields.get("Features", "")).split())
    return frozenset(flag for key, flag in _MACOS_FLAGS.items() if _sysctl(key) == "1")


def cpu_name() -> str:
    """Return the CPU's model name: ``"Intel(R) Core(TM) i7-1185G7"``, ``"Cortex-A76"``; the architecture at worst."""
    fields = _cpuinfo()
    named = fields.get("model name") or _sysctl("machdep.cpu.brand_string")
    if named:
        return named
    if fields.get("CPU implementer") == "0x41" and fields.get("CPU part", "") in ARM_PARTS:
        return ARM_PARTS[fields["CPU part"]]
    return platform.processor() or platform.machine()


def core_count() -> int:
    """Return how many logical cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def board_name() -> str | None:
    """Return what the board's device tree calls itself (``"Raspberry Pi 5 Model B Rev 1.0"``), or None without one."""
    if not BOARD.is_file():
        return None
    return BOARD.read_text(encoding="utf-8", errors="replace").strip("\0\n ") or None


@dataclass(frozen=True, slots=True)
class Gpu:
    """An NVIDIA GPU: its name and its compute capability, ``"8.9"``."""

    name: str
    compute_capability: str


def list_gpus() -> tuple[Gpu, ...]:
    """Return the NVIDIA GPUs that ``nvidia-smi`` lists; empty where there is none, or no driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    command = [program, "--query-gpu=name,compute_cap", "--format=csv,noheader"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)  # noqa: S603 fixed words
    except subprocess.TimeoutExpired:
        return ()
    if found.returncode != 0:
        return ()
    rows = (line.rpartition(",") for line in found.stdout.splitlines())
    return tuple(Gpu(name.strip(), capability.strip()) for name, comma, capability in rows if comma)


def _cpuinfo() -> Mapping[str, str]:
    """Return the fields of the first core in ``/proc/cpuinfo``; empty on systems that have no such file."""
    if not CPUINFO.is_file():
        return {}
    fields: dict[str, str] = {}
    for line in CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    return fields


def _sysctl(key: str) -> str:
    """Return a macOS kernel value, or an empty string where there is none."""
    if platform.system() != "Darwin":
        return ""
    command = ["/usr/sbin/sysctl", "-n", key]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=5)  # noqa: S603 a fixed program
    return found.stdout.strip() if found.returncode == 0 else ""
