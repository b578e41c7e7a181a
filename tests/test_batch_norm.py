"""BatchNormalization goes into the weights before it, and only where it may."""

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from exported_nets import make_batch, unfolded_model
from hypothesis import given, settings
from hypothesis import strategies as st
from normalized_layers import Array, constant, normalized_layer
from onnx import helper

from compress.batch_norm import fold_batch_norm, has_batch_norm, move_biases, normalisation_after
from compress.intake.simplify import simplify
from compress.model import Model, StepRecord
from compress.runtimes.onnxruntime import open_graph

CASES = st.sampled_from(
    [
        ("Conv", (6, 4, 3, 3), ("batch", 4, 5, 5), {}),
        ("Conv", (6, 1, 3, 3), ("batch", 6, 5, 5), {"group": 6, "pads": [1, 1, 1, 1]}),
        ("Conv", (4, 2, 3), ("batch", 4, 7), {"group": 2}),
        ("ConvTranspose", (4, 3, 2, 2), ("batch", 4, 3, 3), {"strides": [2, 2]}),
        ("ConvTranspose", (4, 3, 2, 2), ("batch", 4, 3, 3), {"group": 2}),
        ("Gemm", (4, 3), ("batch", 4), {}),
        ("Gemm", (3, 4), ("batch", 4), {"transB": 1, "alpha": 0.5, "beta": 2.0}),
    ]
)


def read(proto: onnx.ModelProto) -> Model:
    return Model.from_ir(ir.from_proto(proto))


def operators(model: Model) -> list[str]:
    return [node.op_type for node in model.graph.graph]


def run(model: Model, feed: Array) -> list[Array]:
    with open_graph(model.to_bytes(), threads=1) as session:
        return [value.astype(np.float32) for value in session.run({"x": feed}).values()]


def convolution() -> onnx.ModelProto:
    weight = np.random.default_rng(0).normal(size=(4, 4, 1, 1)).astype(np.float32)
    return normalized_layer("Conv", weight, ("batch", 4, 3, 3), bias=False)


def images() -> Array:
    return np.random.default_rng(1).normal(size=(2, 4, 3, 3)).astype(np.float32)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(CASES, st.booleans(), st.integers(0, 2**16))
def test_batch_normalization_goes_into_the_weights_before_it(
    case: tuple[str, tuple[int, ...], tuple[int | str, ...], dict[str, object]], bias: bool, seed: int
) -> None:
    op, weight, shape, attributes = case
    rng = np.random.default_rng(seed)
    values = rng.normal(size=weight).astype(np.float32)
    model = read(normalized_layer(op, values, shape, bias=bias, seed=seed, **attributes))
    feed = rng.normal(size=[3, *(size for size in shape if isinstance(size, int))]).astype(np.float32)
    folded = fold_batch_norm(model)
    assert operators(folded) == [op]
    assert (folded.inputs, folded.outputs) == (model.inputs, model.outputs)
    [wanted], [found] = run(model, feed), run(folded, feed)
    np.testing.assert_allclose(found, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["resnet", "mobilenetv2"])
def test_a_whole_network_gives_the_same_outputs(name: str) -> None:
    exported, feed = unfolded_model(name), make_batch(name).numpy()
    graph = exported.copy_graph()
    simplify(graph)
    model = Model.from_ir(graph)
    assert has_batch_norm(model)
    assert all(len(node.inputs) == 2 for node in model.graph.graph if node.op_type == "Conv")
    folded = fold_batch_norm(model)
    assert not has_batch_norm(folded)
    np.testing.assert_allclose(run(model, feed)[0], run(exported, feed)[0], atol=1e-5)
    [wanted], [found] = run(model, feed), run(folded, feed)
    np.testing.assert_allclose(found, wanted, atol=1e-4 * float(np.abs(wanted).max()))


def test_folding_gives_the_same_bytes_and_leaves_the_model_and_its_history_alone() -> None:
    record = StepRecord("prune", {}, 1.0, {}, "a", "b")
    model = read(convolution()).with_record(record)
    before = model.to_bytes()
    once, twice = fold_batch_norm(model), fold_batch_norm(model)
    assert once.to_bytes() == twice.to_bytes()
    assert model.to_bytes() == before
    assert once.history == (record,)
    assert fold_batch_norm(once) is once


def test_nothing_that_is_no_longer_read_stays_in_the_file() -> None:
    folded = fold_batch_norm(read(convolution()))
    assert sorted(folded.graph.graph.initializers) == ["w", "w.bias"]


