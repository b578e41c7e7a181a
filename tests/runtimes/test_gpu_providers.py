"""The options of GPU providers, put together for an ONNX Runtime that merely lists them: nothing here ran on a GPU."""

import json
import sys
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import onnxruntime
import pytest
from onnx import TensorProto
from qdq_graphs import Sketch, residual_net

from compress import machine
from compress.errors import TargetError
from compress.runtimes import gpu_providers, load_runtime
from compress.runtimes import onnxruntime_gpu as runtime
from compress.runtimes.build_settings import BuildSettings, SizeRange
from compress.runtimes.gpu_providers import PROVIDERS, list_devices, provider_options, require_provider
from compress.runtimes.shape_profile import ShapeRange
from compress.targets import Target, load_target

SHAPES = {"x": ShapeRange((1, 2, 8, 8), (1, 2, 8, 8), (16, 2, 8, 8)), "ids": ShapeRange((1, 1), (1, 128), (16, 512))}
RTX = PROVIDERS["tensorrt_rtx"]
CUDA = Target(
    name="probe", description="", runtime="onnxruntime_gpu", provider="cuda", compute_capability="8.9",
    precisions=("float32",),
)  # fmt: skip


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "list_gpus", tuple)
    monkeypatch.setattr(gpu_providers, "_register", cache(gpu_providers._register.__wrapped__))


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    """Every built-in provider is listed, and sessions are written down instead of opened."""
    opened: list[SimpleNamespace] = []

    def open_session(graph: Path, options: Any, *, providers: Any = None) -> SimpleNamespace:
        names = [name if isinstance(name, str) else name[0] for name in providers or [RTX.name]]
        session = SimpleNamespace(
            graph=graph, options=options, providers=providers, get_providers=lambda: names, get_outputs=list
        )
        opened.append(session)
        return session

    names = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    monkeypatch.setattr(onnxruntime, "InferenceSession", open_session)
    return opened


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The plugin's package is there, and ONNX Runtime loads whatever library it names."""
    registered: list[tuple[str, str]] = []
    module = ModuleType(str(RTX.plugin))
    module.__dict__["get_library_path"] = lambda: "plugin.so"
    module.__spec__ = SimpleNamespace(name=RTX.plugin)  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, str(RTX.plugin), module)
    monkeypatch.setattr(onnxruntime, "register_execution_provider_library", lambda *given: registered.append(given))
    return registered


def test_what_is_not_built_in_is_named_with_the_commands_that_install_it() -> None:
    found = runtime.available(load_target("l4-onnxruntime"))
    assert (found.build, found.run) == (True, False)
    assert found.reason == (
        f"this ONNX Runtime ({onnxruntime.__version__}) was built without the TensorRT execution provider"
        " (TensorrtExecutionProvider)"
    )
    assert found.hint == "pip uninstall onnxruntime && pip install onnxruntime-gpu tensorrt"
    assert runtime.available(CUDA).hint == "pip uninstall onnxruntime && pip install onnxruntime-gpu"


def test_a_plugin_that_is_not_installed_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, str(RTX.plugin), None)
    found = runtime.available(load_target("rtx-onnxruntime"))
    assert (found.run, found.reason) == (False, "the TensorRT-RTX execution provider is not installed")
    assert found.hint == "pip install onnxruntime-ep-nv-tensorrt-rtx"


@pytest.mark.parametrize(
    ("error", "reason", "hint"),
    [
        ("Failed to load library /a/plugin.so with error: libcuda.so.1: cannot open shared object file",
         "libcuda.so.1: cannot open shared object file", "install NVIDIA's driver"),
        ("an older\n interface", "an older interface", "pip install onnxruntime-ep-nv-tensorrt-rtx"),
    ],
)  # fmt: skip
def test_a_plugin_that_does_not_load_says_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch, plugin: list[tuple[str, str]], error: str, reason: str, hint: str
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(error)

    monkeypatch.setattr(onnxruntime, "register_execution_provider_library", fail)
    with pytest.raises(TargetError) as caught:
        require_provider(RTX)
    assert caught.value.message == f"ONNX Runtime cannot load the TensorRT-RTX execution provider: {reason}"
    assert caught.value.hint == hint
    assert plugin == []


