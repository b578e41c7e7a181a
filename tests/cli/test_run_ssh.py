"""``compress run --device ssh://…`` against a real sshd: ONNX Runtime for real, TensorRT on a recorded Jetson."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_jetson
import jsonschema
import pytest
import sshd
from small_project import Compress

from compress.devices.names import VARIABLE
from compress.devices.ssh.address import parse_address
from compress.machine import detect_isa
from compress.report.schema import schema_path

LOOSE = ("--max-drop", "40", "--latency-seconds", "1")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sshd.Server]:
    """A server that is not started yet; `lab` is its name among the devices."""
    made = sshd.make_server(tmp_path / "server")
    made.name(tmp_path / "devices.toml", "lab")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "devices.toml"))
    yield made
    made.stop()


@pytest.fixture
def jetson(server: sshd.Server, tmp_path: Path) -> sshd.Server:
    """The server of a recorded Jetson."""
    server.start(fake_jetson.make_jetson(tmp_path / "jetson", sys.executable))
    return server


def clocks(tmp_path: Path) -> str:
    return (tmp_path / "jetson" / "bin" / "clocks.state").read_text(encoding="utf-8").strip()


def read_target(folder: Path) -> dict[str, Any]:
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    jsonschema.validate(report, json.loads(schema_path().read_text(encoding="utf-8")))
    target: dict[str, Any] = report["targets"][0]
    return target


def test_onnx_runtime_is_measured_on_the_board(compress: Compress, project: Path, server: sshd.Server) -> None:
    server.start()
    done = compress("run", "model.onnx", "--target", "cpu", "--device", "lab", *LOOSE)
    assert done.code == 0, done.err + done.out
    target = read_target(project / "model.compressed")
    assert target["device"]["measured_on"] == server.board.device
    assert target["device"]["isa"] == detect_isa()
    assert (target["accuracy"]["measured_on"], target["accuracy"]["samples"]) == ("engine", 400)
    assert target["latency"]["baseline"]["runs"] > 50
    assert target["energy"] is None
    assert 1 << 20 < target["memory"]["compressed_peak"] < 1 << 28
    assert 1 << 20 < target["memory"]["baseline_peak"] < 1 << 28
    assert f"on {server.board.device}" in " ".join(target["engine"]["notes"])
    assert not server.base.exists()
    text = (project / "model.compressed" / "report.md").read_text(encoding="utf-8")
    assert f"measured on the engine on {server.board.device}, 400 samples" in text


def test_tensorrt_is_built_and_measured_on_the_board(
    compress: Compress, project: Path, jetson: sshd.Server, tmp_path: Path
) -> None:
    flags = ("--device-samples", "100", "--lock-clocks", "--max-drop", "40")
    done = compress("run", "model.onnx", "--target", "jetson", "--device", "lab", *flags)
    assert done.code == 0, done.err + done.out
    folder = project / "model.compressed"
    target = read_target(folder)
    assert target["engine"]["kind"] == "tensorrt"
    names = {Path(file["path"]).name for file in target["engine"]["files"]}
    assert names == {"model.engine", "board-report.json", "model.onnx"}
    assert {path.name for path in (folder / "engine" / "jetson-orin-nano").iterdir()} == names
    assert (target["accuracy"]["measured_on"], target["accuracy"]["samples"]) == ("engine", 100)
    assert target["latency"]["speedup"] == pytest.approx(1.98, abs=0.01)
    energy = target["energy"]
    assert energy["compressed_watts"] == pytest.approx(6.626)
    assert energy["compressed_joules"] == pytest.approx(6.626 / 802.4)
    assert energy["baseline_joules"] == pytest.approx(2 * 6.626 / 802.4)
    assert energy["rails"]["VDD_SOC"] == pytest.approx(2.38)
    assert energy["temperature_celsius"] == pytest.approx(50.562)
    notes = " ".join(target["engine"]["notes"])
    assert "L4T R36.4.3; TensorRT 10.3.0; power mode MAXN_SUPER; clocks GPU 306 to 1020 MHz" in notes
    assert "The clocks were locked" in notes
    assert "TensorRT's slowest are `Gemm + relu` 700 µs (88 %)" in notes
    timed = {layer["name"]: layer["seconds"] for layer in target["roofline"]["layers"]}
    assert timed == {"Gemm": pytest.approx(0.0007), "Gemm_1": None}
    assert clocks(tmp_path) == "as they were"
    assert not jetson.base.exists()
    assert "energy an inference" in done.out


def test_an_original_that_the_board_refuses_leaves_the_engines_own_latency(
    compress: Compress, project: Path, jetson: sshd.Server, tmp_path: Path
) -> None:
    program = tmp_path / "jetson" / "bin" / "trtexec"
    program.rename(f"{program}.real")
    text = f'#!/bin/sh\ncase "$*" in *=original.onnx*) exit 1;; esac\nexec {program}.real "$@"\n'
    program.write_text(text, encoding="utf-8")
    program.chmod(0o755)
    flags = ("--device-samples", "20", "--max-drop", "40", "--max-latency", "1s")
    done = compress("run", "model.onnx", "--target", "jetson", "--device", "lab", *flags)
    assert done.code == 13, done.err
    target = read_target(project / "model.compressed")
    assert target["latency"] is None
    notes = " ".join(target["engine"]["notes"])
    assert "Latency of the engine alone: p50 1.23 ms over 110 queries; the original was not measured." in notes
    assert "the original is not measured: trtexec does not build original.engine" in notes


def test_throttled_runs_are_marked_and_left_out(
    compress: Compress, project: Path, jetson: sshd.Server, tmp_path: Path
) -> None:
    # The counter grows while the third run of trtexec is under way.
    program = tmp_path / "jetson" / "bin" / "trtexec"
    counter = tmp_path / "jetson" / "root" / "sys/class/hwmon/hwmon3/oc1_event_cnt"
    calls = tmp_path / "measured"
    wrapper = (
        f'#!/bin/sh\ncase "$*" in *exportTimes*) echo x >> {calls};'
        f' test "$(wc -l < {calls})" = 3 && echo 7 > {counter};; esac\nexec {program}.real "$@"\n'
    )
    program.rename(f"{program}.real")
    program.write_text(wrapper, encoding="utf-8")
    program.chmod(0o755)
    flags = ("--device-samples", "20", "--max-drop", "40")
    done = compress("run", "model.onnx", "--target", "jetson", "--device", "lab", *flags)
    assert done.code in {0, 13}, done.err
    target = read_target(project / "model.compressed")
    assert target["energy"]["throttled"] == ["over-current events oc1"]
    notes = " ".join(target["engine"]["notes"])
    assert "THROTTLED (over-current events oc1) in 1 of 8 runs: those runs are left out of the latency." in notes
    # The third run was one of the compressed engine's four (A B, B A, …): three are left.
    board = json.loads((project / "model.compressed/engine/jetson-orin-nano/board-report.json").read_text())
    assert (len(board["seconds"]["model.engine"]), len(board["seconds"]["original.engine"])) == (330, 440)
    assert "THROTTLED" in done.out


def test_the_clocks_are_given_back_where_the_run_is_killed(
    project: Path, server: sshd.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start(fake_jetson.make_jetson(tmp_path / "jetson", sys.executable, seconds=30.0))
    words = [sys.executable, "-m", "compress", "run", "model.onnx", "--target", "jetson", "--device", "lab"]
    process = subprocess.Popen([*words, "--lock-clocks"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: clocks(tmp_path) == "locked", seconds=90)
    mine = f"{server.base}/edge-compress-run-".encode()
    words_of = {int(path.name): read_words(path) for path in Path("/proc").glob("[0-9]*")}
    agents = [number for number, said in words_of.items() if mine in said and b"board.pyz\0start" in said]
    assert len(agents) == 2
    process.kill()
    process.wait()
    # The agent would wait for the computer to come back: its own end, by SIGKILL, must give the clocks back too.
    for agent in agents:
        os.kill(agent, signal.SIGKILL)
    wait_for(lambda: clocks(tmp_path) == "as they were", seconds=30)


def read_words(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


def wait_for(condition: Any, *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (("--target", "raspberry-pi-5"), 20, "and target raspberry-pi-5 is for a Raspberry Pi 5"),
        (("--target", "rtx-ada"), 2, "target rtx-ada (tensorrt_rtx) is not measured over SSH"),
        (("--target", "jetson"), 20, "target jetson-orin-nano is for a Orin Nano"),
        (("--target", "l4"), 20, "has no trtexec"),
        (("--target", "cpu", "--device", "lap"), 2, "Did you mean `lab`?"),
        (("--target", "cpu", "--device", "ssh://host/path"), 2, "more than user, host and port"),
        (("--target", "cpu", "--device", "local", "--lock-clocks"), 2, "--lock-clocks is for --device ssh://"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_is_written(
    compress: Compress, project: Path, server: sshd.Server, flags: tuple[str, ...], code: int, words: str
) -> None:
    server.start()
    done = compress("run", "model.onnx", "--device", "lab", *flags)
    assert (done.code, words in done.err) == (code, True), done.err
    assert not (project / "model.compressed").exists()


def test_a_board_that_is_off_ends_the_run_before_it_begins(
    compress: Compress, project: Path, server: sshd.Server
) -> None:
    done = compress("run", "model.onnx", "--target", "cpu", "--device", "lab")
    assert done.code == 20
    assert "cannot be reached" in done.err
    assert not (project / "model.compressed").exists()


def test_devices_are_kept_shown_checked_and_forgotten(compress: Compress, jetson: sshd.Server, tmp_path: Path) -> None:
    board = jetson.board
    flags = ("--python", board.python, "--folder", str(board.folder), "--ssh", " ".join(board.ssh))
    done = compress("devices", "add", "orin", board.device, *flags)
    assert done.code == 0, done.err
    assert "next: compress devices check orin" in done.out
    assert "orin" in compress("devices", "list").out
    checked = compress("devices", "check", "orin")
    assert checked.code == 0, checked.err
    for words in ("Cortex-A78AE", "R36", "MAXN_SUPER", "jetson-orin-nano"):
        assert words in checked.out
    again = compress("devices", "add", "orin", board.device)
    assert (again.code, "--replace" in again.err) == (2, True)
    assert compress("devices", "remove", "orin").code == 0
    gone = compress("devices", "remove", "orin")
    assert (gone.code, "no device `orin`" in gone.err) == (2, True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[devices.x]\naddress = 'ssh://h'\npyton = '3'\n", "Did you mean `python`?"),
        ("[devices.x\n", "is not valid TOML"),
        ("[devices.'a b']\naddress = 'ssh://h'\n", "devices"),
        ("[devices.x]\naddress = 'ssh://h'\npython = \"py\\u0000thon\"\n", "[devices.x]: `python`"),
        ("[devices.x]\naddress = 'ssh://h'\nfolder = \"a\\u001b[2J\"\n", "[devices.x]: `folder`"),
    ],
)
def test_a_damaged_file_of_devices_is_told(
    compress: Compress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    (tmp_path / "devices.toml").write_text(text, encoding="utf-8")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "devices.toml"))
    done = compress("devices", "list")
    assert done.code == 2
    assert words in done.err


@pytest.mark.parametrize(
    "address",
    [
        *(
            "pi@host",
            "ssh://",
            "ssh://u:secret@h",
            "ssh://h:port",
            "ssh://-oProxyCommand=x",
            "ssh://-oX@h",
            "ssh://a@-oX",
        ),
        *("ssh://ho\nst", "ssh://h\x1b[2J", "ssh://h ost", "ssh://h;x", "ssh://$h", "ssh://h%20"),
    ],
)
def test_an_address_that_is_none_is_told(
    compress: Compress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "devices.toml"))
    done = compress("devices", "add", "x", address)
    assert done.code == 2
    assert "secret" not in done.err
    assert not (tmp_path / "devices.toml").exists()


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("ssh://Lab:", "Lab", None),
        ("ssh://pi@Lab:22/", "Lab", 22),
        ("ssh://[fe80::1]:2222", "fe80::1", 2222),
        ("ssh://pi@[::1]", "::1", None),
    ],
)
def test_a_hosts_name_is_as_it_was_written(address: str, host: str, port: int | None) -> None:
    board = parse_address(address)
    assert (board.host, board.port) == (host, port)


@pytest.fixture
def run_kit(project: Path, compress: Compress, tmp_path: Path) -> Path:
    """The board-report.json of a kit that ran on a recorded Jetson; the results are in model.compressed."""
    done = compress("run", "model.onnx", "--target", "jetson", "--device-samples", "100", "--max-drop", "40")
    assert done.code == 0, done.err
    assert read_target(project / "model.compressed")["accuracy"]["measured_on"] == "simulated"
    kit = tmp_path / "kit"
    shutil.copytree(project / "model.compressed/engine/jetson-orin-nano", kit)
    environment = fake_jetson.make_jetson(tmp_path / "jetson", sys.executable)
    path = f"{environment['PATH']}:{Path(sys.executable).parent}"
    done_there = subprocess.run(
        [kit / "run.sh", "--lock-clocks"],
        env={**environment, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done_there.returncode == 0, done_there.stderr
    return kit / "board-report.json"


def test_a_kits_report_turns_simulated_into_measured(
    compress: Compress, project: Path, run_kit: Path, tmp_path: Path
) -> None:
    data = ("--data", "evaluation.toml")
    for _ in range(2):  # a second import of the same report changes nothing
        done = compress("report", "model.compressed", "--import", run_kit, *data)
        assert done.code == 0, done.err
        target = read_target(project / "model.compressed")
        assert target["device"]["measured_on"].startswith("board:NVIDIA Jetson Orin Nano")
        assert (target["accuracy"]["measured_on"], target["accuracy"]["samples"]) == ("engine", 100)
        assert target["latency"]["speedup"] == pytest.approx(1.98, abs=0.01)
        assert target["energy"]["compressed_joules"] > 0
        assert sum(note.startswith("Built on the board") for note in target["engine"]["notes"]) == 1
        assert compress("verify", "model.compressed", "--no-run").code == 0
        assert clocks(tmp_path) == "as they were"
    page = (project / "model.compressed" / "report.html").read_text(encoding="utf-8")
    assert "board:NVIDIA Jetson Orin Nano" in page


def test_a_signature_of_the_report_as_it_was_is_removed(compress: Compress, project: Path, run_kit: Path) -> None:
    assert compress("sign", "model.compressed", "--new-key", "key.pem").code == 0
    assert compress("sign", "model.compressed", "--key", "key.pem").code == 0
    done = compress("report", "model.compressed", "--import", run_kit, "--data", "evaluation.toml")
    assert done.code == 0, done.err
    assert "sign again" in done.out
    assert not (project / "model.compressed" / "statement.dsse.json").exists()
    assert compress("verify", "model.compressed", "--no-run").code == 0


def test_a_report_of_another_kit_or_a_damaged_one_is_refused(compress: Compress, project: Path, run_kit: Path) -> None:
    before = (project / "model.compressed" / "report.json").read_bytes()
    content = json.loads(run_kit.read_text(encoding="utf-8"))
    cases = {
        "is of another run": {**content, "kit": {**content["kit"], "model_sha256": "0" * 64}},
        "`schema`": {**content, "schema": "compress.board-report/9"},
        "outputs of other samples": {**content, "outputs": cut_outputs(content["outputs"])},
    }
    for words, changed in cases.items():
        run_kit.write_text(json.dumps(changed), encoding="utf-8")
        done = compress("report", "model.compressed", "--import", run_kit, "--data", "evaluation.toml")
        assert (done.code, words in done.err) == (2, True), done.err
    run_kit.write_text("{", encoding="utf-8")
    done = compress("report", "model.compressed", "--import", run_kit)
    assert (done.code, "is not whole JSON" in done.err) == (2, True)
    done = compress("report", "model.compressed", "--import", "no-such.json")
    assert (done.code, "cannot be read" in done.err) == (2, True)
    assert (project / "model.compressed" / "report.json").read_bytes() == before


def cut_outputs(outputs: dict[str, Any]) -> dict[str, Any]:
    return {name: {"shape": [0, *stored["shape"][1:]], "float32": ""} for name, stored in outputs.items()}


def test_a_folder_that_was_changed_takes_no_report(compress: Compress, project: Path, run_kit: Path) -> None:
    with (project / "model.compressed" / "report.md").open("a", encoding="utf-8") as file:
        file.write("more")
    done = compress("report", "model.compressed", "--import", run_kit, "--data", "evaluation.toml")
    assert (done.code, "is not what the run left: report.md" in done.err) == (2, True)
