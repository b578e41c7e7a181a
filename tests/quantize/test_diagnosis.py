from pathlib import Path

import numpy as np
import pytest
from faulty_nets import CHANNEL, build_faulty
from onnx import helper
from qat_models import TARGETS, make_context, quantized, random_samples, run_graph
from small_graphs import build, build_residual, normal

from compress.data.samples import Batch
from compress.errors import ModelError
from compress.quantize.diagnosis.contributions import Bench, measure_contributions
from compress.quantize.diagnosis.noise import find_outlier, measure_noise
from compress.quantize.diagnosis.table import diagnose, diagnose_if_possible
from compress.quantize.layers import find_layers, float_constants, keep_float
from compress.report.layer_record import LayerRecord
from compress.store import Store
from compress.targets import DialectName


def table(fault: str, folder: Path, dialect: DialectName = "u8s8", **how: float) -> dict[str, LayerRecord]:
    original = build_faulty(fault)  # type: ignore[arg-type]
    model = quantized(original, folder, dialect)
    context = make_context(original, folder, dialect)
    return {layer.name: layer for layer in diagnose(model, context, **how)}  # type: ignore[arg-type]


def noisiest(layers: dict[str, LayerRecord]) -> LayerRecord:
    return min(layers.values(), key=lambda layer: layer.sqnr_db or np.inf)


@pytest.mark.parametrize("dialect", list(TARGETS))
def test_a_weight_with_one_large_channel_is_named(tmp_path: Path, dialect: DialectName) -> None:
    worst = noisiest(table("weight", tmp_path, dialect))
    assert (worst.name, worst.blame) == ("conv1", "weight")
    assert worst.weight_outlier is not None
    assert worst.weight_outlier.channel == CHANNEL
    assert worst.weight_outlier.ratio > 50


def test_an_activation_with_one_large_channel_is_named_where_it_is_written_and_where_it_is_read(tmp_path: Path) -> None:
    layers = table("activation", tmp_path)
    assert layers["conv1"].blame == "output"
    assert layers["conv2"].blame == "input"
    assert layers["conv1"].activation_outlier is not None
    assert layers["conv1"].activation_outlier.channel == CHANNEL
    assert layers["conv1"].activation_outlier.ratio > 20
    assert noisiest(layers).name == "conv2"


def test_a_sound_network_has_no_layer_that_stands_out(tmp_path: Path) -> None:
    layers = table("none", tmp_path)
    found = [layer.sqnr_db for layer in layers.values() if layer.sqnr_db is not None]
    assert len(found) == 5
    assert max(found) - min(found) < 20
    assert min(found) > 30


def test_noise_is_that_of_the_layer_computed_by_hand(tmp_path: Path) -> None:
    original = build_residual()
    model = quantized(original, tmp_path)
    store = Store(tmp_path)
    layers = find_layers(model, "u8s8")
    x = random_samples()
    noise = measure_noise(model, layers, float_constants(model, store), [Batch({"x": x}, None)], 1)
    # `gemm` alone in integers, its output is not quantized: what it adds to the model's own output.
    others = [layer.name for layer in layers if layer.name != "gemm"]
    alone = keep_float(model, others, float_constants(model, store), "u8s8")
    reference = run_graph(original, x).astype(np.float64)
    error = float(((run_graph(alone, x, simulate=True) - reference) ** 2).sum())
    assert noise["gemm"].powers["layer"] == pytest.approx(error, rel=1e-3)
    assert noise["gemm"].powers["signal"] == pytest.approx(float((reference**2).sum()), rel=1e-6)
    whole = float(((run_graph(model, x, simulate=True) - reference) ** 2).sum())
    assert noise["gemm"].powers["arriving"] == pytest.approx(whole, rel=1e-3)
    assert "output" not in noise["gemm"].powers
    assert "weight" not in noise["add"].powers


