"""Bias correction: channels have the float model's mean again."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from qat_models import make_context, run_graph, sqnr_db
from small_graphs import build, build_residual, normal

from compress.data.samples import Batch, SampleSet
from compress.data.subset import PickedSamples, take
from compress.model import Model
from compress.quantize.repair import walk as walking
from compress.quantize.repair.bias import mean_response
from compress.quantize.repair.open_graph import OpenGraph
from compress.quantize.repair.walk import Walk
from compress.quantize.static import QuantizeSettings, quantize_static
from compress.runtimes import open_graph
from compress.steps import StepContext
from compress.targets import DialectName

node = helper.make_node
PLAIN = QuantizeSettings(observer="minmax", smooth=False, equalize=False, bias_correction="none")
STEPWISE = PLAIN.model_copy(update={"bias_correction": "stepwise"})


class ConstantSamples(PickedSamples):
    """The samples of another set with every value the same."""

    def __init__(self, samples: SampleSet, value: float) -> None:
        super().__init__(samples, (0,))
        object.__setattr__(self, "_value", value)

    def digest(self) -> str:
        return f"{super().digest()}{self._value}"  # type: ignore[attr-defined]

    def batches(self, size: int) -> Iterator[Batch]:
        for batch in super().batches(size):
            yield Batch({name: np.full_like(each, self._value) for name, each in batch.inputs.items()}, None)  # type: ignore[attr-defined]


def build_biased() -> Model:
    """Return Conv-Relu four times, each without a bias: x [batch, 3, 8, 8] → y [batch, 6, 8, 8]."""
    nodes, constants, value = [], {}, "x"
    for layer, channels in enumerate((3, 6, 6, 6)):
        # Positive inputs and few, coarse weights: rounding has a mean.
        constants[f"w{layer}"] = np.abs(normal(6, channels, 3, 3, seed=layer)) ** 3
        last = "y" if layer == 3 else f"r{layer}"
        nodes += [
            node("Conv", [value, f"w{layer}"], [f"c{layer}"], f"conv{layer}", pads=[1] * 4),
            node("Relu", [f"c{layer}"], [last], f"relu{layer}"),
        ]
        value = last
    return build(nodes, constants, ["batch", 3, 8, 8], ["y"])


def all_samples(context: StepContext) -> np.ndarray:
    return np.concatenate([batch.inputs["x"] for batch in context.calibration.batches(32)])


def channel_means(model: Model, x: np.ndarray) -> np.ndarray:
    return np.asarray(run_graph(model, x).mean(axis=(0, 2, 3)), np.float64)


@pytest.mark.parametrize("dialect", ["u8s8", "s8s8-symmetric"])
def test_the_mean_of_every_channel_comes_back(tmp_path: Path, dialect: DialectName) -> None:
    model = build_biased()
    context = make_context(model, tmp_path, dialect)
    x = all_samples(context)
    wanted = channel_means(model, x)
    before, after = (
        np.abs(channel_means(quantize_static(model, each, context).model, x) - wanted).max() / wanted.mean()
        for each in (PLAIN, STEPWISE)
    )
    assert after < before / 5
    assert after < 1e-3


def test_what_was_corrected_is_in_the_metrics_and_layers_without_a_bias_get_one(tmp_path: Path) -> None:
    model = build_biased()
    result = quantize_static(model, STEPWISE, make_context(model, tmp_path))
    assert result.metrics["corrected_biases"] == 4
    names = [name for name in result.model.graph.graph.initializers if name.endswith("_bias_of_conv3_quantized")]
    assert names == ["conv3_bias_of_conv3_quantized"]


def test_the_constant_behind_a_matrix_product_is_its_bias(tmp_path: Path) -> None:
    nodes = [
        node("MatMul", ["x", "w"], ["h"], "first"),
        node("Add", ["b", "h"], ["a"], "bias"),
        node("Relu", ["a"], ["r"], "relu"),
        node("MatMul", ["r", "v"], ["y"], "second"),
    ]
    constants = {"w": np.abs(normal(6, 8)) ** 3, "b": normal(8), "v": normal(8, 3, seed=1)}
    model = build(nodes, constants, ["batch", 5, 6], ["y"])
    context = make_context(model, tmp_path)
    result = quantize_static(model, STEPWISE, context)
    assert result.metrics["corrected_biases"] == 1
    before = constants["b"]
    after = result.model.graph.graph.initializers["b"].const_value
    assert after is not None
    assert 0 < np.abs(after.numpy() - before).max() < 0.1


def test_a_shift_by_hand(tmp_path: Path) -> None:
    """1.0 is coded as 127, 0.3 as 38, which is 0.299213: of inputs of 1, 0.000787 is missing."""
    model = build(
        [node("Conv", ["x", "w", "b"], ["y"], "conv")],
        {"w": np.array([[[[1.0]], [[0.3]]]], np.float32), "b": np.array([0.5], np.float32)},
        [1, 2, 1, 1],
        ["y"],
    )
    context = make_context(model, tmp_path)
    ones = ConstantSamples(context.calibration, 1.0)
    context = replace(context, calibration=ones)
    found = [quantize_static(model, each, context).model for each in (PLAIN, STEPWISE)]
    codes = [each.graph.graph.initializers["b_of_conv_quantized"].const_value for each in found]
    scale = found[0].graph.graph.initializers["b_of_conv_scale"].const_value
    assert codes[0] is not None
    assert codes[1] is not None
    assert scale is not None
    shift = (codes[1].numpy() - codes[0].numpy()) * scale.numpy()
    assert shift == pytest.approx(0.3 - 38 / 127, abs=float(scale.numpy()[0]))


def test_repair_of_a_residual_network_makes_it_better(tmp_path: Path) -> None:
    model = build_residual()
    context = make_context(model, tmp_path)
    x = all_samples(context)
    wanted = run_graph(model, x)
    before, after = (
        sqnr_db(wanted, run_graph(quantize_static(model, each, context).model, x)) for each in (PLAIN, STEPWISE)
    )
    assert after >= before


def test_where_memory_is_short_the_last_samples_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_biased()
    context = make_context(model, tmp_path)
    quantized = quantize_static(model, PLAIN, context).model
    batches = [batch.inputs for batch in context.calibration.batches(8)]

    def walk() -> Walk:
        found = Walk(OpenGraph.read(quantized), lambda piece: open_graph(piece, threads=1), batches)
        found.advance("conv1")
        return found

    assert walk().batches == 4
    monkeypatch.setattr(walking, "HELD_BYTES", 2 * 8 * 6 * 64)
    assert walk().batches == 2
    monkeypatch.setattr(walking, "HELD_BYTES", 0)
    assert walk().batches == 1


def test_the_walk_computes_what_the_whole_graph_does(tmp_path: Path) -> None:
    model = build_residual()
    context = make_context(model, tmp_path)
    quantized = quantize_static(model, PLAIN, context).model
    x = all_samples(context)
    walk = Walk(OpenGraph.read(quantized), lambda piece: open_graph(piece, threads=1), [{"x": x[:16]}, {"x": x[16:]}])
    for stop in ("conv0", "conv1", "conv2", "gemm"):
        walk.advance(stop)
    found = np.concatenate(list(walk.outputs("gemm")))
    assert sqnr_db(run_graph(quantized, x), found) > 100


def test_one_sample_and_constant_activations_are_enough(tmp_path: Path) -> None:
    model = build_biased()
    context = make_context(model, tmp_path)
    one = take(context.calibration, 1)
    single = quantize_static(model, QuantizeSettings(), make_context(model, tmp_path, calibration=one)).model
    assert np.isfinite(run_graph(single, all_samples(context))).all()
    zeros = replace(context, calibration=ConstantSamples(one, 0.0))
    found = quantize_static(model, QuantizeSettings(), zeros).model
    assert np.isfinite(run_graph(found, all_samples(context))).all()


def test_the_analytic_correction_brings_the_means_of_one_layer_back_without_running_it(tmp_path: Path) -> None:
    model = build(
        [node("Conv", ["x", "w", "b"], ["y"], "conv", group=2)],
        {"w": np.abs(normal(6, 2, 3, 3)) ** 3, "b": normal(6)},
        ["batch", 4, 8, 8],
        ["y"],
    )
    context = make_context(model, tmp_path)
    context = replace(context, calibration=ConstantSamples(context.calibration, 1.0))
    x = all_samples(context)
    wanted = channel_means(model, x)
    analytic = PLAIN.model_copy(update={"bias_correction": "analytic"})
    before, after = (
        np.abs(channel_means(quantize_static(model, each, context).model, x) - wanted).max()
        for each in (PLAIN, analytic)
    )
    # What is left is the rounding of the output, half a step of 1/255 of its range.
    assert after < max(before / 2, np.ptp(wanted) / 255)


@pytest.mark.parametrize("operator", ["Gemm", "MatMul"])
def test_the_mean_response_of_a_matrix_is_the_matrix_times_the_means(operator: str) -> None:
    model = build([node(operator, ["x", "w"], ["y"], "n")], {"w": normal(6, 3)}, ["batch", 6], ["y"])
    weight = normal(6, 3).astype(np.float64)
    found = mean_response(next(iter(model.graph.graph)), weight, np.arange(6.0))
    assert np.allclose(found, np.arange(6.0) @ weight)


def test_a_graph_with_sequences_is_quantized_without_correction(tmp_path: Path) -> None:
    nodes = [
        node("Conv", ["x", "w"], ["c"], "conv"),
        node("SequenceConstruct", ["c", "c"], ["s"], "pair"),
        node("ConcatFromSequence", ["s"], ["d"], "both", axis=1),
        node("Conv", ["d", "v"], ["y"], "last"),
    ]
    model = build(nodes, {"w": normal(4, 3, 1, 1), "v": normal(2, 8, 1, 1)}, ["batch", 3, 8, 8], ["y"])
    result = quantize_static(model, STEPWISE, make_context(model, tmp_path))
    assert result.metrics["corrected_biases"] == 0
    assert result.metrics["integer_nodes"] == 2
