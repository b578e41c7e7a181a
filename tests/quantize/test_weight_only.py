from pathlib import Path

import numpy as np
import onnx
import pytest
from fake_engines import FakeSamples
from onnx import helper
from small_graphs import build, build_residual, normal

from compress.errors import ConfigError, ModelError
from compress.measure.cost import count_cost, sum_cost
from compress.model import Model
from compress.precision import count_precisions
from compress.quantize.weight_only import WeightOnlySettings, quantize_weights
from compress.recipe import load_recipe
from compress.runtimes import load_runtime, open_graph
from compress.steps import StepContext, StepResult
from compress.store import Store
from compress.targets import Target, load_target

INPUT = np.random.default_rng(0).standard_normal((8, 64)).astype(np.float32)


def two_layers(*, opset: int = 20, depth: int = 96) -> Model:
    """Return a MatMul, a Relu and a Gemm with a bias: x [batch, 64] → y [batch, 48]."""
    constants = {"w": normal(64, depth), "g": normal(48, depth, seed=2), "b": normal(48)}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], "up"),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("Gemm", ["r", "g", "b"], ["y"], "head", transB=1),
    ]
    model = build(nodes, constants, ["batch", 64], ["y"])
    model.graph.opset_imports[""] = opset
    return model


def target(runtime: str, **changes: object) -> Target:
    known = load_target("rtx-ada" if runtime == "tensorrt_rtx" else "x86-vnni")
    return known.model_copy(update={"runtime": runtime, **changes})


def quantize(model: Model, settings: WeightOnlySettings, device: Target, folder: Path) -> StepResult:
    context = StepContext(device, FakeSamples(INPUT), 1, 0, Store(folder), lambda *_: None, model)
    return quantize_weights(model, settings, context)


def compute(model: Model) -> np.ndarray:
    with open_graph(model.to_bytes(), threads=1) as session:
        return session.run({"x": INPUT})["y"].astype(np.float64)


def sqnr(exact: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10((exact**2).sum() / ((exact - other) ** 2).sum()))


@pytest.mark.parametrize("runtime", ["onnxruntime", "tensorrt_rtx"])
@pytest.mark.parametrize(("bits", "least"), [(4, 22.0), (8, 43.0)])  # measured: 24.4 to 24.7, and 44.7 to 48.0 dB
def test_outputs_stay_near_and_weights_shrink(tmp_path: Path, runtime: str, bits: int, least: float) -> None:
    model = two_layers()
    result = quantize(model, WeightOnlySettings(bits=bits), target(runtime), tmp_path)  # type: ignore[arg-type]
    assert sqnr(compute(model), compute(result.model)) > least
    assert (result.model.inputs, result.model.outputs) == (model.inputs, model.outputs)
    assert result.metrics["layers"] == 2
    assert result.metrics["weight_bytes_before"] == 4 * (64 * 96 + 96 * 48)
    assert result.metrics["weight_bytes_after"] == (64 * 96 + 96 * 48) * bits // 8 + 4 * (64 * 96 + 96 * 48) // 32
    assert count_precisions(result.model) == {f"int{bits} weights": 2}


@pytest.mark.parametrize("symmetric", [True, False])
def test_both_ways_of_writing_mean_the_same(tmp_path: Path, symmetric: bool) -> None:
    model = two_layers()
    settings = WeightOnlySettings(symmetric=symmetric, compute="float32")
    native = quantize(model, settings, target("onnxruntime"), tmp_path)
    portable = quantize(model, settings, target("reference"), tmp_path)
    np.testing.assert_allclose(compute(native.model), compute(portable.model), rtol=1e-4, atol=1e-5)


