import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fake_engines import FakeSamples
from onnx import helper
from small_graphs import build, build_residual, normal

from compress.errors import ModelError, TargetError
from compress.model import Model
from compress.quantize.diagnosis.table import diagnose
from compress.quantize.dialects import DIALECTS
from compress.quantize.layers import float_constants, keep_float
from compress.quantize.onnxruntime_static import OrtSettings, even_batch, quantize_with_onnxruntime, quantizer_arguments
from compress.quantize.static import QuantizeSettings, quantize_static
from compress.runtimes import load_runtime, open_graph
from compress.steps import StepContext, StepResult
from compress.store import Store
from compress.targets import DialectName, Target, load_target

IMAGES = np.random.default_rng(0).standard_normal((20, 3, 8, 8)).astype(np.float32)


def context(model: Model, target: Target, folder: Path, images: np.ndarray = IMAGES) -> StepContext:
    return StepContext(target, FakeSamples(images), 1, 0, Store(folder), lambda *_: None, model)


def quantize(model: Model, target: str, folder: Path, settings: OrtSettings | None = None) -> StepResult:
    return quantize_with_onnxruntime(model, settings or OrtSettings(), context(model, load_target(target), folder))


def outputs(model: Model) -> np.ndarray:
    with open_graph(model.to_bytes(), threads=1, simulate=True) as session:
        return np.asarray(session.run({"x": IMAGES})["y"], np.float64)


def sqnr(model: Model, other: Model) -> float:
    exact, found = outputs(model), outputs(other)
    return float(10 * np.log10((exact**2).sum() / ((exact - found) ** 2).sum()))


@pytest.mark.parametrize("target", ["x86-vnni", "x86-avx2", "jetson"])
def test_the_graph_is_in_the_dialect_of_the_target_and_near_the_original(tmp_path: Path, target: str) -> None:
    model = build_residual()
    result = quantize(model, target, tmp_path)
    assert result.metrics["dialect"] == load_target(target).dialect
    assert result.metrics["calibration_samples"] == 20
    assert (result.model.inputs, result.model.outputs) == (model.inputs, model.outputs)
    assert sqnr(model, result.model) > 20  # measured: 25.8 to 32.5 dB


def build_functions() -> Model:
    """Return Conv-Clip-Relu, Conv-Relu: x [batch, 3, 8, 8] → y; both the first Relu and the last give an output."""
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["c0"], "conv0"),
        helper.make_node("Clip", ["c0", "low", "high"], ["l0"], "clip0"),
        helper.make_node("Relu", ["l0"], ["y"], "relu0"),
        helper.make_node("Conv", ["y", "w1"], ["c1"], "conv1"),
        helper.make_node("Relu", ["c1"], ["z"], "relu1"),
    ]
    constants = {
        "w0": normal(8, 3, 3, 3), "b0": normal(8), "w1": normal(4, 8, 1, 1, seed=1),
        "low": np.array(-1, np.float32), "high": np.array(2, np.float32),
    }  # fmt: skip
    return build(nodes, constants, ["batch", 3, 8, 8], ["y", "z"])


@pytest.mark.parametrize("make", [build_residual, build_functions])
def test_no_activation_function_is_missing(tmp_path: Path, make: Callable[[], Model]) -> None:
    model = make()
    found = quantize(model, "x86-vnni", tmp_path).model
    functions = [node.name for node in model.graph.graph if node.op_type in ("Clip", "Relu")]
    assert [node.name for node in found.graph.graph if node.op_type in ("Clip", "Relu")] == functions
    assert (found.inputs, found.outputs) == (model.inputs, model.outputs)
    assert sqnr(model, found) > 20


def test_layers_are_diagnosed_and_taken_back_to_float_as_those_of_the_native_quantizer(tmp_path: Path) -> None:
    model = build_residual()
    found = quantize(model, "x86-vnni", tmp_path).model
    layers = diagnose(found, context(model, load_target("x86-vnni"), tmp_path), seconds=60)
    assert [layer.name for layer in layers] == ["conv0", "conv1", "conv2", "add", "gemm"]
    assert min(layer.sqnr_db or 0.0 for layer in layers) > 30  # measured: 39.4 to 47.0 dB; 1.2 dB without the functions
    assert all(layer.weight_sqnr_db for layer in layers if layer.op != "Add")
    assert min(layer.gain_db or 0.0 for layer in layers) > -1
    float_again = keep_float(found, [layer.name for layer in layers], float_constants(found, Store(tmp_path)), "u8s8")
    assert float_again.outputs == model.outputs
    np.testing.assert_allclose(outputs(float_again), outputs(model), atol=1e-5)


