"""The kit's script, run as the board runs it: in a process of its own, with nothing but its folder and trtexec."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import fake_tensorrt
import fake_trtexec
import pytest
from onnx import TensorProto
from qdq_graphs import Sketch, residual_net

from compress.board import facts, trtexec
from compress.board import kit as board_kit
from compress.runtimes.build_settings import BuildSettings
from compress.runtimes.kit import write_kit
from compress.targets import load_target


@pytest.fixture
def kit(folder: Path) -> Path:
    write_kit(residual_net(), load_target("jetson"), folder)
    return folder


def run_kit(kit: Path, programs: Path | None) -> subprocess.CompletedProcess[str]:
    """Run run.sh with only a fake trtexec (or none) and the system's programs on PATH."""
    path = os.pathsep.join(
        [*([str(programs)] if programs else []), str(Path(sys.executable).parent), "/usr/bin", "/bin"]
    )
    return subprocess.run([kit / "run.sh"], env={"PATH": path}, capture_output=True, text=True, check=False)


def run_here(kit: Path, programs: Path) -> int:
    """Run the script in this process, so that its lines are counted; return the exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(programs))
        patch.chdir(kit)
        return board_kit.main([])


def read_report(kit: Path) -> dict[str, Any]:
    report = json.loads((kit / "board-report.json").read_text(encoding="utf-8"))
    assert isinstance(report, dict)
    return report


def read_calls(kit: Path) -> list[list[str]]:
    return [json.loads(line) for line in (kit / "calls.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_kit_builds_measures_and_reports(kit: Path, tmp_path: Path) -> None:
    fake_trtexec.install(tmp_path / "bin", sys.executable)
    done = run_kit(kit, tmp_path / "bin")
    assert done.returncode == 0, done.stderr
    report = read_report(kit)
    assert json.loads(done.stdout) == {key: value for key, value in report.items() if key not in ("outputs", "seconds")}
    assert report["schema"] == "compress.board-report/1"
    assert report["kit"]["target"] == "jetson-orin-nano"
    assert report["kit"]["model_sha256"] == hashlib.sha256((kit / "model.onnx").read_bytes()).hexdigest()
    assert report["board"]["tensorrt"] == "10.3.0"
    engine = (kit / "model.engine").read_bytes()
    assert report["engine"]["sha256"] == hashlib.sha256(engine).hexdigest()
    assert report["engine"]["bytes"] == len(engine)
    assert report["engine"]["built_with"] == "trtexec"
    latency = report["latency"]
    # Of 120 queries in the trace the first ten ran in the warm-up's second.
    assert (latency["runs"], latency["batch"], latency["throughput"]) == (110, 1, 802.4)
    assert latency["min"] == pytest.approx(1.22e-3)
    assert latency["max"] == pytest.approx(1.239e-3)
    assert latency["p50"] == pytest.approx(1.23e-3)
    assert latency["gpu_p50"] == pytest.approx(latency["p50"] - 0.02e-3)
    assert len(report["seconds"]["model.engine"]) == 110
    assert (latency["watts"], latency["joules"], report["original"]) == (None, None, None)
    assert report["notes"] == ["trtexec: GPU compute time is unstable, with coefficient of variance = 3.1%."]


def test_the_engine_is_built_strongly_typed_with_the_batch_range(kit: Path, tmp_path: Path) -> None:
    fake_trtexec.install(tmp_path / "bin", sys.executable)
    assert run_here(kit, tmp_path / "bin") == 0
    build = read_calls(kit)[1]
    assert "--stronglyTyped" in build
    assert "--memPoolSize=workspace:2048" in build
    assert build[-3:] == ["--minShapes=x:1x2x8x8", "--optShapes=x:1x2x8x8", "--maxShapes=x:16x2x8x8"]
    assert "--shapes=x:1x2x8x8" in read_calls(kit)[2]


def test_a_trtexec_that_is_always_strongly_typed_is_not_given_the_flag(kit: Path, tmp_path: Path) -> None:
    fake_trtexec.install(tmp_path / "bin", sys.executable, typed=False, weak=False, version="110400")
    assert run_here(kit, tmp_path / "bin") == 0
    assert "--stronglyTyped" not in read_calls(kit)[1]
    assert read_report(kit)["board"]["tensorrt"] == "11.4.0"


def write_dla_kit(folder: Path) -> Path:
    """A kit for the DLA: float16 but for one layer, whose sum would overflow."""
    s = Sketch([1, 4, 8, 8], dtype=TensorProto.FLOAT16)
    wide = s.node("Cast", s.node("Relu", "x"), to=TensorProto.FLOAT)
    narrow = s.node("Cast", s.node("Mul", wide, wide), to=TensorProto.FLOAT16)
    model = s.finish(narrow, [1, 4, 8, 8], dtype=TensorProto.FLOAT16)
    write_kit(model, load_target("jetson-agx-orin"), folder, BuildSettings(dla=True))
    return folder


def test_for_the_dla_trtexec_10_builds_weakly_typed_and_float32_layers_stay(folder: Path, tmp_path: Path) -> None:
    fake_trtexec.install(tmp_path / "bin", sys.executable)
    assert run_here(write_dla_kit(folder), tmp_path / "bin") == 0
    build = read_calls(folder)[1]
    assert "--stronglyTyped" not in build
    assert build[build.index("--useDLACore=0") :] == [
        "--useDLACore=0",
        "--allowGPUFallback",
        "--fp16",
        "--precisionConstraints=prefer",
        "--layerPrecisions=Mul_2:fp32",
        "--layerOutputTypes=Mul_2:fp32",
    ]


def test_for_the_dla_trtexec_11_is_strongly_typed_as_ever(folder: Path, tmp_path: Path) -> None:
    fake_trtexec.install(tmp_path / "bin", sys.executable, weak=False, version="110401")
    assert run_here(write_dla_kit(folder), tmp_path / "bin") == 0
    build = read_calls(folder)[1]
    assert "--stronglyTyped" in build
    assert build[-2:] == ["--useDLACore=0", "--allowGPUFallback"]


def test_a_refused_graph_is_told_with_trtexecs_first_error(kit: Path, tmp_path: Path) -> None:
    fake_trtexec.install(tmp_path / "bin", sys.executable, refuses=True)
    done = run_kit(kit, tmp_path / "bin")
    assert done.returncode == 20
    assert "trtexec does not build model.engine: Error[4]: ITensor::getDimensions" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (kit / "board-report.json").exists()


@pytest.mark.parametrize(
    ("crashes", "summary", "note"), [(True, True, "failed to run it"), (False, False, "no performance summary")]
)
def test_an_engine_that_cannot_be_timed_is_reported_without_latency(
    kit: Path, tmp_path: Path, crashes: bool, summary: bool, note: str
) -> None:
    fake_trtexec.install(tmp_path / "bin", sys.executable, crashes=crashes, summary=summary)
    assert run_here(kit, tmp_path / "bin") == 0
    report = read_report(kit)
    assert report["latency"] is None
    assert note in report["notes"][0]


def test_a_changed_graph_is_refused(kit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fake_trtexec.install(tmp_path / "bin", sys.executable)
    with (kit / "model.onnx").open("ab") as file:
        file.write(b"more")
    assert run_here(kit, tmp_path / "bin") == 20
    assert "is not the file of this kit" in capsys.readouterr().err
    assert not (kit / "calls.jsonl").exists()


def test_a_refusal_without_a_word_points_to_the_log(
    kit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "bin" / "trtexec"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    program.chmod(0o755)
    assert run_here(kit, tmp_path / "bin") == 20
    assert "trtexec does not build model.engine: see build.log" in capsys.readouterr().err


def test_without_tensorrt_the_board_is_told_what_to_install(kit: Path) -> None:
    done = run_kit(kit, None)
    assert done.returncode == 20
    assert (
        "neither trtexec (/usr/src/tensorrt/bin/trtexec) nor the Python module tensorrt: install JetPack" in done.stderr
    )


def test_integer_inputs_are_zeros_not_random_numbers(folder: Path, tmp_path: Path) -> None:
    s = Sketch(["batch", 8], dtype=TensorProto.INT64)
    model = s.finish(s.node("Cast", "x", to=1), ["batch", 8])
    write_kit(model, load_target("jetson"), folder)
    fake_trtexec.install(tmp_path / "bin", sys.executable)
    assert run_here(folder, tmp_path / "bin") == 0
    assert "--loadInputs=x:zeros-x.bin" in read_calls(folder)[2]
    assert (folder / "zeros-x.bin").read_bytes() == bytes(64)


def test_fixed_shapes_need_no_shape_flags(folder: Path, tmp_path: Path) -> None:
    s = Sketch([1, 3])
    write_kit(s.finish(s.node("Relu", "x"), [1, 3]), load_target("jetson"), folder)
    fake_trtexec.install(tmp_path / "bin", sys.executable)
    assert run_here(folder, tmp_path / "bin") == 0
    assert not any("Shapes" in argument or "--shapes" in argument for call in read_calls(folder) for argument in call)


def test_names_with_special_characters_are_quoted_for_trtexec() -> None:
    assert [trtexec.quote(name) for name in ("image", "a/b.c", "image:0")] == ["image", "a/b.c", "'image:0'"]


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v100300] # x", "10.3.0"),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v101303] # x", "10.13.3"),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v8602] # x", "8.6.2"),
        ("nothing", None),
    ],
)
def test_tensorrts_version_is_read_from_trtexecs_first_line(line: str, version: str | None) -> None:
    assert trtexec.read_version(line) == version


def test_without_trtexec_the_python_module_builds(kit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt.as_module())
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr(trtexec, "TRTEXEC", "/nowhere/trtexec")
    monkeypatch.chdir(kit)
    assert board_kit.main([]) == 0
    report = read_report(kit)
    assert (report["engine"]["built_with"], report["board"]["tensorrt"]) == ("python", "10.3.0")
    assert report["latency"] is None
    assert report["notes"] == ["trtexec was not found: latency is not measured"]
    assert fake_tensorrt.Builder.last is not None
    assert fake_tensorrt.Builder.last[1].profiles[0].shapes["x"][2] == [16, 2, 8, 8]


@pytest.fixture
def without_trtexec(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Only the Python module is there; the kit's folder is the current one."""
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt.as_module())
    monkeypatch.setattr(trtexec, "find_trtexec", lambda: None)
    monkeypatch.chdir(folder)