def test_a_bias_is_named_after_its_weight() -> None:
    proto = convolution()
    proto.graph.node[0].input[1] = proto.graph.initializer[0].name = "stem.weight"
    assert sorted(fold_batch_norm(read(proto)).graph.graph.initializers) == ["stem.bias", "stem.weight"]
    proto.graph.initializer[1].name = "stem.bias"
    proto.graph.node[1].input[1] = "stem.bias"
    assert sorted(fold_batch_norm(read(proto)).graph.graph.initializers) == ["stem.bias_1", "stem.weight"]


def test_weights_that_two_convolutions_share_are_not_changed_for_one_of_them() -> None:
    proto = convolution()
    proto.graph.node.append(helper.make_node("Conv", ["y", "w"], ["z"]))
    proto.graph.output[0].name = "z"
    model = read(proto)
    folded = fold_batch_norm(model)
    assert operators(folded) == ["Conv", "Conv"]
    np.testing.assert_allclose(run(folded, images())[0], run(model, images())[0], atol=1e-5)


def _read_elsewhere(proto: onnx.ModelProto) -> None:
    proto.graph.node.append(helper.make_node("Add", ["y", "c"], ["z"]))
    proto.graph.output[0].name = "z"


def _returned(proto: onnx.ModelProto) -> None:
    proto.graph.output.append(helper.make_tensor_value_info("c", onnx.TensorProto.FLOAT, ["batch", 4, 3, 3]))


def _computed(proto: onnx.ModelProto) -> None:
    proto.graph.node.insert(0, helper.make_node("Neg", ["w"], ["negative"]))
    proto.graph.node[1].input[1] = "negative"


def _after_an_activation(proto: onnx.ModelProto) -> None:
    proto.graph.node.insert(1, helper.make_node("Relu", ["c"], ["r"]))
    proto.graph.node[2].input[0] = "r"


@pytest.mark.parametrize("change", [_read_elsewhere, _returned, _computed, _after_an_activation])
def test_where_it_cannot_be_folded_it_stays(change: Callable[[onnx.ModelProto], None]) -> None:
    proto = convolution()
    change(proto)
    model = read(proto)
    folded = fold_batch_norm(model)
    assert "BatchNormalization" in operators(folded)
    for wanted, found in zip(run(model, images()), run(folded, images()), strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert all(normalisation_after(node) is None for node in model.graph.graph)


def test_a_bias_that_is_multiplied_with_zero_is_no_place_for_anything() -> None:
    proto = normalized_layer("Gemm", np.ones((4, 3), np.float32), ("batch", 4), beta=0.0)
    assert operators(fold_batch_norm(read(proto))) == ["Gemm", "BatchNormalization"]


def test_statistics_of_the_batch_are_not_folded() -> None:
    proto = convolution()
    proto.graph.node[1].attribute.append(helper.make_attribute("training_mode", 1))
    assert not has_batch_norm(read(proto))


def test_the_normalisation_behind_a_layer_is_found() -> None:
    model = read(convolution())
    layer, norm = model.graph.graph
    assert normalisation_after(layer) is norm
    assert normalisation_after(norm) is None


@pytest.mark.parametrize("op", ["Conv", "Gemm"])
def test_a_bias_goes_into_the_mean_behind_it(op: str) -> None:
    weight = np.ones((3, 4, 1, 1) if op == "Conv" else (4, 3), np.float32)
    shape = ("batch", 4, 3, 3) if op == "Conv" else ("batch", 4)
    proto = normalized_layer(op, weight, shape)
    if op == "Gemm":
        proto.graph.node[0].attribute.append(helper.make_attribute("beta", 2.0))
    model = read(proto)
    graph = model.copy_graph()
    move_biases(graph.graph)
    moved = Model.from_ir(graph)
    assert "b" not in moved.graph.graph.initializers
    feed = images() if op == "Conv" else images()[0, 0, :2, :1] * np.ones(4, np.float32)
    np.testing.assert_allclose(run(moved, feed)[0], run(model, feed)[0], atol=1e-5)


def test_a_scalar_bias_becomes_one_for_each_channel() -> None:
    proto = normalized_layer("Gemm", np.ones((4, 3), np.float32), ("batch", 4))
    proto.graph.initializer[1].CopyFrom(constant("b", 0.5))
    model = read(proto)
    folded = fold_batch_norm(model)
    feed = images()[0, 0, :2, :1] * np.ones(4, np.float32)
    np.testing.assert_allclose(run(folded, feed)[0], run(model, feed)[0], atol=1e-5)
