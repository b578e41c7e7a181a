import platform
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress import machine


@pytest.mark.parametrize(
    ("flags", "architecture", "isa"),
    [
        ("avx2 avx512_vnni amx_int8", "x86_64", "x86-amx"),
        ("avx2 avx512_vnni", "x86_64", "x86-vnni"),
        ("avx2 avx_vnni", "AMD64", "x86-vnni"),
        ("avx2 amx_bf16", "x86_64", "x86-avx2"),
        ("sse4_1", "x86_64", None),
        ("asimd", "aarch64", "arm64-neon"),
        ("asimd asimddp", "aarch64", "arm64-dotprod"),
        ("asimd asimddp i8mm", "arm64", "arm64-i8mm"),
        ("", "riscv64", None),
    ],
)
def test_the_best_instruction_set_wins(flags: str, architecture: str, isa: str | None) -> None:
    assert machine.isa_of(frozenset(flags.split()), architecture) == isa


@settings(deadline=None, max_examples=50, derandomize=True)
@given(
    flags=st.frozensets(st.sampled_from(["avx2", "avx_vnni", "amx_int8", "asimddp", "i8mm"])),
    more=st.frozensets(st.sampled_from(["avx2", "avx512_vnni", "amx_int8"]), min_size=1),
)
def test_more_flags_never_lower_the_instruction_set(flags: frozenset[str], more: frozenset[str]) -> None:
    order = [None, "x86-avx2", "x86-vnni", "x86-amx"]
    fewer, all_of_them = machine.isa_of(flags, "x86_64"), machine.isa_of(flags | more, "x86_64")
    assert order.index(fewer) <= order.index(all_of_them)


def cpuinfo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, architecture: str) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(text, encoding="utf-8")
    monkeypatch.setattr(machine, "CPUINFO", path)
    monkeypatch.setattr(platform, "machine", lambda: architecture)


def test_an_x86_processor_is_read_from_cpuinfo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    core = "model name\t: Intel(R) Core(TM) i7-1185G7\nflags\t\t: fpu avx2 avx512_vnni\n"
    cpuinfo(monkeypatch, tmp_path, f"processor\t: 0\n{core}\nprocessor\t: 1\n{core}", "x86_64")
    assert (machine.cpu_name(), machine.detect_isa()) == ("Intel(R) Core(TM) i7-1185G7", "x86-vnni")


def test_an_arm_core_is_named_by_its_part_number(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = "Features\t: fp asimd asimddp\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n"
    cpuinfo(monkeypatch, tmp_path, text, "aarch64")
    assert (machine.cpu_name(), machine.detect_isa()) == ("Cortex-A76", "arm64-dotprod")


def test_an_unknown_arm_core_is_named_by_its_architecture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cpuinfo(monkeypatch, tmp_path, "CPU implementer\t: 0x61\nCPU part\t: 0x022\n", "aarch64")
    monkeypatch.setattr(platform, "processor", lambda: "")
    assert machine.cpu_name() == "aarch64"


def test_macos_answers_through_sysctl(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answers = {"hw.optional.arm.FEAT_DotProd": "1\n", "machdep.cpu.brand_string": "Apple M1\n"}

    def sysctl(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        answer = answers.get(command[-1])
        return subprocess.CompletedProcess(command, 0 if answer else 1, answer or "")

    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "absent")
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    monkeypatch.setattr(subprocess, "run", sysctl)
    assert (machine.cpu_name(), machine.detect_isa()) == ("Apple M1", "arm64-dotprod")


def test_a_system_that_does_not_tell_has_no_flags(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "absent")
    monkeypatch.setattr(platform, "system", lambda: "Windows")
    assert machine.cpu_flags() == frozenset()


def test_cores_are_those_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.core_count() >= 1
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 6)
    assert machine.core_count() == 6


def test_the_board_is_named_by_its_device_tree(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "BOARD", tmp_path / "model")
    assert machine.board_name() is None
    (tmp_path / "model").write_bytes(b"Raspberry Pi 5 Model B Rev 1.0\0")
    assert machine.board_name() == "Raspberry Pi 5 Model B Rev 1.0"


def nvidia_smi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))


def test_gpus_are_what_nvidia_smi_lists(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nvidia_smi(monkeypatch, tmp_path, "echo 'NVIDIA L4, 8.9'; echo 'Tesla T4, 7.5'")
    assert machine.list_gpus() == (machine.Gpu("NVIDIA L4", "8.9"), machine.Gpu("Tesla T4", "7.5"))


def test_a_driver_that_fails_lists_no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nvidia_smi(monkeypatch, tmp_path, "echo 'Failed to initialize NVML'; exit 9")
    assert machine.list_gpus() == ()


def test_a_driver_that_hangs_lists_no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def hang(command: list[str], **_: object) -> None:
        raise subprocess.TimeoutExpired(command, 20)

    nvidia_smi(monkeypatch, tmp_path, "true")
    monkeypatch.setattr(subprocess, "run", hang)
    assert machine.list_gpus() == ()


def test_without_a_driver_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.list_gpus() == ()
