from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from fake_engines import FakeSamples
from onnx import helper
from onnx_ir.passes.common import ShapeInferencePass
from qat_models import quantized, random_samples, run_graph, sqnr_db
from small_graphs import build, build_residual, normal

from compress.errors import DataError, TargetError
from compress.model import Model
from compress.precision import count_precisions
from compress.quantize.half.choose import SCALE_ERROR, choose_nodes
from compress.quantize.half.scales import follow_scale, scale_errors
from compress.quantize.half.step import Float16Settings, convert_to_float16
from compress.recipe import load_recipe
from compress.runtimes.tensorrt_checks import check_graph, place_of
from compress.steps import StepContext, StepResult
from compress.store import Store
from compress.targets import load_target

IMAGES = random_samples()


def convert(model: Model, folder: Path, images: np.ndarray = IMAGES, **settings: object) -> StepResult:
    context = StepContext(load_target("rtx-ada"), FakeSamples(images), 1, 0, Store(folder), lambda *_: None, model)
    return convert_to_float16(model, Float16Settings.model_validate(settings), context)


def casts(model: Model) -> int:
    return sum(node.op_type == "Cast" for node in model.graph.graph)


def scaled(factor: float, name: str = "w1") -> Model:
    """Return the residual net with one weight scaled."""
    model = build_residual()
    graph = model.copy_graph()
    weight = graph.graph.initializers[name]
    assert weight.const_value is not None
    weight.const_value = ir.tensor(np.float32(factor) * weight.const_value.numpy(), name=name)
    return Model.from_ir(graph)


def test_everything_but_sums_is_float16_and_the_interface_stays(tmp_path: Path) -> None:
    model = build_residual()
    before = model.to_bytes()
    result = convert(model, tmp_path)
    assert count_precisions(result.model) == {"float16": 4}
    assert (result.model.inputs, result.model.outputs) == (model.inputs, model.outputs)
    assert result.metrics["in_float32"] == {"mean": "ReduceMean is computed in float32"}
    assert casts(result.model) == 4  # the input, around the mean, the output
    assert sqnr_db(run_graph(model, IMAGES), run_graph(result.model, IMAGES)) > 55  # measured: 65.6 dB
    assert model.to_bytes() == before


@pytest.mark.parametrize("target", ["rtx-turing", "rtx-ada", "jetson"])
def test_quantized_graphs_keep_their_integers_and_tensorrt_takes_them(tmp_path: Path, target: str) -> None:
    model = quantized(build_residual(), tmp_path, "s8s8-symmetric")
    result = convert(model, tmp_path).model
    assert count_precisions(result) == {"int8": 4}
    assert check_graph(result, place_of(load_target(target))) == ()
    scales = [
        node.inputs[1].dtype for node in result.graph.graph if node.op_type == "QuantizeLinear" and node.inputs[1]
    ]
    assert set(scales) == {ir.DataType.FLOAT16}
    assert sqnr_db(run_graph(model, IMAGES), run_graph(result, IMAGES)) > 30


def test_what_would_overflow_on_the_samples_stays_float32_and_is_told(tmp_path: Path) -> None:
    # conv1 gives values of some 10^5, which conv2's small weights take back.
    large = scaled(3e4)
    kept = convert(large, tmp_path)
    assert count_precisions(kept.model)["float32"] == 2
    reasons = kept.metrics["in_float32"]
    assert isinstance(reasons, dict)
    assert "reaches" in str(reasons["conv1"])
    assert "float16 ends at 65,504" in str(reasons["conv1"])
    assert np.isfinite(run_graph(kept.model, IMAGES)).all()
    blind = convert(large, tmp_path, guard="constants")
    assert count_precisions(blind.model) == {"float16": 4}


def test_what_is_all_subnormal_stays_float32(tmp_path: Path) -> None:
    reasons = convert(scaled(1e-7), tmp_path).metrics["in_float32"]
    assert isinstance(reasons, dict)
    assert "where float16 has few digits" in str(reasons["conv1"])


def test_values_between_two_layers_in_float16_are_never_cast(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "first"),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("Reshape", ["b", "shape"], ["c"], "reshape"),
        helper.make_node("MatMul", ["c", "w"], ["y"], "last"),
    ]
    model = build(nodes, {"w": normal(8, 8), "shape": np.array([-1, 8])}, ["batch", 8], ["y"])
    graph = convert(model, tmp_path, np.ones((4, 8), np.float32)).model.graph.graph
    assert [node.op_type for node in graph] == ["Cast", "MatMul", "Relu", "Reshape", "MatMul", "Cast"]
    assert [name for name in graph.initializers if name.startswith("w")] == ["w_half"]


