import hashlib
import sys
from pathlib import Path
from types import ModuleType

import fake_tensorrt
import pytest
from qdq_graphs import Sketch, residual_net

from compress import machine
from compress.errors import TargetError
from compress.runtimes import tensorrt as runtime
from compress.runtimes import tensorrt_rtx
from compress.runtimes.build_settings import BuildSettings
from compress.runtimes.tensorrt_builder import Built, CompilationError
from compress.targets import load_target


@pytest.fixture(autouse=True)
def _bare_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "list_gpus", tuple)
    monkeypatch.setattr(machine, "board_name", lambda: None)


@pytest.fixture
def on_a_t4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "list_gpus", lambda: (machine.Gpu("Tesla T4", "7.5"),))


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt.as_module())


def test_without_the_device_a_kit_is_promised() -> None:
    found = runtime.available(load_target("jetson"))
    assert (found.build, found.run, found.kit) == (False, False, True)
    assert found.reason == "no GPU of compute capability 8.7 here: a build kit is written for the device"


@pytest.mark.usefixtures("on_a_t4", "installed")
def test_with_the_gpu_and_tensorrt_everything_is_possible() -> None:
    found = runtime.available(load_target("t4"))
    assert (found.build, found.run, found.versions["tensorrt"]) == (True, True, "10.3.0")
    assert not runtime.available(load_target("l4")).build


@pytest.mark.usefixtures("on_a_t4")
def test_the_stub_of_that_name_counts_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", ModuleType("tensorrt"))
    found = runtime.available(load_target("t4"))
    assert (found.build, found.kit, found.hint) == (False, True, 'pip install "edge-compress[tensorrt]"')


def test_a_library_that_does_not_load_counts_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> ModuleType:
        raise OSError("libnvinfer.so.10: cannot open shared object file")

    monkeypatch.setattr("importlib.import_module", fail)
    assert runtime.find_module() is None


@pytest.mark.usefixtures("installed")
def test_a_jetson_is_known_by_its_board(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "board_name", lambda: "NVIDIA Jetson Orin Nano Developer Kit")
    assert runtime.available(load_target("jetson")).build
    assert not runtime.available(load_target("jetson-orin-nx")).build


@pytest.mark.usefixtures("on_a_t4", "installed")
def test_on_the_device_an_engine_is_built(folder: Path) -> None:
    engine = runtime.build(residual_net(), load_target("t4"), folder)
    assert (engine.kind, engine.main.read_bytes(), engine.versions) == ("tensorrt", b"plan", {"tensorrt": "10.3.0"})
    assert engine.log == ("a warning of two lines",)
    assert engine.notes[0].endswith("to 4 bytes, of which 640 are weights and the rest GPU code.")
    with pytest.raises(TargetError, match="needs an NVIDIA GPU"):
        runtime.open(engine, threads=1)