def test_a_plugin_is_registered_once_and_its_gpus_are_found(
    monkeypatch: pytest.MonkeyPatch, plugin: list[tuple[str, str]]
) -> None:
    with pytest.raises(TargetError, match="lists no GPU here"):
        list_devices(RTX)
    mine = SimpleNamespace(ep_name=RTX.name)
    monkeypatch.setattr(onnxruntime, "get_ep_devices", lambda: [SimpleNamespace(ep_name="other"), mine])
    assert list_devices(RTX) == [mine]
    assert plugin == [(RTX.name, "plugin.so")]


@pytest.mark.usefixtures("listed")
def test_it_runs_only_on_the_target_s_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    target = load_target("l4-onnxruntime")
    assert runtime.available(target).reason == (
        "no GPU of compute capability 8.9 here: an engine is written, and cannot be measured"
    )
    monkeypatch.setattr(machine, "list_gpus", lambda: (machine.Gpu("NVIDIA L4", "8.9"),))
    assert runtime.available(target).run


def test_tensorrt_is_told_shapes_workspace_and_which_types_the_graph_has() -> None:
    options = provider_options(PROVIDERS["tensorrt"], residual_net(), SHAPES, 4096)
    assert options == {
        "device_id": "0",
        "trt_profile_min_shapes": "x:1x2x8x8,ids:1x1",
        "trt_profile_opt_shapes": "x:1x2x8x8,ids:1x128",
        "trt_profile_max_shapes": "x:16x2x8x8,ids:16x512",
        "trt_max_workspace_size": "1024",
        "trt_int8_enable": "1",
        "trt_fp16_enable": "0",
    }


def test_float16_is_allowed_where_the_graph_casts_to_it() -> None:
    s = Sketch(["batch", 4])
    half = s.node("Relu", s.node("Cast", "x", to=TensorProto.FLOAT16))
    model = s.finish(s.node("Cast", half, to=TensorProto.FLOAT), ["batch", 4])
    options = provider_options(PROVIDERS["tensorrt"], model, {}, None)
    assert options == {"device_id": "0", "trt_int8_enable": "0", "trt_fp16_enable": "1"}


def test_tensorrt_rtx_reads_types_from_the_graph() -> None:
    assert provider_options(RTX, residual_net(), {"x": SHAPES["x"]}, None) == {
        "device_id": "0",
        "nv_profile_min_shapes": "x:1x2x8x8",
        "nv_profile_opt_shapes": "x:1x2x8x8",
        "nv_profile_max_shapes": "x:16x2x8x8",
    }


def test_cuda_needs_no_shapes() -> None:
    assert provider_options(PROVIDERS["cuda"], residual_net(), SHAPES, 4096) == {"device_id": "0"}


def test_an_engine_is_the_graph_and_what_the_provider_is_told(folder: Path) -> None:
    engine = runtime.build(residual_net(), load_target("rtx-onnxruntime"), folder)
    assert (engine.kind, engine.main, engine.main.read_bytes()) == ("onnx", engine.graph, residual_net().to_bytes())
    told = json.loads((folder / "provider.json").read_text(encoding="utf-8"))
    assert told["provider"] == "tensorrt_rtx"
    assert told["options"]["nv_profile_max_shapes"] == "x:16x2x8x8"
    assert {file.path for file in engine.files} == {folder / "model.onnx", folder / "provider.json"}
    assert engine.notes == ("NvTensorRTRTXExecutionProvider runs it with the options in provider.json.",)