def test_a_value_that_softmax_reads_too_is_cast_back_for_it_alone(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "first"),
        helper.make_node("Softmax", ["a"], ["s"], "softmax", axis=-1),
        helper.make_node("Mul", ["a", "s"], ["y"], "gate"),
    ]
    model = build(nodes, {"w": normal(8, 8)}, ["batch", 8], ["y"])
    result = convert(model, tmp_path, np.ones((4, 8), np.float32)).model
    precise = {node.op_type: node.inputs[0].dtype for node in result.graph.graph if node.inputs[0] is not None}
    assert (precise["Softmax"], precise["Mul"]) == (ir.DataType.FLOAT, ir.DataType.FLOAT16)


def test_scales_of_resize_stay_float32(tmp_path: Path) -> None:
    nodes = [helper.make_node("Resize", ["x", "", "scales"], ["y"], "resize", mode="nearest")]
    model = build(nodes, {"scales": np.array([1, 1, 2, 2], np.float32)}, ["batch", 3, 8, 8], ["y"])
    result = convert(model, tmp_path).model
    assert result.graph.graph.initializers["scales"].dtype is ir.DataType.FLOAT
    assert casts(result) == 2


def test_pairs_of_an_opset_without_float16_scales_are_left_alone(tmp_path: Path) -> None:
    graph = quantized(build_residual(), tmp_path, "s8s8-symmetric").copy_graph()
    ShapeInferencePass()(graph)
    old, new = (choose_nodes(graph.graph, opset, {}).nodes for opset in (18, 19))
    assert not any(node.op_type == "QuantizeLinear" for node in old)
    assert any(node.op_type == "QuantizeLinear" for node in new)


def test_codes_follow_a_scale_that_float16_cannot_hold() -> None:
    random = np.random.default_rng(0)
    scale = np.array([1.2e-6, 4.8e-6, 1e-9, 0.01], np.float32)
    codes = random.integers(-127, 128, (4, 50)).astype(np.int8)
    moved, half = follow_scale(codes, scale, 0)
    assert scale_errors(scale)[0] > SCALE_ERROR > scale_errors(scale)[3]
    before, after = codes * scale[:, None], moved * half.astype(np.float32)[:, None]
    assert (np.abs(before - after) <= 0.5001 * half.astype(np.float32)[:, None]).all()
    assert np.abs(moved.astype(int)).max() <= 127
    assert (half >= scale).all()


def test_weights_with_tiny_scales_stay_integer(tmp_path: Path) -> None:
    model = quantized(scaled(3e-4), tmp_path, "s8s8-symmetric")
    result = convert(model, tmp_path).model
    assert count_precisions(result) == {"int8": 4}
    before, after = (run_graph(m, IMAGES, simulate=True) for m in (model, result))
    assert sqnr_db(before, after) > 25


def test_a_target_without_float16_is_refused(tmp_path: Path) -> None:
    model = build_residual()
    context = StepContext(load_target("x86-vnni"), FakeSamples(IMAGES), 1, 0, Store(tmp_path), lambda *_: None, model)
    with pytest.raises(TargetError, match="target x86-vnni has no float16") as caught:
        convert_to_float16(model, Float16Settings(), context)
    assert "--recipe int8" in str(caught.value.hint)


def test_a_value_that_is_not_finite_is_named(tmp_path: Path) -> None:
    nodes = [helper.make_node("Div", ["x", "zero"], ["d"], "divide"), helper.make_node("Relu", ["d"], ["y"], "relu")]
    model = build(nodes, {"zero": np.zeros((), np.float32)}, ["batch", 3], ["y"])
    with pytest.raises(DataError, match="activation `d` is not finite"):
        convert(model, tmp_path, np.ones((2, 3), np.float32))


@pytest.mark.parametrize(("name", "steps"), [("fp16", ["float16"]), ("int8+fp16", ["quantize", "float16"])])
def test_the_recipes_have_names(name: str, steps: list[str]) -> None:
    assert [step.name for step in load_recipe(name).attempts[0]] == steps


@pytest.mark.rtx
@pytest.mark.parametrize("target", ["rtx-turing", "rtx-blackwell"])
def test_the_compiler_takes_it(tmp_path: Path, target: str) -> None:
    from compress.runtimes.tensorrt_rtx import build as compile_engine

    model = convert(quantized(build_residual(), tmp_path, "s8s8-symmetric"), tmp_path).model
    folder = tmp_path / "engine"
    folder.mkdir()
    engine = compile_engine(model, load_target(target), folder)
    assert engine.kind == "tensorrt"
    assert onnx.load(engine.graph).graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
