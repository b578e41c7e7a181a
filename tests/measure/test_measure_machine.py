from pathlib import Path

import pytest

from compress.measure import machine
from compress.measure.machine import Pressure, describe_machine, others_share, read_pressure, steal_share
from compress.report.record import Machine

MOMENT = Pressure(total_seconds=100.0, busy_seconds=40.0, own_seconds=10.0, steal_seconds=2.0)


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder that stands for the system's root."""
    monkeypatch.setattr(machine, "SYSTEM", tmp_path)
    return tmp_path


def write(system: Path, path: str, text: str) -> None:
    (system / path).parent.mkdir(parents=True, exist_ok=True)
    (system / path).write_text(text)


def describe() -> Machine:
    later = Pressure(total_seconds=110.0, busy_seconds=48.0, own_seconds=12.0, steal_seconds=3.0)
    return describe_machine(pressure=(MOMENT, later))


def test_facts_that_cannot_be_read_are_none(system: Path) -> None:
    found = describe()
    assert (found.governor, found.temperature_celsius, found.virtual) == (None, None, None)
    assert found.measured_on == "this machine"


def test_facts_are_read_from_the_system(system: Path) -> None:
    write(system, "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n")
    write(system, "sys/class/thermal/thermal_zone0/temp", "41500\n")
    write(system, "sys/class/thermal/thermal_zone1/temp", "55000\n")
    write(system, "sys/class/thermal/thermal_zone2/temp", "unreadable\n")
    write(system, "proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu hypervisor avx2\n")
    found = describe()
    assert (found.governor, found.temperature_celsius, found.virtual) == ("performance", 55.0, True)


def test_a_cpu_without_the_hypervisor_flag_is_bare_metal(system: Path) -> None:
    write(system, "proc/cpuinfo", "flags\t\t: fpu avx2\n")
    assert describe().virtual is False


@pytest.mark.parametrize(("name", "virtual"), [("linux,dummy-virt\0", True), ("Raspberry Pi 5 Model B\0", False)])
def test_an_arm_board_is_told_by_its_device_tree(system: Path, name: str, virtual: bool) -> None:
    write(system, "proc/cpuinfo", "Features\t: fp asimd\n")
    write(system, "proc/device-tree/model", name)
    assert describe().virtual is virtual


def test_an_arm_machine_that_does_not_say_is_unknown(system: Path) -> None:
    write(system, "proc/cpuinfo", "Features\t: fp asimd\n")
    assert describe().virtual is None


def test_this_machine_has_cores_memory_and_a_system() -> None:
    found = describe_machine("ssh://board")
    assert found.measured_on == "ssh://board"
    assert found.cores >= 1
    assert found.memory_bytes > 10**8
    assert ", Python 3." in found.system
    assert found.cpu


@pytest.mark.parametrize(
    ("release", "expected"), [("6.1.0-vendor-build7", "Linux 6.1.0"), ("unknown", "Linux"), ("24.6", "Linux 24.6")]
)
def test_the_kernels_build_suffix_is_left_out(release: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.release", lambda: release)
    assert describe().system.partition(",")[0] == expected


def test_a_system_without_load_average_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> tuple[float, float, float]:
        raise OSError

    monkeypatch.setattr("os.getloadavg", fail)
    assert describe().load is None


def test_shares_of_cpu_time_are_of_the_time_between_two_moments() -> None:
    later = Pressure(total_seconds=110.0, busy_seconds=48.0, own_seconds=12.0, steal_seconds=3.0)
    assert steal_share(MOMENT, later) == pytest.approx(0.1)
    assert others_share(MOMENT, later) == pytest.approx(0.6)
    assert describe().steal == pytest.approx(0.1)


def test_no_time_between_two_moments_gives_no_share() -> None:
    assert steal_share(MOMENT, MOMENT) is None
    assert others_share(MOMENT, MOMENT) == 0.0


def test_steal_that_is_not_counted_is_unknown() -> None:
    uncounted = Pressure(110.0, 48.0, 12.0, None)
    assert steal_share(MOMENT, uncounted) is None


def test_cpu_time_only_grows() -> None:
    first, second = read_pressure(), read_pressure()
    assert second.total_seconds >= first.total_seconds > 0
    assert second.own_seconds >= first.own_seconds > 0
    assert 0 < first.busy_seconds <= first.total_seconds
