"""Power, temperature and throttling of a board while something is measured."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from . import facts
from .common import print_of, read_text

INTERVAL_MILLISECONDS = 100
TOTAL_RAILS = ("VDD_IN", "POM_5V_IN", "VIN")
"""Rails that carry what the whole module draws; on AGX Thor (VIN) the carrier board's share too. Source: NVIDIA, Jetson
Linux Developer Guide, power monitors; lines of tegrastats that users of Thor published."""
# AGX Orin and Xavier measure no total: it is the sum of what feeds the module. Source: the same, INA3221 channels.
_SUMMED = (
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),
)
_RAIL = re.compile(r"\b((?:VDD|VIN|POM|CV|GPU|CPU|SOC|SYS5V)[A-Z0-9_]*) (-?\d+)(?:mW\b|/-?\d+\b)")
_SENSOR = re.compile(r"\b(\w+)@(-?\d+(?:\.\d+)?)C")


class Sample(NamedTuple):
    """One line of tegrastats: when (monotonic seconds), watts by rail, the hottest sensor in degrees Celsius."""

    moment: float
    rails: dict[str, float]
    hottest: float | None


# Source: Raspberry Pi documentation, vcgencmd get_throttled.
_PI_BITS = {0: "under-voltage", 1: "CPU frequency capped", 2: "throttled", 3: "soft temperature limit"}
_PI_SINCE_BOOT = 16


class Watch:
    """Reads ``tegrastats`` in a context; afterwards it answers for any span of time within it."""

    def __init__(self) -> None:
        self._samples: list[Sample] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None

    def __enter__(self) -> Watch:
        program = shutil.which("tegrastats")
        if program is not None:
            self._process = subprocess.Popen(  # noqa: S603 fixed words
                [program, "--interval", str(INTERVAL_MILLISECONDS)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            self._reader = threading.Thread(target=self._read, daemon=True)
            self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is None or self._reader is None:
            return
        with contextlib.suppress(OSError):
            self._process.terminate()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(timeout=5)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self) -> None:
        assert self._process is not None and self._process.stdout is not None  # noqa: S101, PT018 opened above
        for line in self._process.stdout:
            rails, hottest = parse_tegrastats(line.decode(errors="replace"))
            if rails or hottest is not None:
                self._samples.append(Sample(time.monotonic(), rails, hottest))

    def summarize(self, start: float, end: float) -> dict[str, Any] | None:
        """Return mean watts by rail, the whole module's, and the hottest sensor between two moments; None unsampled."""
        inside = [sample for sample in list(self._samples) if start <= sample[0] <= end]
        if not inside:
            return None
        names = sorted({name for _, rails, _ in inside for name in rails})
        means = {name: _mean([rails[name] for _, rails, _ in inside if name in rails]) for name in names}
        heat = [hottest for _, _, hottest in inside if hottest is not None]
        return {
            "samples": len(inside),
            "watts": total_watts(means),
            "rails": means,
            "temperature_celsius": max(heat) if heat else None,
        }


def parse_tegrastats(line: str) -> tuple[dict[str, float], float | None]:
    """Return watts by rail and the hottest sensor of one line of ``tegrastats``.

    All forms are read: ``VDD_IN 4521mW/4498mW`` (momentary, average; since JetPack 7.2 the maximum too) and, before
    JetPack 5, ``VDD_IN 3902/3611``. A sensor near zero may read below it.
    """
    rails = {name: int(now) / 1000 for name, now in _RAIL.findall(line)}
    # PMIC reports a constant 100 °C: a placeholder. Source: NVIDIA, tegrastats utility, PMIC sensor.
    degrees = [float(value) for name, value in _SENSOR.findall(line) if name.upper() != "PMIC"]
    # A sensor of a part that is switched off reads -256.
    sane = [value for value in degrees if value > -100]
    return rails, max(sane) if sane else None


def total_watts(rails: dict[str, float]) -> float | None:
    """Return what the module draws, from its input rail or, where it measures none, from the rails that feed it."""
    for names in (*((name,) for name in TOTAL_RAILS), *_SUMMED):
        if all(name in rails for name in names):
            return sum(rails[name] for name in names)
    return None


def read_throttling() -> dict[str, int]:
    """Return counters and states that grow or are set where the board slows itself down; empty where it has none.

    Jetson: over-current events (``oc*_event_cnt``) and cooling devices that are active. Raspberry Pi: the bits of
    ``vcgencmd get_throttled``.
    """
    found: dict[str, int] = {}
    for path in sorted(facts.SYSTEM.glob("sys/class/hwmon/hwmon*/oc*_event_cnt")):
        _keep_number(found, f"over-current events {path.name.partition('_')[0]}", path)
    for folder in sorted(facts.SYSTEM.glob("sys/class/thermal/cooling_device*")):
        kind = read_text(folder / "type") or ""
        if "throttle" in kind or kind.endswith(("-freq", "-devfreq")) or kind.startswith(("cpufreq", "devfreq")):
            _keep_number(found, f"cooling by {kind}", folder / "cur_state")
    program = shutil.which("vcgencmd")
    said = print_of([program, "get_throttled"]) if program is not None else None
    bits = re.search(r"throttled=(0x[0-9a-fA-F]+)", said or "")
    if bits is not None:
        value = int(bits.group(1), 16)
        found.update({name: value >> bit & 1 for bit, name in _PI_BITS.items()})
        found.update({f"{name} since boot": value >> (bit + _PI_SINCE_BOOT) & 1 for bit, name in _PI_BITS.items()})
    return found


def _keep_number(found: dict[str, int], name: str, path: Path) -> None:
    text = read_text(path)
    if text is not None and text.isdigit():
        found[name] = found.get(name, 0) + int(text)


def describe_throttling(before: dict[str, int], after: dict[str, int]) -> list[str]:
    """Return what slowed the board down between two moments, in words; empty where nothing did.

    A state (a cooling device, a bit of a Pi) counts where it is set at either end; a counter, or a bit that stays set
    since boot, only where it grew.
    """
    grew = [name for name in after if after[name] > before.get(name, 0)]
    still = [
        name
        for name in after
        if name not in grew and after[name] and not name.startswith("over-current") and not name.endswith("since boot")
    ]
    gone = [name for name in before if name.startswith("cooling") and before[name] and not after.get(name, 0)]
    return sorted({*grew, *still, *gone})


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
