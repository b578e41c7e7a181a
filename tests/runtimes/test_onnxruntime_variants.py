from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from qdq_graphs import Sketch, residual_net, samples

from compress.errors import CompressError, TargetError
from compress.runtimes import onnxruntime, onnxruntime_variants, openvino_plugin
from compress.runtimes.engine_options import EngineOptions, FloatPrecision
from compress.runtimes.offline import loading_options, prepare_graph
from compress.runtimes.session_options import make_session_options

OPENVINO = EngineOptions(provider="openvino")


@pytest.fixture
def no_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_plugin, "_MODULE", "a_plugin_that_is_not_there")


def with_precisions(monkeypatch: pytest.MonkeyPatch, *precisions: FloatPrecision) -> None:
    monkeypatch.setattr(onnxruntime_variants, "find_device", lambda: None)
    monkeypatch.setattr(onnxruntime_variants, "float_precisions", lambda: precisions)


def graph_file(folder: Path) -> Path:
    path = folder / "graph.onnx"
    path.write_bytes(residual_net(dtype="uint8", zero_point=128).to_bytes())
    return path


@pytest.mark.usefixtures("no_openvino")
def test_what_is_not_installed_is_left_out_with_the_command_that_installs_it() -> None:
    found = onnxruntime_variants.list_variants(threads=2, providers="all")
    assert found.options == (EngineOptions(threads=2),)
    assert [absent.what for absent in found.absent] == ["OpenVINO"]
    assert 'pip install "edge-compress[openvino]"' in found.absent[0].reason


@pytest.fixture
def fresh_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_plugin, "_register", cache(openvino_plugin._register.__wrapped__))


@pytest.mark.usefixtures("fresh_plugin")
def test_a_plugin_that_does_not_load_is_left_out_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "plugin.so"
    broken.write_bytes(b"not a library")
    monkeypatch.setattr(openvino_plugin, "find_library", lambda: broken)
    with pytest.raises(TargetError, match=r"ONNX Runtime cannot load the OpenVINO plugin: .*plugin\.so") as caught:
        openvino_plugin.find_device()
    assert "\n" not in caught.value.message


