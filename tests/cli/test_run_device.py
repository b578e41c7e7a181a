"""``compress run --device``: everything but the emulation itself runs here, on this machine's own CPU."""

import json
import sys
from pathlib import Path

import jsonschema
import pytest
from small_project import Compress

from compress.devices.qemu import Launch
from compress.errors import TargetError
from compress.report.schema import schema_path

DEVICE = ("--device", "emulated:haswell")


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start this interpreter where QEMU would be started."""
    launch = Launch((sys.executable, "-P"))
    monkeypatch.setattr("compress.options.plan_launch", lambda cpu: launch)
    monkeypatch.setattr("compress.devices.session.plan_launch", lambda cpu: launch)
    monkeypatch.setattr("compress.devices.facts.qemu_version", lambda cpu: "7.2.22")


@pytest.mark.usefixtures("emulator")
def test_the_accuracy_is_that_device_s_on_few_samples_and_latency_is_not_measured(
    compress: Compress, project: Path
) -> None:
    flags = ("--max-drop", "20", "--device-samples", "40")
    done = compress("run", "model.onnx", "--target", "cpu", *DEVICE, *flags)
    assert done.code == 0, done.err + done.out
    report = json.loads((project / "model.compressed" / "report.json").read_text())
    jsonschema.validate(report, json.loads(schema_path().read_text()))
    target = report["targets"][0]
    assert target["dialect"] == "u8s8-7bit"
    assert (target["device"]["measured_on"], target["device"]["isa"]) == ("emulated:haswell", "x86-avx2")
    assert (target["accuracy"]["measured_on"], target["accuracy"]["samples"]) == ("engine", 40)
    assert target["latency"] is None
    assert "40 of 400 evaluation samples" in " ".join(target["engine"]["notes"])
    assert "40 samples, measured on the engine on emulated:haswell" in target["verdict"]["reasons"][0]
    text = (project / "model.compressed" / "report.md").read_text()
    assert "measured on the engine on emulated:haswell, 40 samples" in text
    assert "not measured (emulated)" in text


@pytest.mark.usefixtures("emulator")
def test_a_limit_on_latency_cannot_be_judged_there(compress: Compress, project: Path) -> None:
    done = compress("run", "model.onnx", "--target", "x86-avx2", *DEVICE, "--max-drop", "50", "--max-latency", "1s")
    assert done.code == 13
    assert "none was measured" in done.out.replace("\n", " ")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--target", "cpu", "--device", "emulated:haswel"), "Did you mean `emulated:haswell`?"),
        (("--target", "x86-vnni", *DEVICE), "--target cpu or x86-avx2"),
        (("--target", "cpu", "--device-samples", "0"), "--device-samples 1"),
    ],
)
@pytest.mark.usefixtures("emulator")
def test_what_makes_no_sense_is_told_before_anything_is_written(
    compress: Compress, project: Path, flags: tuple[str, ...], words: str
) -> None:
    done = compress("run", "model.onnx", *flags)
    assert done.code == 2
    assert words in done.err
    assert not (project / "model.compressed").exists()


def test_without_an_emulator_the_code_is_20(compress: Compress, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(cpu: object) -> None:
        raise TargetError("emulated:haswell needs QEMU", hint="apt-get install qemu-user-static")

    monkeypatch.setattr("compress.options.plan_launch", missing)
    done = compress("run", "model.onnx", "--target", "cpu", *DEVICE)
    assert done.code == 20
    assert "hint: apt-get install qemu-user-static" in done.err
    assert not (project / "model.compressed").exists()
