"""Facts about the machine that measures, and how busy it is: they belong to every latency."""

import os
import platform
import re
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from compress.machine import core_count, cpu_name, detect_isa
from compress.report.record import Machine

SYSTEM = Path("/")
"""Where the system's own files hang; tests point it elsewhere."""

_STEAL_WINDOW_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Pressure:
    """CPU seconds since the system started, over all cores, at one moment; two of them tell who used the time between.

    Attributes:
        total_seconds: All there were.
        busy_seconds: Used by programs and the kernel.
        own_seconds: Used by this process.
        steal_seconds: Given to others by the hypervisor, or None where that is not counted.
    """

    total_seconds: float
    busy_seconds: float
    own_seconds: float
    steal_seconds: float | None


def read_pressure() -> Pressure:
    """Return how the CPU's time was used until now."""
    times = psutil.cpu_times()
    # Guest time, the ninth field and on, is counted under user time already.
    total, steal = float(sum(times[:8])), getattr(times, "steal", None)
    busy = total - times.idle - getattr(times, "iowait", 0.0) - (steal or 0.0)
    return Pressure(total, busy, time.process_time(), steal)


def steal_share(before: Pressure, after: Pressure) -> float | None:
    """Return the share of CPU time between two moments that the hypervisor gave to others, or None if not counted."""
    if before.steal_seconds is None or after.steal_seconds is None:
        return None
    passed = after.total_seconds - before.total_seconds
    if passed <= 0:
        return None
    return min(1.0, max(0.0, (after.steal_seconds - before.steal_seconds) / passed))


def others_share(before: Pressure, after: Pressure) -> float:
    """Return the share of CPU time between two moments, over all cores, that other processes used; 0 if none passed."""
    passed = after.total_seconds - before.total_seconds
    if passed <= 0:
        return 0.0
    busy, own = after.busy_seconds - before.busy_seconds, after.own_seconds - before.own_seconds
    return min(1.0, max(0.0, (busy - own) / passed))


def describe_machine(
    measured_on: str | None = "this machine", *, pressure: tuple[Pressure, Pressure] | None = None
) -> Machine:
    """Return the facts about this machine; a fact that cannot be read is None.

    Args:
        measured_on: What the report says of where it was measured; None where nothing was measured here.
        pressure: How busy it was before and after a measurement; without it, over a tenth of a second from now.
    """
    before, after = _window() if pressure is None else pressure
    return Machine(
        measured_on=measured_on,
        cpu=cpu_name(),
        isa=detect_isa(),
        cores=core_count(),
        memory_bytes=int(psutil.virtual_memory().total),
        system=_system(),
        governor=_governor(),
        load=_load(),
        steal=steal_share(before, after),
        temperature_celsius=_temperature(),
        virtual=_virtual(),
    )


def _window() -> tuple[Pressure, Pressure]:
    before = read_pressure()
    time.sleep(_STEAL_WINDOW_SECONDS)
    return before, read_pressure()


def _system() -> str:
    # A vendor's build suffix says nothing about speed, and may say too much about the owner.
    release = re.match(r"[\d.]*\d", platform.release())
    return f"{platform.system()} {release[0] if release else ''}".strip() + f", Python {platform.python_version()}"


def _load() -> float | None:
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows has none; some sandboxes hide it
        return None


def _governor() -> str | None:
    return _read("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def _temperature() -> float | None:
    """Return the hottest thermal zone's temperature in degrees Celsius."""
    readings = [_read(str(path.relative_to(SYSTEM))) for path in SYSTEM.glob("sys/class/thermal/thermal_zone*/temp")]
    # Source: Linux, Documentation/ABI/testing/sysfs-class-thermal: millidegrees Celsius.
    degrees = [int(text) / 1000 for text in readings if text is not None and text.lstrip("-").isdigit()]
    return max(degrees, default=None)


def _virtual() -> bool | None:
    """Return whether a hypervisor runs this system, as far as the CPU's flags and the firmware's words tell."""
    flags = _read("proc/cpuinfo")
    if flags is None:
        return None
    listed = [line.split() for line in flags.splitlines() if line.startswith("flags")]
    if listed:
        # Source: Linux, arch/x86/include/asm/cpufeatures.h: X86_FEATURE_HYPERVISOR, set by CPUID 1 ECX bit 31.
        return "hypervisor" in listed[0]
    # Arm has no such flag; a board describes itself in its device tree, a virtual machine says so there.
    model = _read("proc/device-tree/model") or _read("sys/class/dmi/id/product_name")
    return None if model is None else "virt" in model.lower()


def _read(path: str) -> str | None:
    try:
        return (SYSTEM / path).read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return None