def test_a_row_that_does_not_fill_its_last_block_is_filled_in_onnx_runtime_and_left_alone_elsewhere(
    tmp_path: Path,
) -> None:
    model = two_layers(depth=80)
    native = quantize(model, WeightOnlySettings(), target("onnxruntime"), tmp_path)
    assert sqnr(compute(model), compute(native.model)) > 22
    portable = quantize(model, WeightOnlySettings(), target("reference"), tmp_path)
    assert count_precisions(portable.model) == {"float32": 1, "int4 weights": 1}


def test_costs_are_counted_as_before(tmp_path: Path) -> None:
    model = two_layers()
    before, after = (
        sum_cost(count_cost(m))
        for m in (model, quantize(model, WeightOnlySettings(), target("onnxruntime"), tmp_path).model)
    )
    assert (after.macs, after.parameters, after.unknown) == (before.macs, before.parameters, 0)
    assert after.weight_bytes < before.weight_bytes / 5


def test_an_older_opset_is_raised_only_where_blocks_need_it(tmp_path: Path) -> None:
    model = two_layers(opset=18)
    native = quantize(model, WeightOnlySettings(), target("onnxruntime"), tmp_path).model
    portable = quantize(model, WeightOnlySettings(), target("tensorrt_rtx"), tmp_path).model
    assert native.graph.opset_imports == {"": 18, "com.microsoft": 1}
    assert portable.graph.opset_imports == {"": 21}
    assert sqnr(compute(model), compute(portable)) > 22


def test_a_target_whose_opset_has_no_blocks_gets_eight_bits_with_a_scale_for_each_row(tmp_path: Path) -> None:
    model = two_layers(depth=80)
    result = quantize(model, WeightOnlySettings(bits=8), load_target("jetson"), tmp_path)
    found = {node.name: node for node in result.model.graph.graph if node.op_type == "DequantizeLinear"}
    assert result.model.graph.opset_imports == {"": 20}
    scales = {name: tuple(node.inputs[1].shape or ()) for name, node in found.items() if node.inputs[1] is not None}
    assert scales == {"up_w_dequantize": (80,), "head_g_dequantize": (48,)}
    assert [node.attributes.get_int("axis", 9) for node in found.values()] == [1, 0]
    assert sqnr(compute(model), compute(result.model)) > 45  # measured: 46.7 dB


def test_four_bits_are_refused_where_the_opset_has_no_blocks(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="4-bit weights need opset 21, and target jetson-orin-nano takes 20") as caught:
        quantize(two_layers(), WeightOnlySettings(), load_target("jetson"), tmp_path)
    assert "bits = 8" in str(caught.value.hint)


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_row_that_is_one_block_is_written_per_axis(tmp_path: Path, symmetric: bool) -> None:
    model = two_layers(depth=64)
    settings = WeightOnlySettings(block=64, symmetric=symmetric, compute="float32")
    native = quantize(model, settings, target("onnxruntime"), tmp_path)
    portable = quantize(model, settings, target("reference"), tmp_path)
    assert not any("block_size" in node.attributes for node in portable.model.graph.graph)
    np.testing.assert_allclose(compute(native.model), compute(portable.model), rtol=1e-4, atol=1e-5)


def test_a_graph_that_cannot_be_raised_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("no adapter for Upsample")

    monkeypatch.setattr("onnx.version_converter.convert_version", refuse)
    with pytest.raises(ModelError, match="cannot be raised to it: no adapter for Upsample"):
        quantize(two_layers(), WeightOnlySettings(), target("reference"), tmp_path)


def test_zero_points_are_refused_where_the_target_has_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="symmetric = false: tensorrt_rtx takes no zero points"):
        quantize(two_layers(), WeightOnlySettings(symmetric=False), target("tensorrt_rtx"), tmp_path)


def test_layers_that_are_excluded_stay_float(tmp_path: Path) -> None:
    result = quantize(two_layers(), WeightOnlySettings(exclude=("he*",)), target("onnxruntime"), tmp_path)
    assert count_precisions(result.model) == {"float32": 1, "int4 weights": 1}
    assert result.metrics["worst_layer"] == "up"


