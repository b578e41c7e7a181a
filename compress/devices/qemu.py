"""User-mode QEMU: what it needs, whether it is here, and the command that starts an interpreter under it."""

import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from compress.data.cache import cache_folder
from compress.devices.cpus import EmulatedCpu
from compress.errors import TargetError

INSTALL = "apt-get install qemu-user-static"
PREPARE = "python -m compress.devices.prepare"
_X86_NAMES = ("x86_64", "amd64")


@dataclass(frozen=True, slots=True)
class Launch:
    """How a Python script is started on an emulated CPU: the words before the script, and what the environment adds."""

    words: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


def find_qemu(cpu: EmulatedCpu) -> str:
    """Return the path of the emulator for a CPU.

    Raises:
        TargetError: It is not installed; the hint is the command that installs it.
    """
    for name in (f"qemu-{cpu.architecture}-static", f"qemu-{cpu.architecture}"):
        found = shutil.which(name)
        if found is not None:
            return found
    raise TargetError(f"{cpu.device} needs QEMU, and there is no qemu-{cpu.architecture}-static here", hint=INSTALL)


def arm64_folder() -> Path:
    """Return the folder of the Arm64 interpreter that ``compress.devices.prepare`` fills."""
    return cache_folder() / "emulated-arm64"


def plan_launch(cpu: EmulatedCpu) -> Launch:
    """Return how to start a script on a CPU.

    An x86 CPU runs the interpreter and the packages of this process. An Arm CPU on an x86 machine runs those that
    ``compress.devices.prepare`` unpacked: dynamic libraries are looked for below that folder first.

    Raises:
        TargetError: QEMU or that interpreter is missing; the hint is the command that brings it.
    """
    words = (find_qemu(cpu), "-cpu", cpu.model)
    here = platform.machine().lower()
    if here in (_X86_NAMES if cpu.architecture == "x86_64" else ("aarch64", "arm64")):
        return Launch((*words, sys.executable, "-P"))
    if cpu.architecture == "x86_64":
        raise TargetError(
            f"{cpu.device} needs an x86-64 machine: this one is {here}, and its Python cannot run there",
            hint="run it on an x86-64 machine, or measure on the device itself",
        )
    folder = arm64_folder()
    interpreters = sorted((folder / "usr" / "bin").glob("python3.*"))
    if not interpreters or not (folder / "site" / "onnxruntime").is_dir():
        raise TargetError(f"{cpu.device} needs an Arm64 Python with ONNX Runtime in {folder}", hint=PREPARE)
    environment = {
        "QEMU_LD_PREFIX": str(folder),
        "PYTHONHOME": str(folder / "usr"),
        "PYTHONPATH": str(folder / "site"),
    }
    return Launch((*words, str(interpreters[0]), "-P"), environment)


def qemu_version(cpu: EmulatedCpu) -> str:
    """Return the emulator's version, ``"7.2.22"``.

    Raises:
        TargetError: It is not installed.
    """
    done = subprocess.run(  # noqa: S603 - the path that find_qemu found
        [find_qemu(cpu), "--version"], capture_output=True, text=True, check=False, timeout=60
    )
    found = re.search(r"version (\d[\d.]*)", done.stdout)
    return found[1] if found else "of unknown version"
