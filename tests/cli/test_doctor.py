import importlib.metadata
import json
import re
import tomllib
from pathlib import Path

import pytest

import compress
from compress import machine
from compress.cli import doctor, main
from compress.errors import TargetError
from compress.runtimes import onnxruntime, openvino_plugin, tensorrt, tensorrt_rtx


@pytest.fixture(autouse=True)
def _this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "list_gpus", lambda: (machine.Gpu("NVIDIA L4", "8.9"),))
    monkeypatch.setattr(machine, "detect_isa", lambda: "x86-vnni")


def findings(*absent: str) -> dict[str, doctor.Finding]:
    packages = [doctor.Package(p.name, None if p.name in absent else "1.0", None) for p in doctor.list_packages()]
    return {finding.subject: finding for finding in doctor.examine(packages)}


def test_a_working_machine_exits_zero_and_says_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "NVIDIA L4 (compute capability 8.9)" in text
    assert "ok       cpu: INT8 engines for this CPU (x86-vnni, u8s8) can be built and measured" in text
    assert re.search(r"^onnxruntime +\d", text, re.MULTILINE)


def test_json_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["machine"]["edge-compress"] == compress.__version__
    assert found["findings"][0]["subject"] == "cpu"
    installed = {package["name"]: package["installed"] for package in found["packages"]}
    assert installed["numpy"] == importlib.metadata.version("numpy")


def test_a_missing_requirement_exits_20_with_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = importlib.metadata.version

    def version(name: str) -> str:
        if name == "scipy":
            raise importlib.metadata.PackageNotFoundError(name)
        return known(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert main(["doctor"]) == 20
    text = capsys.readouterr().out
    assert "missing  cpu: needed and not installed: scipy" in text
    assert "mend: pip install --upgrade edge-compress" in text


def test_a_cpu_without_a_dialect_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "detect_isa", lambda: None)
    found = findings()["cpu"]
    assert found.state == "broken"
    assert found.mend is not None
    assert found.mend.startswith("name the device instead")


def test_an_onnx_runtime_that_does_not_load_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ImportError("DLL load failed")

    monkeypatch.setattr(onnxruntime, "open_graph", fail)
    found = findings()["cpu"]
    assert (found.state, found.text) == ("broken", "DLL load failed")
    assert found.mend == "pip install --force-reinstall onnxruntime"


def test_an_onnx_runtime_that_computes_nonsense_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_round_trip", lambda: [1.0, 2.0])
    assert findings()["cpu"].text == "ONNX Runtime computes [1.0, 2.0] for [1, -2]"


@pytest.mark.parametrize("extra", list(doctor.EXTRAS))
def test_a_missing_extra_names_the_command_that_installs_it(extra: str) -> None:
    found = findings(*doctor.EXTRAS[extra])[extra]
    assert (found.state, found.mend) == ("missing", f'pip install "edge-compress[{extra}]"')


def test_a_tensorrt_rtx_that_does_not_import_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_rtx, "find_module", lambda: None)
    found = findings()["rtx"]
    assert (found.state, found.mend) == ("broken", 'pip install "edge-compress[rtx]" --force-reinstall')


def test_the_stub_of_tensorrt_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt, "find_module", lambda: None)
    assert "only a stub" in findings()["tensorrt"].text


def test_an_openvino_plugin_that_does_not_load_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise TargetError("ONNX Runtime cannot load the OpenVINO plugin: no TBB", hint="install it again")

    monkeypatch.setattr(openvino_plugin, "look_for_device", refuse)
    found = findings()["openvino"]
    assert (found.state, found.text, found.mend) == (
        "broken", "ONNX Runtime cannot load the OpenVINO plugin: no TBB", "install it again",
    )  # fmt: skip


def test_an_openvino_plugin_without_a_device_is_idle_and_nothing_is_to_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_plugin, "look_for_device", lambda: None)
    found = findings()["openvino"]
    assert (found.state, found.mend) == ("idle", None)
    assert "lists no device on this CPU" in found.text


def test_another_version_than_the_tested_one_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    packages = [doctor.Package("numpy", "2.0.0", "2.4.6"), doctor.Package("torch", "2.13.0+cpu", "2.13.0")]
    doctor._print({}, packages, [])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split(None, 2) == ["numpy", "2.0.0", "(tested with 2.4.6)"]
    assert lines[2].split() == ["torch", "2.13.0+cpu"]


def test_tested_versions_are_read_by_normalized_name(tmp_path: Path) -> None:
    path = tmp_path / "constraints.txt"
    path.write_text("# a comment\nPillow==13.0.0\nonnx_ir==1.1.0  # why\ntorch==2.13.0+cpu\n", encoding="utf-8")
    assert doctor.read_tested(path) == {"pillow": "13.0.0", "onnx-ir": "1.1.0", "torch": "2.13.0"}
    assert doctor.read_tested(tmp_path / "absent") == {}


def test_the_lists_are_those_of_the_project_file() -> None:
    project = tomllib.loads((Path(doctor.__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]

    def names(requirements: list[str]) -> tuple[str, ...]:
        return tuple(re.split(r"[<>=!~\[; ]", line)[0] for line in requirements)

    assert names(project["dependencies"]) == doctor.REQUIRED
    extras = {name: names(lines) for name, lines in project["optional-dependencies"].items() if name != "dev"}
    assert extras == doctor.EXTRAS


def test_emulation_is_named_with_the_command_that_brings_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = findings()
    assert found["emulated x86_64"].state == "missing"
    assert found["emulated x86_64"].mend == "apt-get install qemu-user-static"
    assert "emulated:cortex-a76" in found["emulated aarch64"].text


def test_emulation_that_works_is_ok(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compress.devices.qemu.plan_launch", lambda cpu: None)
    assert findings()["emulated aarch64"].state == "ok"


def test_boards_over_ssh_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COMPRESS_DEVICES", str(tmp_path / "devices.toml"))
    (tmp_path / "devices.toml").write_text("[devices.my-pi]\naddress = 'ssh://pi@host'\n", encoding="utf-8")
    found = doctor._try_ssh()
    assert (found.state, found.text) == ("ok", "boards are reached with --device ssh://…; by name: my-pi")
    monkeypatch.setenv("COMPRESS_SSH", "/no/ssh")
    found = doctor._try_ssh()
    assert (found.state, "openssh-client" in str(found.mend)) == ("missing", True)
    monkeypatch.setenv("COMPRESS_SSH", "ssh")
    (tmp_path / "devices.toml").write_text("[devices", encoding="utf-8")
    assert doctor._try_ssh().state == "broken"