def write_cached_kit(folder: Path, cache: bytes) -> None:
    source = folder.parent / "orin.cache"
    source.write_bytes(cache)
    write_kit(residual_net(), load_target("jetson"), folder, BuildSettings(timing_cache=source))


@pytest.mark.usefixtures("without_trtexec")
@pytest.mark.parametrize(("before", "after"), [(b"known", b"known+kernel"), (b"", b"+kernel")])
def test_the_python_module_reads_and_writes_the_timing_cache(folder: Path, before: bytes, after: bytes) -> None:
    write_cached_kit(folder, before)
    assert board_kit.main([]) == 0
    assert (folder / "timing.cache").read_bytes() == after


@pytest.mark.usefixtures("without_trtexec")
@pytest.mark.parametrize("content", [b"damaged", b"other GPU"])
def test_a_timing_cache_that_does_not_fit_is_refused_and_left(
    folder: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    write_cached_kit(folder, content)
    assert board_kit.main([]) == 20
    assert "TensorRT does not take timing.cache: it was made by another version" in capsys.readouterr().err
    assert (folder / "timing.cache").read_bytes() == content


@pytest.mark.usefixtures("without_trtexec")
def test_without_a_timing_cache_none_is_made(folder: Path) -> None:
    write_kit(residual_net(), load_target("jetson"), folder)
    assert board_kit.main([]) == 0
    assert not (folder / "timing.cache").exists()
    assert fake_tensorrt.Builder.last is not None
    assert fake_tensorrt.Builder.last[1].cache is None


@pytest.mark.usefixtures("without_trtexec")
def test_for_the_dla_the_python_module_builds_weakly_typed_too(folder: Path) -> None:
    write_dla_kit(folder)
    assert board_kit.main([]) == 0
    assert fake_tensorrt.Builder.last is not None
    network, config = fake_tensorrt.Builder.last
    assert network.flags == 0
    assert config.default_device_type == fake_tensorrt.DeviceType.DLA
    assert [layer.name for layer in network.layers if layer.precision] == ["Mul_2"]


def test_the_python_modules_refusal_is_told(
    kit: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt.as_module())
    monkeypatch.setattr(trtexec, "find_trtexec", lambda: None)
    monkeypatch.setattr(fake_tensorrt.Builder, "refusal", "no")
    monkeypatch.chdir(kit)
    assert board_kit.main([]) == 20
    assert "TensorRT does not build the engine" in capsys.readouterr().err


def test_trtexec_is_found_where_jetpack_puts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = fake_trtexec.install(tmp_path / "jetpack", sys.executable)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(trtexec, "TRTEXEC", str(program))
    assert trtexec.find_trtexec() == str(program)


@pytest.mark.parametrize(
    ("said", "mode"),
    [
        ("NV Power Mode: 15W\n0\n", "15W"),
        (
            "NV Fan Mode:quiet\nNV Power Mode: MODE_15W_DESKTOP\n7\nNVPM ERROR: failed to read PARAM EMC\n",
            "MODE_15W_DESKTOP",
        ),
        ("NVPM WARN: fan mode is not set!\nNV Power Mode: MAXN\n0\n", "MAXN"),
        ("NVPM ERROR: no config\n", None),
    ],
)
def test_the_power_mode_is_what_nvpmodel_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, mode: str | None
) -> None:
    program = tmp_path / "nvpmodel"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{said}END\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert facts.describe_board(None)["power_mode"] == mode
