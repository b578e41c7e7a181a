"""Which values can be scaled together."""

from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, helper
from small_graphs import build, build_residual, normal

from compress.model import Model
from compress.quantize.repair.groups import ChannelGroup, find_groups, with_shapes

node = helper.make_node


def groups_of(model: Model) -> list[ChannelGroup]:
    return find_groups(with_shapes(model).graph)


def names(group: ChannelGroup) -> tuple[set[str], set[str], set[str]]:
    return (
        {str(value.name) for value in group.values},
        {str(each.name) for each in group.producers},
        {str(each.name) for each in group.consumers},
    )


def chain(between: list[NodeProto], constants: dict[str, Any] | None = None, last: str = "m") -> Model:
    """Return Conv, what is given (c → m), Conv: x [batch, 3, 8, 8]."""
    nodes = [node("Conv", ["x", "w", "b"], ["c"], "first"), *between, node("Conv", [last, "v"], ["y"], "second")]
    weights = {"w": normal(4, 3, 1, 1), "b": normal(4), "v": normal(2, 4, 1, 1), **(constants or {})}
    return build(nodes, weights, ["batch", 3, 8, 8], ["y"])


def test_an_add_ties_what_it_adds_and_a_depthwise_convolution_parts_two_groups() -> None:
    shared, depthwise = groups_of(build_residual())
    assert names(shared) == ({"c0", "r0", "c2", "a", "r2", "m"}, {"conv0", "conv2"}, {"conv1", "gemm"})
    assert names(depthwise) == ({"c1", "r1"}, {"conv1"}, {"conv2"})
    assert [str(clip.name) for clip in shared.clips] == ["clip0"]


@pytest.mark.parametrize(
    "between",
    [
        [node("Relu", ["c"], ["m"], "n")],
        [node("LeakyRelu", ["c"], ["m"], "n", alpha=0.1)],
        [node("MaxPool", ["c"], ["m"], "n", kernel_shape=[2, 2])],
        [node("GlobalAveragePool", ["c"], ["m"], "n")],
        [node("Identity", ["c"], ["m"], "n")],
    ],
)
def test_what_commutes_with_a_positive_scale_carries_it_on(between: list[NodeProto]) -> None:
    (group,) = groups_of(chain(between))
    assert names(group) == ({"c", "m"}, {"first"}, {"second"})
    assert (group.axis, group.channels) == (1, 4)


@pytest.mark.parametrize(
    "between",
    [
        [node("Sigmoid", ["c"], ["m"], "n")],
        [node("HardSwish", ["c"], ["m"], "n")],
        [node("Transpose", ["c"], ["m"], "n", perm=[0, 1, 3, 2])],
        [node("Mul", ["c", "c"], ["m"], "n")],
        [node("Add", ["c", "one"], ["m"], "n")],
        [node("Clip", ["c", "one", "two"], ["m"], "n")],
    ],
)
def test_what_does_not_is_left_alone(between: list[NodeProto]) -> None:
    assert groups_of(chain(between, {"one": np.array(1, np.float32), "two": np.array(2, np.float32)})) == []


def test_a_constant_that_is_added_to_every_channel_belongs_to_the_group() -> None:
    model = chain([node("Add", ["c", "s"], ["m"], "n")], {"s": normal(4, 1, 1)})
    (group,) = groups_of(model)
    assert [(str(each.name), index) for each, index in group.constants] == [("n", 1)]


def test_a_value_that_is_an_output_keeps_its_scale() -> None:
    nodes = [node("Conv", ["x", "w"], ["c"], "first"), node("Conv", ["c", "v"], ["y"], "second")]
    model = build(nodes, {"w": normal(4, 3, 1, 1), "v": normal(2, 4, 1, 1)}, ["batch", 3, 8, 8], ["y", "c"])
    assert groups_of(model) == []


def test_layers_of_a_perceptron_with_biases_of_their_own_form_groups() -> None:
    nodes = [
        node("MatMul", ["x", "w"], ["h"], "first"),
        node("Add", ["h", "b"], ["a"], "bias"),
        node("Relu", ["a"], ["r"], "relu"),
        node("MatMul", ["r", "v"], ["y"], "second"),
    ]
    model = build(nodes, {"w": normal(6, 8), "b": normal(8), "v": normal(8, 3)}, ["batch", 5, 6], ["y"])
    (group,) = groups_of(model)
    assert names(group) == ({"h", "a", "r"}, {"first"}, {"second"})
    assert (group.axis, group.channels) == (2, 8)


def test_a_layer_normalization_can_divide_what_matrix_products_read() -> None:
    nodes = [
        node("LayerNormalization", ["x", "g", "b"], ["n"], "norm", axis=-1),
        node("MatMul", ["n", "q"], ["p"], "query"),
        node("MatMul", ["n", "k"], ["r"], "key"),
        node("Add", ["p", "r"], ["y"], "sum"),
    ]
    constants = {"g": np.ones(6, np.float32), "b": normal(6), "q": normal(6, 6), "k": normal(6, 6)}
    (group,) = groups_of(build(nodes, constants, ["batch", 5, 6], ["y"]))
    assert names(group) == ({"n"}, {"norm"}, {"query", "key"})


def test_channels_stay_where_they_are_behind_a_mean_and_a_flatten() -> None:
    nodes = [
        node("Conv", ["x", "w"], ["c"], "first"),
        node("GlobalAveragePool", ["c"], ["p"], "pool"),
        node("Flatten", ["p"], ["f"], "flatten"),
        node("Gemm", ["f", "v"], ["y"], "second", transB=1),
    ]
    (group,) = groups_of(build(nodes, {"w": normal(4, 3, 1, 1), "v": normal(2, 4)}, ["batch", 3, 8, 8], ["y"]))
    assert names(group) == ({"c", "p", "f"}, {"first"}, {"second"})


def test_a_flatten_that_mixes_places_into_channels_ends_a_group() -> None:
    nodes = [
        node("Conv", ["x", "w"], ["c"], "first"),
        node("Flatten", ["c"], ["f"], "flatten"),
        node("Gemm", ["f", "v"], ["y"], "second", transB=1),
    ]
    model = build(nodes, {"w": normal(4, 3, 1, 1), "v": normal(2, 256)}, ["batch", 3, 8, 8], ["y"])
    assert groups_of(model) == []