def test_values_whose_squares_overflow_are_named_by_layer(tmp_path: Path) -> None:
    original = build_residual()
    model = quantized(original, tmp_path)
    layers = find_layers(model, "u8s8")
    constants = {
        key: array * (np.float32(1e25) if key[0] == "gemm" else 1)
        for key, array in float_constants(model, Store(tmp_path)).items()
    }
    with pytest.raises(ModelError, match="the values around layer `gemm` are too large"):
        measure_noise(model, layers, constants, [Batch({"x": random_samples()}, None)], 1)


def test_what_layers_add_to_the_output_finds_the_fault_from_both_sides(tmp_path: Path) -> None:
    layers = table("weight", tmp_path, seconds=60)
    alone = {name: layer.alone_sqnr_db or np.inf for name, layer in layers.items()}
    gains = {name: layer.gain_db or 0.0 for name, layer in layers.items()}
    assert min(alone, key=lambda name: alone[name]) == "conv1"
    assert max(gains, key=lambda name: gains[name]) == "conv1"
    assert gains["conv1"] > 10


def test_time_is_spent_on_the_most_suspicious_layers_first(tmp_path: Path) -> None:
    original = build_faulty("weight")
    model = quantized(original, tmp_path)
    layers = find_layers(model, "u8s8")
    seconds = iter(range(100))
    found = measure_contributions(
        model,
        original,
        layers[1:],
        Bench("u8s8", float_constants(model, Store(tmp_path)), [Batch({"x": random_samples()}, None)], 1),
        seconds=2.5,
        clock=lambda: float(next(seconds)),
    )
    assert list(found.alone) == list(found.kept) == ["conv1", "conv2"]
    assert not found.complete


def test_a_fixed_batch_is_filled_up(tmp_path: Path) -> None:
    original = build_faulty("weight", batch=12)
    model = quantized(original, tmp_path)
    layers = diagnose(model, make_context(original, tmp_path), samples=16, seconds=60)
    worst = min(layers, key=lambda layer: layer.alone_sqnr_db or np.inf)
    assert worst.name == "conv1"


def test_channels_of_tokens_are_on_the_last_axis(tmp_path: Path) -> None:
    weight = normal(6, 9, seed=1)
    weight[:, 4] *= 30
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], "first"),
        helper.make_node("MatMul", ["h", "v"], ["y"], "second"),
    ]
    original = build(nodes, {"w": weight, "v": normal(9, 3, seed=2)}, ["batch", 5, 6], ["y"])
    model = quantized(original, tmp_path)
    first, _ = diagnose(model, make_context(original, tmp_path))
    assert first.activation_outlier is not None
    assert first.activation_outlier.channel == 4
    assert first.weight_outlier is not None
    assert first.weight_outlier.ratio < 5


def test_a_float_model_has_no_layers_to_diagnose(tmp_path: Path) -> None:
    original = build_residual()
    assert diagnose(original, make_context(original, tmp_path)) == ()


def test_a_model_with_control_flow_is_refused_in_words(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    body = helper.make_graph(
        [helper.make_node("Neg", ["y0"], ["z"])], "then", [], [helper.make_empty_tensor_value_info("z")]
    )
    other = helper.make_graph(
        [helper.make_node("Abs", ["y0"], ["z2"])], "else", [], [helper.make_empty_tensor_value_info("z2")]
    )
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["y0"], "gemm"),
        helper.make_node("If", ["yes"], ["y"], "branch", then_branch=body, else_branch=other),
    ]
    original = build(nodes, {"w": normal(4, 3), "yes": np.array(True)}, ["batch", 4], ["y"])
    model = quantized(original, tmp_path)
    context = make_context(original, tmp_path)
    with pytest.raises(ModelError, match="If `branch` has a body of its own"):
        diagnose(model, context)
    assert diagnose_if_possible(model, context, samples=4, seconds=0) == ()
    assert "has a body of its own" in caplog.text


def test_an_outlier_needs_channels_to_stand_out_from() -> None:
    assert find_outlier(np.array([3.0])) is None
    assert find_outlier(np.zeros(4)) is None
    found = find_outlier(np.array([1.0, 2.0, 8.0, 2.0]))
    assert found is not None
    assert (found.channel, found.ratio) == (2, 4.0)
