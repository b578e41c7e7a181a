import pytest

from compress.devices.choose import parse_device
from compress.devices.cpus import CPUS, EmulatedCpu, check_targets
from compress.errors import UsageError
from compress.machine import Isa
from compress.targets import load_target


def test_local_is_this_machine_and_an_emulated_cpu_has_its_instruction_set() -> None:
    assert parse_device("local") is None
    cpu = parse_device("emulated:cortex-a76")
    assert isinstance(cpu, EmulatedCpu)
    assert (cpu.device, cpu.architecture, cpu.isa) == ("emulated:cortex-a76", "aarch64", "arm64-dotprod")


@pytest.mark.parametrize(
    ("text", "nearest"),
    [("emulated:haswel", "emulated:haswell"), ("emulated:cortex-a67", "emulated:cortex-a76"), ("locale", "local")],
)
def test_a_wrong_name_is_answered_with_the_nearest(text: str, nearest: str) -> None:
    with pytest.raises(UsageError, match=f"unknown device `{text}`") as caught:
        parse_device(text)
    assert f"Did you mean `{nearest}`?" in str(caught.value.hint)


def test_a_cpu_without_its_prefix_is_not_a_device() -> None:
    with pytest.raises(UsageError, match="unknown device `haswell`") as caught:
        parse_device("haswell")
    assert "emulated:haswell" in str(caught.value.hint)


@pytest.mark.parametrize("isa", ["x86-avx2", "arm64-neon", "arm64-dotprod"])
def test_the_target_cpu_is_the_emulated_one(isa: Isa) -> None:
    target = load_target("cpu", isa)
    assert target.isa == isa
    assert target.dialect == ("u8s8-7bit" if isa == "x86-avx2" else "u8s8")
    check_targets(next(cpu for cpu in CPUS.values() if cpu.isa == isa), [target])


@pytest.mark.parametrize(
    ("device", "target", "words"),
    [
        ("haswell", "x86-vnni", "target x86-vnni is x86-vnni"),
        ("cortex-a76", "raspberry-pi-4", "target raspberry-pi-4 is arm64-neon"),
        ("haswell", "jetson", "target jetson-orin-nano is for tensorrt"),
    ],
)
def test_an_engine_for_another_instruction_set_is_refused(device: str, target: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        check_targets(CPUS[device], [load_target(target)])
    assert "--target cpu or " in str(caught.value.hint)