def test_a_pattern_that_names_nothing_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="exclude: `haed` names no MatMul") as caught:
        quantize(two_layers(), WeightOnlySettings(exclude=("haed",)), target("onnxruntime"), tmp_path)
    assert caught.value.hint == "they are called up, head"


def test_a_model_without_matrix_products_has_nothing_to_quantize(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"], "relu")]
    with pytest.raises(ModelError, match="nothing to quantize") as caught:
        quantize(build(nodes, {}, ["batch", 64], ["y"]), WeightOnlySettings(), target("onnxruntime"), tmp_path)
    assert "convolutions need the recipe int8" in str(caught.value.hint)


@pytest.mark.parametrize(
    "attributes", [{"alpha": 2.0}, {"transA": 1}, {"beta": 0.5}], ids=["alpha", "transposed input", "beta"]
)
def test_a_gemm_that_is_more_than_a_product_stays_float(tmp_path: Path, attributes: dict[str, float]) -> None:
    constants = {"g": normal(8, 8), "b": normal(8), "w": normal(8, 8)}
    nodes = [
        helper.make_node("Gemm", ["x", "g", "b"], ["h"], "odd", **attributes),  # type: ignore[arg-type]
        helper.make_node("MatMul", ["h", "w"], ["y"], "plain"),
    ]
    result = quantize(build(nodes, constants, [8, 8], ["y"]), WeightOnlySettings(), target("onnxruntime"), tmp_path)
    assert result.metrics["worst_layer"] == "plain"
    assert result.metrics["layers"] == 1


def test_a_bias_that_is_no_row_of_constants_leaves_the_gemm_float(tmp_path: Path) -> None:
    nodes = [helper.make_node("Gemm", ["x", "g", "b"], ["y"], "odd")]
    model = build(nodes, {"g": normal(64, 8), "b": np.zeros((1, 8), np.float32)}, ["batch", 64], ["y"])
    with pytest.raises(ModelError, match="nothing to quantize"):
        quantize(model, WeightOnlySettings(), target("onnxruntime"), tmp_path)


def test_a_model_that_is_quantized_already_is_refused(tmp_path: Path) -> None:
    once = quantize(two_layers(), WeightOnlySettings(), target("onnxruntime"), tmp_path).model
    with pytest.raises(ModelError, match="quantized already"):
        quantize(once, WeightOnlySettings(), target("onnxruntime"), tmp_path)


def test_the_gemm_of_a_convolution_network_is_taken_too(tmp_path: Path) -> None:
    result = quantize(build_residual(), WeightOnlySettings(block=16), target("onnxruntime"), tmp_path)
    assert count_precisions(result.model) == {"float32": 3, "int4 weights": 1}


def test_the_result_depends_on_the_runtime(tmp_path: Path) -> None:
    settings = WeightOnlySettings()
    assert settings.also_depends_on(target("onnxruntime")) != settings.also_depends_on(target("null"))


@pytest.mark.parametrize(("name", "bits"), [("int4-weights", 4), ("int8-weights", 8)])
def test_the_recipes_have_names(name: str, bits: int) -> None:
    step = load_recipe(name).attempts[0][0]
    assert (step.name, step.settings.model_dump()["bits"]) == ("weight-only", bits)


@pytest.mark.rtx
@pytest.mark.parametrize("bits", [4, 8])
def test_tensorrt_rtx_compiles_weights_in_blocks(tmp_path: Path, bits: int) -> None:
    model = quantize(two_layers(), WeightOnlySettings(bits=bits), load_target("rtx-ada"), tmp_path).model  # type: ignore[arg-type]
    folder = tmp_path / "engine"
    folder.mkdir()
    engine = load_runtime("tensorrt_rtx").build(model, load_target("rtx-ada"), folder)
    assert engine.kind == "tensorrt"
    assert onnx.load(engine.graph).opset_import[0].version == 21
