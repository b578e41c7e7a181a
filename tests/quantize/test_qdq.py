import numpy as np
import onnx
import pytest
from onnx import helper
from small_graphs import build, build_residual, normal

from compress.model import Model
from compress.quantize.dialects import DIALECTS, Dialect
from compress.quantize.histogram import Histogram
from compress.quantize.plan import plan_quantization
from compress.quantize.qdq import insert_qdq
from compress.quantize.ranges import choose_range, fit_grid
from compress.runtimes import open_graph

SAMPLES = np.random.default_rng(7).standard_normal((16, 3, 8, 8)).astype(np.float32)


def quantize(model: Model, dialect: Dialect, samples: np.ndarray = SAMPLES) -> Model:
    """Return the model quantized with min-max ranges of the samples."""
    graph = model.copy_graph()
    plan = plan_quantization(graph.graph, dialect)
    sources = list(dict.fromkeys(str(plan.scale_source(value).name) for value in plan.activations()))
    wanted = [name for name in sources if name != "x"]
    with open_graph(model.to_bytes(), threads=1, outputs=wanted) as session:
        observed = {"x": samples, **session.run({"x": samples})}
    fitted = {}
    for name in sources:
        histogram = Histogram()
        histogram.observe(observed[name])
        fitted[name] = fit_grid(choose_range(histogram, dialect.activation, "minmax", 100), dialect.activation)
    insert_qdq(graph.graph, plan, dialect, fitted)
    return Model.from_ir(graph)


def run(model: Model, samples: np.ndarray = SAMPLES, *, simulate: bool = False) -> np.ndarray:
    with open_graph(model.to_bytes(), threads=1, simulate=simulate) as session:
        return next(iter(session.run({"x": samples}).values()))


def sqnr_db(reference: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10((reference**2).sum() / ((reference - other) ** 2).sum()))


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_the_quantized_graph_is_valid_and_near_the_float_one(name: str) -> None:
    model = build_residual()
    quantized = quantize(model, DIALECTS[name])  # type: ignore[index]
    onnx.checker.check_model(onnx.ModelProto.FromString(quantized.to_bytes()), full_check=True)
    assert (quantized.inputs, [o.name for o in quantized.outputs]) == (model.inputs, [o.name for o in model.outputs])
    least = 22 if name == "u8s8-7bit" else 28
    assert sqnr_db(run(model), run(quantized, simulate=True)) > least


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_the_original_graph_is_left_as_it_was(name: str) -> None:
    model = build_residual()
    before = model.digest()
    quantize(model, DIALECTS[name])  # type: ignore[index]
    assert model.digest() == before


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_quantizing_twice_gives_the_same_bytes(name: str) -> None:
    dialect = DIALECTS[name]  # type: ignore[index]
    assert quantize(build_residual(), dialect).to_bytes() == quantize(build_residual(), dialect).to_bytes()


@pytest.mark.parametrize("name", ["u8s8", "u8s8-7bit"])
def test_onnx_runtime_executes_every_planned_node_in_integers(name: str, tmp_path: object) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = f"{tmp_path}/optimized.onnx"
    options.log_severity_level = 4
    quantized = quantize(build_residual(), DIALECTS[name])  # type: ignore[index]
    onnxruntime.InferenceSession(quantized.to_bytes(), options, providers=["CPUExecutionProvider"])
    operators = [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]
    assert operators.count("QLinearConv") == 3
    assert operators.count("QLinearAdd") == 1
    assert operators.count("QGemm") == 1
    assert not {"Conv", "FusedConv", "Gemm", "Add", "Clip", "Relu"} & set(operators)


def test_weights_are_stored_as_int8_with_one_scale_for_each_output_channel() -> None:
    quantized = quantize(build_residual(), DIALECTS["u8s8"])
    initializers = quantized.graph.graph.initializers
    stored = initializers["w0_of_conv0_quantized"].const_value
    scale = initializers["w0_of_conv0_scale"].const_value
    assert stored is not None
    assert scale is not None
    assert (stored.dtype.name, tuple(stored.shape), tuple(scale.shape)) == ("INT8", (8, 3, 3, 3), (8,))
    assert "w0" not in initializers
    bias = initializers["b0_of_conv0_quantized"].const_value
    assert bias is not None
    assert bias.dtype.name == "INT32"


def test_tensorrt_gets_zero_points_of_0_and_float_biases() -> None:
    quantized = quantize(build_residual(), DIALECTS["s8s8-symmetric"])
    initializers = quantized.graph.graph.initializers
    zeros = [value.const_value for name, value in initializers.items() if name.endswith("zero_point")]
    assert zeros
    assert all(zero is not None and zero.dtype.name == "INT8" and not zero.numpy().any() for zero in zeros)
    assert {"b0", "b1", "b2", "bf"} <= set(initializers)


def test_a_quantized_graph_output_keeps_its_name() -> None:
    model = build([helper.make_node("Conv", ["x", "w"], ["y"], "conv")], {"w": normal(4, 3, 1, 1)}, [1, 3, 4, 4], ["y"])
    samples = SAMPLES[:1, :, :4, :4]
    quantized = quantize(model, DIALECTS["u8s8"], samples)
    assert [output.name for output in quantized.outputs] == ["y"]
    assert sqnr_db(run(model, samples), run(quantized, samples)) > 30


def test_a_weight_of_two_nodes_is_quantized_for_each_and_the_float_one_is_dropped() -> None:
    model = build(
        [
            helper.make_node("Conv", ["x", "w"], ["c"], "one"),
            helper.make_node("Relu", ["c"], ["r"], "relu"),
            helper.make_node("Conv", ["r", "w"], ["y"], "two"),
        ],
        {"w": normal(3, 3, 1, 1)},
        [16, 3, 8, 8],
        ["y"],
    )
    quantized = quantize(model, DIALECTS["u8s8"])
    stored = [name for name in quantized.graph.graph.initializers if name.startswith("w")]
    assert "w" not in stored
    assert {"w_of_one_quantized", "w_of_two_quantized"} <= set(stored)
    assert sqnr_db(run(model), run(quantized)) > 25


def test_max_pool_runs_on_the_codes_of_its_input() -> None:
    model = build(
        [
            helper.make_node("Conv", ["x", "w"], ["c"], "conv"),
            helper.make_node("MaxPool", ["c"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
            helper.make_node("Conv", ["p", "v"], ["y"], "last"),
        ],
        {"w": normal(4, 3, 1, 1), "v": normal(2, 4, 1, 1)},
        [16, 3, 8, 8],
        ["y"],
    )
    quantized = quantize(model, DIALECTS["u8s8"])
    scales = {
        node.inputs[0].name: node.inputs[1].name  # type: ignore[union-attr]
        for node in quantized.graph.graph
        if node.op_type == "QuantizeLinear"
    }
    assert scales["p"] == scales["c"] == "c_scale"
    assert sqnr_db(run(model), run(quantized)) > 25