@pytest.mark.usefixtures("on_a_t4", "installed")
def test_the_timing_cache_is_an_input_with_a_digest_and_a_file_beside_the_engine(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "t4.cache"
    cache.write_bytes(b"known")
    engine = runtime.build(residual_net(), load_target("t4"), folder, BuildSettings(timing_cache=cache))
    digest = hashlib.sha256(b"known").hexdigest()
    assert engine.versions["timing_cache"] == f"sha256:{digest}"
    assert engine.notes[-1] == (
        f"Timing cache t4.cache was read (5 bytes, SHA-256 {digest[:12]}…);"
        " timing.cache beside the engine has what this build knows (12 bytes): copy it over for the next one."
    )
    assert cache.read_bytes() == b"known"
    assert (folder / "timing.cache").read_bytes() == b"known+kernel"
    assert folder / "timing.cache" in {file.path for file in engine.files}


@pytest.mark.usefixtures("on_a_t4", "installed")
def test_a_target_without_dla_says_which_have_one(folder: Path) -> None:
    with pytest.raises(TargetError, match="target t4 has no deep learning accelerator") as caught:
        runtime.build(residual_net(), load_target("t4"), folder, BuildSettings(dla=True))
    assert caught.value.hint is not None
    assert caught.value.hint.endswith("jetson-agx-orin, jetson-orin-nx")


def test_a_kit_for_the_dla_tells_what_falls_back(folder: Path) -> None:
    target = load_target("jetson-orin-nx").model_copy(update={"nearest": None})
    engine = runtime.build(residual_net(), target, folder, BuildSettings(dla=True))
    assert engine.notes[1:3] == (
        "Shapes: x 1×2×8×8.",
        "DLA: none of 22 nodes would run on it by NVIDIA's documents; it works in float16: use --recipe fp16.",
    )
    assert engine.notes[3].startswith("DLA: nodes `QuantizeLinear_0`, `QuantizeLinear_5`,")
    assert "TensorRT 10 takes no Q/DQ to the DLA: falls back to the GPU" in engine.notes[3]
    assert "DLA: node `Relu_4`: works in float32, and the DLA in float16: falls back to the GPU" in engine.log
    assert (
        "DLA: node `Conv_3`: int8 by Q/DQ, which TensorRT 10 does not take to the DLA: falls back to the GPU"
        in engine.log
    )


@pytest.mark.usefixtures("on_a_t4", "installed")
def test_an_engine_is_not_opened_once_tensorrt_is_gone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = runtime.build(residual_net(), load_target("t4"), folder)
    monkeypatch.setitem(sys.modules, "tensorrt", ModuleType("tensorrt"))
    with pytest.raises(TargetError, match="TensorRT is not installed"):
        runtime.open(engine, threads=1)


@pytest.mark.rtx
def test_a_kit_comes_with_a_proof_and_without_its_engine(folder: Path) -> None:
    engine = runtime.build(residual_net(), load_target("jetson"), folder)
    assert engine.kind == "build-kit"
    assert engine.main == folder / "run.sh"
    assert engine.size() == (folder / "model.onnx").stat().st_size
    assert list(folder.glob("*.engine")) == []
    assert "takes the graph for compute capability 8.6, the nearest it knows to 8.7." in engine.notes[1]
    assert "was not kept" in engine.notes[1]
    with pytest.raises(TargetError, match="the engine for jetson-orin-nano is a build kit") as caught:
        runtime.open(engine, threads=1)
    assert caught.value.hint == "copy engine/ to the device and run run.sh there"


@pytest.mark.rtx
def test_a_kit_for_turing_keeps_float32_products_though_the_proof_cannot(folder: Path) -> None:
    engine = runtime.build(residual_net(), load_target("t4"), folder)
    assert engine.graph.read_bytes() == residual_net().to_bytes()
    assert engine.notes[2].startswith("TensorRT-RTX has no float32 matrix product on Turing")


@pytest.mark.rtx
def test_a_graph_that_the_parser_refuses_gets_no_kit(folder: Path) -> None:
    s = Sketch(["batch", 4])
    model = s.finish(s.node("Det", s.node("Reshape", "x", s.constant([-1, 2, 2], "int64"))), ["batch"])
    with pytest.raises(TargetError, match="target jetson-orin-nano: node `Det_1`: Det is not"):
        runtime.build(model, load_target("jetson"), folder)
    assert list(folder.iterdir()) == []


def test_asymmetric_activations_get_no_kit(folder: Path) -> None:
    with pytest.raises(TargetError, match="its zero point is uint8"):
        runtime.build(residual_net(dtype="uint8", zero_point=9), load_target("jetson"), folder)
    assert list(folder.iterdir()) == []


def prove_nothing(*_: object) -> Built | None:
    return None


def test_without_tensorrt_rtx_the_kit_says_that_it_is_not_proven(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_rtx, "prove", prove_nothing)
    engine = runtime.build(residual_net(), load_target("jetson"), folder)
    assert engine.notes[1] == 'Not proven: TensorRT-RTX is not installed (pip install "edge-compress[rtx]").'


def test_a_compiler_that_refuses_is_noted_not_final(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise CompilationError("the compiler refuses the graph: FP32 GEMM is not supported")

    monkeypatch.setattr(tensorrt_rtx, "prove", refuse)
    engine = runtime.build(residual_net(), load_target("jetson"), folder)
    assert engine.notes[1].startswith("NOT proven: TensorRT-RTX does not compile it for compute capability 8.6")


def test_a_target_with_nothing_near_says_so(folder: Path) -> None:
    target = load_target("jetson").model_copy(update={"nearest": None})
    engine = runtime.build(residual_net(), target, folder)
    assert engine.notes[1] == "Not proven: no architecture that TensorRT-RTX knows is near this one."