@pytest.mark.usefixtures("fresh_plugin")
def test_a_plugin_without_a_device_says_so_every_time_and_suggests_no_installation(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import onnxruntime as library

    registered: list[str] = []

    def register(name: str, path: str) -> None:
        if name in registered:
            raise RuntimeError(f"EP library is already registered under {name}")
        registered.append(name)

    monkeypatch.setattr(openvino_plugin, "find_library", lambda: tmp_path)
    monkeypatch.setattr(openvino_plugin, "cpu_name", lambda: "AMD EPYC")
    monkeypatch.setattr(library, "register_execution_provider_library", register)
    monkeypatch.setattr(library, "get_ep_devices", list)
    for _ in range(2):
        with pytest.raises(TargetError) as caught:
            openvino_plugin.find_device()
        assert caught.value.message == "OpenVINO's plugin lists no device on this CPU (AMD EPYC)"
        hint = caught.value.hint or ""
        assert hint.startswith("nothing to install")
        assert "pip" not in hint


def test_own_kernels_only_where_the_user_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with_precisions(monkeypatch, "float32", "bfloat16")
    found = onnxruntime_variants.list_variants(threads=1, providers="cpu")
    assert (found.options, found.absent) == ((EngineOptions(),), ())


def test_bfloat16_is_tried_only_where_the_cpu_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with_precisions(monkeypatch, "float32", "bfloat16")
    found = onnxruntime_variants.list_variants(threads=1, providers="all")
    assert found.options == (EngineOptions(), OPENVINO, replace(OPENVINO, precision="bfloat16"))
    assert found.absent == ()
    with_precisions(monkeypatch, "float32")
    found = onnxruntime_variants.list_variants(threads=1, providers="all")
    assert found.options == (EngineOptions(), OPENVINO)
    assert [absent.reason for absent in found.absent] == ["this CPU has no bfloat16 instructions"]


def test_every_setting_is_changed_alone_and_threads_stay_within_the_bound() -> None:
    default = EngineOptions(threads=4)
    found = onnxruntime_variants.list_settings(default)
    assert [options.describe() for options in found] == [
        "ONNX Runtime's own kernels, optimization extended",
        "ONNX Runtime's own kernels, no memory arena",
        "ONNX Runtime's own kernels, optimized offline",
        "ONNX Runtime's own kernels, no spinning",
        "ONNX Runtime's own kernels",
    ]
    assert [options.threads for options in found] == [4, 4, 4, 4, 2]
    assert len(onnxruntime_variants.list_settings(EngineOptions())) == 3
    assert onnxruntime_variants.list_settings(OPENVINO) == ()
    assert onnxruntime_variants.list_settings(replace(OPENVINO, threads=2)) == (OPENVINO,)


@pytest.mark.parametrize("options", [EngineOptions(), *onnxruntime_variants.list_settings(EngineOptions(threads=2))])
def test_every_variant_computes_the_same(options: EngineOptions, tmp_path: Path) -> None:
    graph, x = graph_file(tmp_path), samples(3, 2, 8, 8)
    with onnxruntime.open_graph(graph) as plain, onnxruntime_variants.open_variant(graph, options, tmp_path) as session:
        np.testing.assert_array_equal(session.run({"x": x})["y"], plain.run({"x": x})["y"])


def test_the_settings_reach_onnx_runtime() -> None:
    made = make_session_options(EngineOptions(threads=3, optimization="basic", arena=False, spinning=False))
    assert made.intra_op_num_threads == 3
    assert made.graph_optimization_level.name == "ORT_ENABLE_BASIC"
    assert made.enable_cpu_mem_arena is False
    assert made.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_the_offline_graph_holds_the_integer_kernels_and_is_loaded_as_it_is(tmp_path: Path) -> None:
    import onnx

    made = prepare_graph(graph_file(tmp_path), EngineOptions(offline=True), tmp_path)
    assert made == tmp_path / "model.optimized.onnx"
    assert "QLinearConv" in {node.op_type for node in onnx.load(made).graph.node}
    assert loading_options(EngineOptions(offline=True)).optimization == "none"
    assert loading_options(EngineOptions()).optimization == "all"


def test_a_graph_that_cannot_be_taken_is_an_error_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(CompressError, match="cannot take the graph"):
        onnxruntime_variants.open_variant(path, EngineOptions(offline=True), tmp_path)


@pytest.mark.openvino
def test_openvino_computes_what_onnx_runtime_does(tmp_path: Path) -> None:
    s = Sketch(["batch", 3])
    model = s.finish(s.node("MatMul", "x", s.constant(np.arange(6).reshape(3, 2))), ["batch", 2])
    path, x = tmp_path / "graph.onnx", samples(5, 3)
    path.write_bytes(model.to_bytes())
    with onnxruntime_variants.open_variant(path, OPENVINO, tmp_path) as session:
        found = np.asarray(session.run({"x": x})["y"], np.float32)
    np.testing.assert_allclose(found, x @ np.arange(6).reshape(3, 2), rtol=1e-5, atol=1e-6)


@pytest.mark.openvino
def test_openvino_is_offered_where_it_is_installed() -> None:
    found = onnxruntime_variants.list_variants(threads=2, providers="all")
    assert replace(OPENVINO, threads=2) in found.options
    assert openvino_plugin.float_precisions()[0] == "float32"


def test_the_plugin_is_told_threads_and_precision() -> None:
    told = openvino_plugin.provider_options(EngineOptions(threads=2, provider="openvino", precision="bfloat16"))
    expected = '{"CPU": {"INFERENCE_NUM_THREADS": "2", "INFERENCE_PRECISION_HINT": "bf16"}}'
    assert told == {"load_config": expected}
