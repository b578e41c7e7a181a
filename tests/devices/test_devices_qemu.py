import platform
import sys
from pathlib import Path

import pytest

from compress.devices import qemu
from compress.devices.cpus import CPUS
from compress.errors import ExitCode, TargetError


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the only folder in which programs are found, on an x86-64 machine with an empty cache."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("COMPRESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    return folder


def install(folder: Path, name: str, text: str = "echo") -> str:
    program = folder / name
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    return str(program)


def unpack_arm64() -> Path:
    folder = qemu.arm64_folder()
    (folder / "site" / "onnxruntime").mkdir(parents=True)
    (folder / "usr" / "bin").mkdir(parents=True)
    (folder / "usr" / "bin" / "python3.11").touch()
    return folder


@pytest.mark.parametrize("name", ["haswell", "cortex-a76"])
def test_without_qemu_the_error_has_code_20_and_the_command(programs: Path, name: str) -> None:
    with pytest.raises(TargetError, match=f"emulated:{name} needs QEMU") as caught:
        qemu.plan_launch(CPUS[name])
    assert caught.value.exit_code == ExitCode.TARGET
    assert caught.value.hint == "apt-get install qemu-user-static"


def test_an_x86_cpu_runs_this_interpreter(programs: Path) -> None:
    found = install(programs, "qemu-x86_64-static")
    launch = qemu.plan_launch(CPUS["haswell"])
    assert launch.words == (found, "-cpu", "Haswell", sys.executable, "-P")
    assert launch.environment == {}


def test_an_emulator_that_is_not_static_serves_too(programs: Path) -> None:
    found = install(programs, "qemu-x86_64")
    assert qemu.find_qemu(CPUS["haswell"]) == found


def test_an_arm_cpu_runs_the_interpreter_that_was_unpacked(programs: Path) -> None:
    found = install(programs, "qemu-aarch64-static")
    folder = unpack_arm64()
    launch = qemu.plan_launch(CPUS["cortex-a76"])
    assert launch.words == (found, "-cpu", "cortex-a76", str(folder / "usr" / "bin" / "python3.11"), "-P")
    assert launch.environment["QEMU_LD_PREFIX"] == str(folder)


def test_an_arm_cpu_without_that_interpreter_names_the_command(programs: Path) -> None:
    install(programs, "qemu-aarch64-static")
    with pytest.raises(TargetError, match="needs an Arm64 Python") as caught:
        qemu.plan_launch(CPUS["cortex-a76"])
    assert caught.value.hint == "python -m compress.devices.prepare"


def test_on_an_arm_machine_arm_is_its_own_interpreter_and_x86_cannot_be(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    for name in ("qemu-aarch64-static", "qemu-x86_64-static"):
        install(programs, name)
    assert qemu.plan_launch(CPUS["cortex-a72"]).words[-2:] == (sys.executable, "-P")
    with pytest.raises(TargetError, match="needs an x86-64 machine: this one is aarch64"):
        qemu.plan_launch(CPUS["haswell"])


@pytest.mark.parametrize(
    ("said", "version"),
    [("qemu-x86_64 version 7.2.22 (Debian 1:7.2+dfsg-7)", "7.2.22"), ("something else", "of unknown version")],
)
def test_the_version_is_what_qemu_says(programs: Path, said: str, version: str) -> None:
    install(programs, "qemu-x86_64-static", f"echo '{said}'")
    assert qemu.qemu_version(CPUS["haswell"]) == version
