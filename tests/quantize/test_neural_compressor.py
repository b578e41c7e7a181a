import sys
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from fake_engines import FakeSamples
from onnx import helper
from small_graphs import build, build_residual, normal

from compress.errors import ModelError, TargetError
from compress.model import Model
from compress.quantize.diagnosis.table import diagnose
from compress.quantize.layers import float_constants, keep_float
from compress.quantize.neural_compressor import IncSettings, fold_weights, quantize_with_neural_compressor
from compress.runtimes import open_graph
from compress.steps import StepContext, StepResult
from compress.store import Store
from compress.targets import load_target

IMAGES = np.random.default_rng(0).standard_normal((20, 3, 8, 8)).astype(np.float32)


def quantize(model: Model, target: str, folder: Path, images: np.ndarray = IMAGES) -> StepResult:
    context = StepContext(load_target(target), FakeSamples(images), 1, 0, Store(folder), lambda *_: None, model)
    return quantize_with_neural_compressor(model, IncSettings(), context)


def outputs(model: Model, images: np.ndarray = IMAGES) -> np.ndarray:
    with open_graph(model.to_bytes(), threads=1, simulate=True) as session:
        return np.asarray(session.run({"x": images})["y"], np.float64)


def sqnr(model: Model, other: Model) -> float:
    exact, found = outputs(model), outputs(other)
    return float(10 * np.log10((exact**2).sum() / ((exact - found) ** 2).sum()))


@pytest.mark.inc
def test_the_graph_is_integer_small_and_near_the_original(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = build_residual()
    result = quantize(model, "x86-vnni", tmp_path)
    assert result.metrics["calibration_samples"] == 20
    assert (result.model.inputs, result.model.outputs) == (model.inputs, model.outputs)
    assert sqnr(model, result.model) > 20
    stored = [value.const_value for value in result.model.graph.graph.initializers.values()]
    matrices = [tensor.dtype for tensor in stored if tensor is not None and len(tensor.shape) > 1]
    assert set(matrices) == {ir.DataType.INT8}
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


@pytest.mark.inc
def test_layers_have_the_names_of_the_float_graph_and_can_be_diagnosed_and_taken_back_to_float(tmp_path: Path) -> None:
    model = build_residual()
    context = StepContext(load_target("x86-vnni"), FakeSamples(IMAGES), 1, 0, Store(tmp_path), lambda *_: None, model)
    found = quantize_with_neural_compressor(model, IncSettings(), context).model
    layers = diagnose(found, context, seconds=60)
    assert [layer.name for layer in layers] == ["conv0", "conv1", "conv2", "gemm"]
    assert min(layer.sqnr_db or 0.0 for layer in layers) > 30
    assert all(layer.weight_sqnr_db for layer in layers)
    float_again = keep_float(found, [layer.name for layer in layers], float_constants(found, context.store), "u8s8")
    np.testing.assert_allclose(outputs(float_again), outputs(model), atol=1e-5)
    assert float_again.outputs == model.outputs


@pytest.mark.inc
def test_a_fixed_batch_is_kept(tmp_path: Path) -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], "conv")]
    model = build(nodes, {"w": normal(4, 3, 1, 1)}, [12, 3, 8, 8], ["y"])
    result = quantize(model, "x86-vnni", tmp_path)
    assert result.model.inputs[0].shape == (12, 3, 8, 8)
    assert result.metrics["calibration_samples"] == 20


@pytest.mark.inc
def test_one_sample_is_enough_to_trace_a_batch_that_varies(tmp_path: Path) -> None:
    result = quantize(build_residual(), "x86-vnni", tmp_path, IMAGES[:1])
    assert result.metrics["calibration_samples"] == 1
    assert sqnr(build_residual(), result.model) > 10


@pytest.mark.inc
def test_a_model_in_which_it_finds_nothing_is_an_error(tmp_path: Path) -> None:
    model = build([helper.make_node("Tanh", ["x"], ["y"], "tanh")], {}, ["batch", 3, 8, 8], ["y"])
    with pytest.raises(ModelError, match="neural-compressor quantizes nothing of this model") as caught:
        quantize(model, "x86-vnni", tmp_path)
    assert caught.value.hint == "use --quantizer native"


@pytest.mark.inc
def test_what_it_does_not_take_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no rule for this\nand more")

    monkeypatch.setattr("neural_compressor.torch.quantization.prepare", refuse)
    with pytest.raises(ModelError, match=r"does not take this model: RuntimeError: no rule for this$"):
        quantize(build_residual(), "x86-vnni", tmp_path)


@pytest.mark.parametrize("target", ["jetson", "x86-avx2"])
def test_targets_that_do_not_take_what_it_writes_are_refused(tmp_path: Path, target: str) -> None:
    with pytest.raises(TargetError, match="uint8 activations and full-range int8 weights, and target") as caught:
        quantize(build_residual(), target, tmp_path)
    assert caught.value.hint == "use --quantizer native"


def test_without_the_package_the_error_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "neural_compressor.torch", None)
    with pytest.raises(TargetError, match="neural-compressor cannot be imported") as caught:
        quantize(build_residual(), "x86-vnni", tmp_path)
    assert 'pip install "edge-compress[inc]"' in str(caught.value.hint)


@pytest.mark.parametrize("clipped", [False, True])
def test_weights_behind_a_quantize_linear_become_the_integers_that_it_gives(clipped: bool) -> None:
    scale = np.array([0.5, 0.25, 1.0, 2.0], np.float32)
    constants = {"w": 3.0 * normal(4, 8), "s": scale, "z": np.zeros(4, np.int8)}
    if clipped:
        constants |= {"low": np.array(-3, np.int8), "high": np.array(2, np.int8)}
    nodes = [
        helper.make_node("QuantizeLinear", ["w", "s", "z"], ["q"], "quantize", axis=0),
        *([helper.make_node("Clip", ["q", "low", "high"], ["c"], "clip")] if clipped else []),
        helper.make_node("DequantizeLinear", ["c" if clipped else "q", "s", "z"], ["d"], "dequantize", axis=0),
        helper.make_node("Gemm", ["x", "d"], ["y"], "gemm", transB=1),
    ]
    model = build(nodes, constants, ["batch", 8], ["y"])
    graph = model.copy_graph()
    fold_weights(graph.graph)
    folded = Model.from_ir(graph)
    assert [node.op_type for node in folded.graph.graph] == ["DequantizeLinear", "Gemm"]
    feed = {"x": np.random.default_rng(1).standard_normal((5, 8)).astype(np.float32)}
    with open_graph(model.to_bytes(), threads=1) as one, open_graph(folded.to_bytes(), threads=1) as two:
        np.testing.assert_array_equal(one.run(feed)["y"], two.run(feed)["y"])