def test_batch_normalization_is_in_the_weights(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv"),
        helper.make_node("BatchNormalization", ["c", "gain", "shift", "mean", "variance"], ["n"], "norm"),
        helper.make_node("Relu", ["n"], ["y"], "relu"),
    ]
    constants = {
        "w": normal(4, 3, 1, 1), "gain": normal(4), "shift": normal(4, seed=1), "mean": normal(4, seed=2),
        "variance": np.ones(4, np.float32),
    }  # fmt: skip
    model = build(nodes, constants, ["batch", 3, 8, 8], ["y"])
    found = quantize(model, "x86-vnni", tmp_path).model
    assert "BatchNormalization" not in {node.op_type for node in found.graph.graph}
    assert sqnr(model, found) > 30  # measured: 44.9 dB


def test_weights_of_a_cpu_without_vnni_stay_within_seven_bits(tmp_path: Path) -> None:
    largest = {}
    for target in ("x86-vnni", "x86-avx2"):
        graph = quantize(build_residual(), target, tmp_path).model.graph.graph
        codes = [value.const_value.numpy() for value in graph.initializers.values() if value.const_value is not None]
        largest[target] = max(int(np.abs(c.astype(int)).max()) for c in codes if c.dtype == np.int8 and c.ndim > 1)
    assert largest == {"x86-vnni": 127, "x86-avx2": 64}


def test_a_symmetric_graph_is_one_that_tensorrt_takes(tmp_path: Path) -> None:
    from compress.runtimes.tensorrt_checks import check_graph, place_of

    result = quantize(build_residual(), "jetson", tmp_path)
    assert check_graph(result.model, place_of(load_target("jetson"))) == ()


@pytest.mark.parametrize("name", ["u8s8", "u8s8-7bit", "s8s8-symmetric"])
def test_the_arguments_say_what_the_dialect_means(name: DialectName) -> None:
    arguments = quantizer_arguments(DIALECTS[name], OrtSettings())
    assert arguments["reduce_range"] == (name == "u8s8-7bit")
    assert arguments["activation_type"].name == ("QInt8" if name == "s8s8-symmetric" else "QUInt8")
    assert arguments["extra_options"]["QuantizeBias"] == (name != "s8s8-symmetric")
    assert (arguments["op_types_to_quantize"] is None) == (name != "s8s8-symmetric")
    only = quantizer_arguments(DIALECTS[name], OrtSettings(operators=("MatMul",), calibration="entropy"))
    assert only["op_types_to_quantize"] == ["MatMul"]
    assert only["calibrate_method"].name == "Entropy"


def test_a_fixed_batch_is_filled_up(tmp_path: Path) -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], "conv")]
    model = build(nodes, {"w": normal(4, 3, 1, 1)}, [12, 3, 8, 8], ["y"])
    assert quantize(model, "x86-vnni", tmp_path).metrics["calibration_samples"] == 20


def test_batches_divide_the_samples() -> None:
    assert [even_batch(count) for count in (128, 20, 9, 7, 1)] == [8, 5, 3, 7, 1]


def test_nothing_is_said_on_the_terminal_and_the_root_logger_is_as_before(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = list(logging.getLogger().handlers)
    quantize(build_residual(), "x86-vnni", tmp_path, OrtSettings(calibration="percentile"))
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
    assert logging.getLogger().handlers == before


def test_a_model_that_is_quantized_already_is_refused(tmp_path: Path) -> None:
    model = build_residual()
    once = quantize_static(model, QuantizeSettings(), context(model, load_target("x86-vnni"), tmp_path)).model
    with pytest.raises(ModelError, match="quantized already"):
        quantize(once, "x86-vnni", tmp_path)


def test_what_the_quantizer_does_not_take_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ValueError("no tensor\nof that name")

    monkeypatch.setattr("onnxruntime.quantization.quantize_static", refuse)
    with pytest.raises(ModelError, match="does not take this model: ValueError: no tensor of that name") as caught:
        quantize(build_residual(), "x86-vnni", tmp_path)
    assert caught.value.hint == "use --quantizer native"


def test_an_onnx_runtime_without_its_quantizer_is_told_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxruntime.quantization.quantize_static", None)
    monkeypatch.delattr("onnxruntime.quantization.quantize_static")
    with pytest.raises(TargetError, match="quantizer cannot be imported") as caught:
        quantize(build_residual(), "x86-vnni", tmp_path)
    assert "pip install" in str(caught.value.hint)


@pytest.mark.rtx
def test_tensorrt_rtx_compiles_what_onnx_runtime_quantized(tmp_path: Path) -> None:
    result = quantize(build_residual(), "rtx-ada", tmp_path)
    (tmp_path / "engine").mkdir()
    assert load_runtime("tensorrt_rtx").build(result.model, load_target("rtx-ada"), tmp_path / "engine").size() > 0