def test_stated_ranges_reach_the_provider(folder: Path) -> None:
    s = Sketch(["batch", "sequence"])
    model = s.finish(s.node("Relu", "x"), ["batch", "sequence"])
    with pytest.raises(TargetError, match=r"axis 1 \(`sequence`\) is dynamic"):
        runtime.build(model, load_target("l4-onnxruntime"), folder)
    settings = BuildSettings({"sequence": SizeRange(min=1, opt=128, max=512)})
    engine = runtime.build(model, load_target("l4-onnxruntime"), folder, settings)
    told = json.loads((folder / "provider.json").read_text(encoding="utf-8"))
    assert told["options"]["trt_profile_opt_shapes"] == "x:1x128"
    assert engine.notes[-1] == "Shapes: x 1×1 to 16×512, best at 1×128."


def test_what_tensorrt_refuses_is_refused_before_anything_is_written(folder: Path) -> None:
    with pytest.raises(TargetError, match="its zero point is uint8"):
        runtime.build(residual_net(dtype="uint8", zero_point=9), load_target("rtx-onnxruntime"), folder)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("target", [load_target("l4-onnxruntime"), CUDA], ids=lambda target: target.provider)
def test_a_session_gets_the_provider_first_and_the_cpu_for_the_rest(
    folder: Path, listed: list[SimpleNamespace], target: Target
) -> None:
    engine = load_runtime("onnxruntime_gpu").build(residual_net(), target, folder)
    runtime.open(engine, threads=3)
    (first, options), second = listed[0].providers
    assert (first, second) == (PROVIDERS[str(target.provider)].name, "CPUExecutionProvider")  # type: ignore[index]
    assert options == json.loads((folder / "provider.json").read_text(encoding="utf-8"))["options"]
    assert (listed[0].graph, listed[0].options.intra_op_num_threads) == (engine.main, 3)


def test_a_plugin_s_session_is_opened_on_its_first_gpu(
    folder: Path, listed: list[SimpleNamespace], plugin: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    added: list[object] = []
    devices = [SimpleNamespace(ep_name=RTX.name, number=number) for number in range(2)]
    options = SimpleNamespace(add_provider_for_devices=lambda *given: added.append(given))
    monkeypatch.setattr(onnxruntime, "get_ep_devices", lambda: devices)
    monkeypatch.setattr(onnxruntime, "SessionOptions", lambda: options)
    runtime.open(runtime.build(residual_net(), load_target("rtx-onnxruntime"), folder), threads=1)
    told = json.loads((folder / "provider.json").read_text(encoding="utf-8"))["options"]
    assert added == [(devices[:1], told)]
    assert listed[0].providers is None
    assert plugin


def test_a_provider_that_drops_out_silently_is_an_error(
    folder: Path, listed: list[SimpleNamespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = runtime.build(residual_net(), load_target("l4-onnxruntime"), folder)
    fallen = SimpleNamespace(get_providers=lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *_, **__: fallen)
    with pytest.raises(TargetError, match="does not start here: TensorRT's libraries are missing") as caught:
        runtime.open(engine, threads=1)
    assert caught.value.hint == "pip uninstall onnxruntime && pip install onnxruntime-gpu tensorrt"
    assert listed == []


@pytest.mark.usefixtures("listed")
def test_a_provider_s_own_error_is_told_in_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("TensorRT EP failed to create engine\n from network")

    engine = runtime.build(residual_net(), load_target("l4-onnxruntime"), folder)
    monkeypatch.setattr(onnxruntime, "InferenceSession", fail)
    with pytest.raises(TargetError, match="does not take the graph: TensorRT EP failed to create engine from network"):
        runtime.open(engine, threads=1)


def test_without_the_provider_an_engine_is_not_opened(folder: Path) -> None:
    engine = runtime.build(residual_net(), load_target("l4-onnxruntime"), folder)
    with pytest.raises(TargetError, match="was built without the TensorRT execution provider"):
        runtime.open(engine, threads=1)
