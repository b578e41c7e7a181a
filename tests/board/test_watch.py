"""What a board says of its power, its heat and its throttling, in the formats that boards print."""

from pathlib import Path

import fake_jetson
import pytest

from compress.board import facts, watch
from compress.board.watch import Watch, describe_throttling, parse_tegrastats, read_throttling, total_watts

XAVIER = (
    "RAM 2673/7765MB (lfb 118x4MB) SWAP 0/3883MB (cached 0MB) CPU [12%@1190,8%@1190,4%@1190,off,off,off]"
    " EMC_FREQ 7% GR3D_FREQ 33% AO@35C GPU@33C PMIC@100C AUX@33.5C CPU@35C thermal@33.9C"
    " VDD_IN 3902/3611 VDD_CPU_GPU_CV 1331/1180 VDD_SOC 997/941"
)
NANO = (
    "RAM 1276/3956MB (lfb 108x4MB) SWAP 0/1978MB (cached 0MB) IRAM 0/252kB(lfb 252kB) CPU [31%@1479,12%@1479]"
    " EMC_FREQ 14%@1600 GR3D_FREQ 22%@921 APE 25 PLL@21C CPU@23C PMIC@100C GPU@22.5C AO@28C thermal@22.5C"
    " POM_5V_IN 3478/3201 POM_5V_GPU 812/740 POM_5V_CPU 623/588"
)
AGX = (
    "RAM 5000/30697MB (lfb 4x4MB) CPU [1%@729] GR3D_FREQ 99% cv0@-256C cpu@48.5C tj@52C"
    " VDD_GPU_SOC 9600mW/9000mW VDD_CPU_CV 1200mW/1100mW VIN_SYS_5V0 4400mW/4300mW VDDQ_VDD2_1V8AO 600mW/500mW"
)

AGX_XAVIER = (
    "RAM 2222/15692MB (lfb 3251x4MB) CPU [1%@1190,1%@1190] EMC_FREQ 0% GR3D_FREQ 0% AO@32.5C GPU@32C Tboard@32C"
    " Tdiode@34.75C PMIC@100C GPU 0/0 CPU 216/216 SOC 864/864 CV 0/0 VDDRQ 144/144 SYS5V 1889/1889"
)
THOR = (
    "RAM 26063/125772MB (lfb 35x4MB) CPU [2%@972] cpu@39.812C tj@39.906C soc012@38.812C"
    " VDD_GPU -392mW/-392mW VDD_CPU_SOC_MSS 3924mW/3835mW VIN_SYS_5V0 5064mW/5055mW VIN 15004mW/15096mW"
)
THOR_LOADED = (
    "RAM 8353/125749MB (lfb 31x4MB) CPU [90%@2601,off] GR3D_FREQ 87%@[1574,1574,1574] cpu@58.25C/61.75C"
    " tj@66.625C/66.625C VDD_GPU 37939mW/8660mW/37939mW"
    " VIN_SYS_5V0 15486mW/7424mW/15486mW VIN 124486mW/36487mW/124486mW"
)


@pytest.mark.parametrize(
    ("line", "watts", "hottest"),
    [
        (fake_jetson.TEGRASTATS, 6.626, 50.562),
        (XAVIER, 3.902, 35.0),
        (NANO, 3.478, 28.0),
        (AGX, 15.2, 52.0),
        (AGX_XAVIER, 3.113, 34.75),
        (THOR, 15.004, 39.906),
        (THOR_LOADED, 124.486, 66.625),
    ],
)
def test_watts_and_heat_are_read_from_every_generations_line(line: str, watts: float, hottest: float) -> None:
    rails, heat = parse_tegrastats(line)
    assert total_watts(rails) == pytest.approx(watts)
    assert heat == hottest


def test_a_rail_that_reads_below_zero_counts_as_it_is() -> None:
    assert parse_tegrastats(THOR)[0]["VDD_GPU"] == -0.392


def test_a_five_volt_rail_alone_is_no_total() -> None:
    assert total_watts({"VDD_GPU": 3.5, "VDD_CPU_SOC_MSS": 7.9, "VIN_SYS_5V0": 7.6}) is None


def test_a_line_that_is_none_gives_nothing() -> None:
    assert parse_tegrastats("RAM 779/7620MB (lf") == ({}, None)
    assert total_watts({}) is None


def test_a_span_without_a_sample_has_no_power(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with Watch() as watched:
        pass
    assert watched.summarize(0.0, 1e12) is None


def test_power_is_the_mean_of_the_samples_of_a_span(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watch()
    watched._samples = [
        watch.Sample(1.0, {"VDD_IN": 5.0}, 40.0),
        watch.Sample(2.0, {"VDD_IN": 7.0}, 44.0),
        watch.Sample(3.0, {"VDD_IN": 90.0}, 99.0),
    ]
    found = watched.summarize(0.5, 2.5)
    assert found == {"samples": 2, "watts": 6.0, "rails": {"VDD_IN": 6.0}, "temperature_celsius": 44.0}


def test_a_jetsons_throttling_is_read_from_its_counters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "sys/class/hwmon/hwmon3/oc1_event_cnt": "4",
        "sys/class/hwmon/hwmon3/oc2_event_cnt": "0",
        "sys/class/thermal/cooling_device0/type": "gpu-throttle-alert",
        "sys/class/thermal/cooling_device0/cur_state": "1",
        "sys/class/thermal/cooling_device1/type": "pwm-fan",
        "sys/class/thermal/cooling_device1/cur_state": "3",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n", encoding="utf-8")
    monkeypatch.setattr(facts, "SYSTEM", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert read_throttling() == {
        "over-current events oc1": 4,
        "over-current events oc2": 0,
        "cooling by gpu-throttle-alert": 1,
    }


def test_a_pis_throttling_is_read_from_its_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "vcgencmd"
    program.write_text("#!/bin/sh\necho throttled=0x50005\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(facts, "SYSTEM", tmp_path)
    found = read_throttling()
    assert (found["under-voltage"], found["throttled"], found["CPU frequency capped"]) == (1, 1, 0)
    assert found["under-voltage since boot"] == 1


@pytest.mark.parametrize(
    ("before", "after", "reasons"),
    [
        ({"over-current events oc1": 4}, {"over-current events oc1": 4}, []),
        ({"over-current events oc1": 4}, {"over-current events oc1": 6}, ["over-current events oc1"]),
        ({"cooling by x": 1}, {"cooling by x": 0}, ["cooling by x"]),
        ({"cooling by x": 1}, {"cooling by x": 1}, ["cooling by x"]),
        ({"throttled since boot": 1}, {"throttled since boot": 1}, []),
        ({"throttled since boot": 0}, {"throttled since boot": 1}, ["throttled since boot"]),
        ({}, {}, []),
    ],
)
def test_only_what_happened_in_between_counts(
    before: dict[str, int], after: dict[str, int], reasons: list[str]
) -> None:
    assert describe_throttling(before, after) == reasons
