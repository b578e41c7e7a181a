"""Equalization: the function stays, the channels become alike."""

from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from onnx import helper
from qat_models import make_context, random_samples, run_graph, sqnr_db
from small_graphs import build, build_residual, normal

from compress.model import Model
from compress.quantize.dialects import DIALECTS
from compress.quantize.repair.channels import observe_channels
from compress.quantize.repair.equalize import apply_scale, equalize
from compress.quantize.repair.groups import find_groups, with_shapes
from compress.quantize.static import QuantizeSettings, quantize_static
from compress.runtimes import Session, open_graph

node = helper.make_node
PROPERTY = settings(deadline=None, max_examples=25, derandomize=True)


def opened(observed: Model, values: list[str]) -> Session:
    return open_graph(observed.to_bytes(), threads=1, outputs=values)


def uneven(*shape: int, seed: int = 0) -> np.ndarray:
    """Return weights whose output channels differ a hundredfold in size."""
    sizes = np.logspace(-1, 1, shape[0], dtype=np.float32).reshape(-1, *(1,) * (len(shape) - 1))
    return np.asarray(normal(*shape, seed=seed) * sizes, np.float32)


def build_uneven(activation: str, groups: int, kernel: int) -> Model:
    """Return Conv, an activation function, Conv, Add, Conv: x [batch, 3, 8, 8] → y [batch, 4, 8, 8]."""
    pad = [kernel // 2] * 4
    ends = ["zero", "six"] if activation == "Clip" else []
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], "first"),
        node(activation, ["c", *ends], ["r"], "activation"),
        node("Conv", ["r", "v"], ["d"], "second", pads=pad, group=groups),
        node("Add", ["d", "r"], ["a"], "add"),
        node("Conv", ["a", "u"], ["y"], "third"),
    ]
    constants = {
        "w": uneven(8, 3, 1, 1), "b": normal(8), "v": uneven(8, 8 // groups, kernel, kernel, seed=1),
        "u": normal(4, 8, 1, 1, seed=2), "zero": np.array(0, np.float32), "six": np.array(6, np.float32),
    }  # fmt: skip
    return build(nodes, constants, ["batch", 3, 8, 8], ["y"])


@PROPERTY
@given(st.sampled_from(["Relu", "LeakyRelu", "Identity"]), st.sampled_from([1, 2, 8]), st.integers(0, 9))
def test_any_positive_scale_leaves_the_function_as_it_is(activation: str, groups: int, seed: int) -> None:
    model = build_uneven(activation, groups, 3)
    graph = with_shapes(model)
    found = find_groups(graph.graph)
    assert found
    for group in found:
        apply_scale(group, np.exp(np.random.default_rng(seed).uniform(-3, 3, group.channels)))
    scaled = Model.from_ir(graph)
    x = random_samples()
    assert scaled.to_bytes() != model.to_bytes()
    assert sqnr_db(run_graph(model, x), run_graph(scaled, x)) > 100


def test_scales_reach_gemm_matmul_layer_norm_and_constants_alike() -> None:
    nodes = [
        node("LayerNormalization", ["x", "g", "b"], ["n"], "norm", axis=-1),
        node("MatMul", ["n", "w"], ["h"], "first"),
        node("Add", ["h", "c"], ["a"], "bias"),
        node("Relu", ["a"], ["r"], "relu"),
        node("Gemm", ["r", "v", "d"], ["s"], "second", transB=1),
        node("Gemm", ["s", "u"], ["y"], "third"),
    ]
    constants = {
        "g": normal(6), "b": normal(6, seed=1), "w": normal(6, 8), "c": normal(8), "v": normal(5, 8), "d": normal(5),
        "u": normal(5, 3),
    }  # fmt: skip
    model = build(nodes, constants, ["batch", 6], ["y"])
    graph = with_shapes(model)
    found = find_groups(graph.graph)
    assert len(found) == 3
    for group in found:
        apply_scale(group, np.exp(np.random.default_rng(1).uniform(-2, 2, group.channels)))
    x = np.random.default_rng(0).standard_normal((16, 6)).astype(np.float32)
    assert sqnr_db(run_graph(model, x), run_graph(Model.from_ir(graph), x)) > 100


def test_a_weight_that_two_layers_share_is_scaled_for_one_of_them_only() -> None:
    nodes = [
        node("Conv", ["x", "p"], ["i"], "input"),
        node("Sigmoid", ["i"], ["g"], "gate"),
        node("Conv", ["g", "w"], ["c"], "first"),
        node("Relu", ["c"], ["r"], "relu"),
        node("Conv", ["r", "w"], ["y"], "second"),
    ]
    model = build(nodes, {"p": normal(4, 3, 1, 1), "w": normal(4, 4, 1, 1)}, ["batch", 3, 8, 8], ["y"])
    graph = with_shapes(model)
    (group,) = find_groups(graph.graph)
    apply_scale(group, np.array([1.0, 2.0, 4.0, 0.5]))
    scaled = Model.from_ir(graph)
    assert len(scaled.graph.graph.initializers) == 3
    assert sqnr_db(run_graph(model, random_samples()), run_graph(scaled, random_samples())) > 100


def test_a_scale_divides_the_producer_and_multiplies_the_consumer() -> None:
    nodes = [node("Conv", ["x", "w", "b"], ["c"], "first"), node("Conv", ["c", "v"], ["y"], "second", group=2)]
    constants = {"w": np.full((4, 3, 1, 1), 8, np.float32), "b": np.full(4, 2, np.float32),
                 "v": np.ones((2, 2, 1, 1), np.float32)}  # fmt: skip
    model = build(nodes, constants, ["batch", 3, 8, 8], ["y"])
    graph = with_shapes(model)
    (group,) = find_groups(graph.graph)
    apply_scale(group, np.array([1.0, 2.0, 4.0, 8.0]))
    changed = {name: value.const_value for name, value in graph.graph.initializers.items()}
    found = {name: tensor.numpy().reshape(-1).tolist() for name, tensor in changed.items() if tensor is not None}
    assert found["w"] == [8] * 3 + [4] * 3 + [2] * 3 + [1] * 3
    assert found["b"] == [2, 1, 0.5, 0.25]
    assert found["v"] == [1, 2, 4, 8]


def test_equalization_with_a_clip_is_exact_on_the_samples_and_makes_int8_better(tmp_path: Path) -> None:
    model = build_uneven("Clip", 8, 3)
    context = make_context(model, tmp_path)
    equalized, done = equalize(model, DIALECTS["u8s8"], context.calibration, opened, lambda *_: None)
    assert "first" in [each.producer for each in done]
    x = np.concatenate([batch.inputs["x"] for batch in context.calibration.batches(32)])
    before, after = run_graph(model, x), run_graph(equalized, x)
    assert sqnr_db(before, after) > 100
    plain = QuantizeSettings(observer="minmax", smooth=False, equalize=False, bias_correction="none")
    repaired = plain.model_copy(update={"equalize": True})
    found = [sqnr_db(before, run_graph(quantize_static(model, each, context).model, x)) for each in (plain, repaired)]
    assert found[1] > found[0] + 2  # measured: 26.7 and 29.1 dB


def test_a_network_that_is_even_already_is_left_alone(tmp_path: Path) -> None:
    nodes = [node("Conv", ["x", "w"], ["c"], "first"), node("Conv", ["c", "v"], ["y"], "second")]
    constants = {"w": np.ones((4, 3, 1, 1), np.float32), "v": np.ones((2, 4, 1, 1), np.float32)}
    model = build(nodes, constants, ["batch", 3, 8, 8], ["y"])
    samples = make_context(model, tmp_path).calibration
    equalized, done = equalize(model, DIALECTS["u8s8"], samples, opened, lambda *_: None)
    assert done == []
    assert equalized.to_bytes() == model.to_bytes()


@pytest.mark.parametrize("dead", [0, 3])
def test_a_dead_channel_does_no_harm(tmp_path: Path, dead: int) -> None:
    model = build_uneven("Relu", 8, 3)
    graph = model.copy_graph()
    for name in ("w", "b"):
        value = graph.graph.initializers[name]
        assert value.const_value is not None
        weights = value.const_value.numpy().copy()
        weights[dead] = 0
        value.const_value = ir.tensor(weights, name=name)
    model = Model.from_ir(graph)
    samples = make_context(model, tmp_path).calibration
    equalized, _ = equalize(model, DIALECTS["u8s8"], samples, opened, lambda *_: None)
    found = run_graph(equalized, random_samples())
    assert np.isfinite(found).all()
    assert sqnr_db(run_graph(model, random_samples()), found) > 100


def test_statistics_of_channels_are_those_of_the_whole_set(tmp_path: Path) -> None:
    model = build_residual()
    samples = make_context(model, tmp_path).calibration
    seen = observe_channels(model, {"r0": 1, "m": 1}, samples, opened, lambda *_: None)
    x = np.concatenate([batch.inputs["x"] for batch in samples.batches(32)])
    with opened(model, ["r0"]) as session:
        values = np.moveaxis(session.run({"x": x})["r0"], 1, 0).reshape(8, -1).astype(np.float64)
    assert np.array_equal(seen["r0"].high, values.max(axis=1))
    assert np.array_equal(seen["r0"].low, values.min(axis=1))
    assert np.allclose(seen["r0"].mean, values.mean(axis=1), rtol=1e-5)
    assert np.allclose(seen["r0"].mean_square, (values**2).mean(axis=1), rtol=1e-5)
    assert seen["m"].count == len(samples)
