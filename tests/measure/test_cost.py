"""Costs are checked against numbers worked out by hand, and against PyTorch's own counter."""

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from compress.intake.export import export_module
from compress.intake.simplify import simplify
from compress.measure.cost import LayerCost, assumed_sizes, count_cost, sum_cost
from compress.model import Model, TensorSpec


def weight(name: str, *shape: int, dtype: str = "float32") -> TensorProto:
    return numpy_helper.from_array(np.ones(shape, dtype), name)


def make_model(
    nodes: list[onnx.NodeProto],
    initializers: list[TensorProto],
    inputs: dict[str, tuple[int | str, ...]],
    opset: int = 20,
) -> Model:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_empty_tensor_value_info(nodes[-1].output[0])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    return Model.from_bytes(model.SerializeToString())


def only(model: Model, **sizes: int) -> LayerCost:
    [layer] = count_cost(model, sizes=sizes)
    return layer


def test_a_convolution_costs_its_filters_at_every_position() -> None:
    conv = helper.make_node("Conv", ["x", "w", "b"], ["y"], name="c", group=2, pads=[1, 1, 1, 1], strides=[2, 2])
    layer = only(make_model([conv], [weight("w", 6, 2, 3, 3), weight("b", 6)], {"x": ("batch", 4, 8, 8)}))
    assert layer == LayerCost(
        name="c",
        op="Conv",
        output_shape=(1, 6, 4, 4),
        macs=6 * 4 * 4 * 2 * 3 * 3,
        parameters=6 * 2 * 9 + 6,
        weight_bytes=4 * (6 * 2 * 9 + 6),
        activation_bytes=4 * (4 * 8 * 8 + 6 * 4 * 4),
    )


def test_the_batch_multiplies_work_and_activations_but_not_weights() -> None:
    conv = helper.make_node("Conv", ["x", "w"], ["y"])
    model = make_model([conv], [weight("w", 6, 4, 1, 1)], {"x": ("batch", 4, 8, 8)})
    [one], [five] = count_cost(model), count_cost(model, 5)
    assert five.macs == 5 * one.macs
    assert five.activation_bytes == 5 * one.activation_bytes
    assert five.weight_bytes == one.weight_bytes


CASES: list[tuple[str, dict[str, Any], list[tuple[int, ...]], tuple[int, ...], int]] = [
    ("ConvTranspose", {"strides": [2, 2], "group": 2}, [(4, 3, 2, 2)], (1, 4, 5, 5), 4 * 25 * 3 * 4),
    ("Gemm", {}, [(4, 7)], (3, 4), 3 * 4 * 7),
    ("Gemm", {"transA": 1, "transB": 1}, [(7, 4)], (4, 3), 3 * 4 * 7),
    ("MatMul", {}, [(4, 7)], (2, 3, 4), 2 * 3 * 4 * 7),
    ("MatMul", {}, [(4,)], (3, 4), 3 * 4),
    ("LSTM", {"hidden_size": 5}, [(1, 20, 3), (1, 20, 5)], (7, 2, 3), 7 * 2 * 20 * (3 + 5)),
    ("GRU", {"hidden_size": 5, "direction": "bidirectional"}, [(2, 15, 3), (2, 15, 5)], (7, 2, 3), 14 * 2 * 15 * 8),
    ("RNN", {"hidden_size": 5}, [(1, 5, 3), (1, 5, 5)], (7, 2, 3), 7 * 2 * 5 * 8),
    ("Einsum", {"equation": "bij, bjk -> bik"}, [(2, 4, 5)], (2, 3, 4), 2 * 3 * 4 * 5),
    ("Einsum", {"equation": "ij->ji"}, [], (3, 4), 0),
    ("Relu", {}, [], (3, 4), 0),
]


@pytest.mark.parametrize(("op", "attributes", "shapes", "inputs", "macs"), CASES)
def test_multiply_accumulates_are_exact(
    op: str, attributes: dict[str, Any], shapes: list[tuple[int, ...]], inputs: tuple[int, ...], macs: int
) -> None:
    node = helper.make_node(op, ["x", *("w", "r")[: len(shapes)]], ["y"], **attributes)
    weights = [weight(name, *shape) for name, shape in zip(("w", "r"), shapes, strict=False)]
    layer = only(make_model([node], weights, {"x": inputs}))
    assert layer.macs == macs
    assert layer.parameters == sum(int(np.prod(shape)) for shape in shapes)


@pytest.mark.parametrize(
    ("attributes", "query", "key", "macs"),
    [
        ({}, (2, 4, 5, 8), (2, 4, 6, 8), 2 * 4 * 5 * 6 * (8 + 8)),
        ({"q_num_heads": 4, "kv_num_heads": 2}, (2, 5, 32), (2, 6, 16), 2 * 4 * 5 * 6 * (8 + 8)),
    ],
)
def test_attention_counts_scores_and_values(
    attributes: dict[str, Any], query: tuple[int, ...], key: tuple[int, ...], macs: int
) -> None:
    node = helper.make_node("Attention", ["q", "k", "v"], ["y"], **attributes)
    assert only(make_model([node], [], {"q": query, "k": key, "v": key}, opset=23)).macs == macs


def test_quantized_weights_count_with_their_stored_bytes_where_they_are_used() -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "sx", "zx"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "sx", "zx"], ["dx"]),
        helper.make_node("DequantizeLinear", ["w", "sw", "zw"], ["dw"], axis=0),
        helper.make_node("Conv", ["dx", "dw", "b"], ["y"]),
    ]
    constants = [
        weight("sx"),
        weight("zx", dtype="uint8"),
        weight("w", 6, 4, 3, 3, dtype="int8"),
        weight("sw", 6),
        weight("zw", 6, dtype="int8"),
        weight("b", 6),
    ]
    model = make_model(nodes, constants, {"x": ("batch", 4, 5, 5)})
    quantize, dequantize, conv = count_cost(model)
    assert [quantize.op, dequantize.op, conv.op] == ["QuantizeLinear", "DequantizeLinear", "Conv"]
    assert conv.macs == 6 * 9 * 4 * 9
    assert conv.parameters == 6 * 36 + 6
    assert conv.weight_bytes == 6 * 36 + 6 * 4 + 6 + 6 * 4
    assert (quantize.parameters, quantize.weight_bytes) == (0, 5)
    assert (quantize.activation_bytes, dequantize.activation_bytes) == (100 * 5, 100 * 5)
    totals = sum_cost([quantize, dequantize, conv])
    assert (totals.layers, totals.macs, totals.unknown) == (3, conv.macs, 0)
    assert totals.weight_bytes == conv.weight_bytes + 5


def test_shared_weights_count_once() -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("MatMul", ["h", "w"], ["y"])]
    first, second = count_cost(make_model(nodes, [weight("w", 4, 4)], {"x": ("batch", 4)}))
    assert (first.parameters, second.parameters) == (16, 0)
    assert first.macs == second.macs == 16


def test_dynamic_dimensions_take_the_given_size_or_a_stated_assumption() -> None:
    model = make_model([helper.make_node("MatMul", ["x", "w"], ["y"])], [weight("w", 4, 2)], {"x": ("batch", "seq", 4)})
    assert only(model, seq=10).macs == 10 * 4 * 2
    assert only(model).macs == 128 * 4 * 2
    assert assumed_sizes(model) == {"seq": 128}
    assert assumed_sizes(model, {"seq": 10}) == {}


def test_shapes_that_the_graph_computes_are_known() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Mul", ["n", "two"], ["n2"]),
        helper.make_node("Concat", ["n2", "two"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["r"]),
        helper.make_node("MatMul", ["r", "w"], ["y"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([0]), "zero"),
        numpy_helper.from_array(np.array([2]), "two"),
        weight("w", 2, 7),
    ]
    layers = count_cost(make_model(nodes, constants, {"x": ("batch", 4)}), 3)
    assert layers[-1].output_shape == (6, 7)
    assert layers[-1].macs == 6 * 2 * 7


def test_a_shape_that_depends_on_values_is_unknown_and_counts_nothing() -> None:
    nodes = [
        helper.make_node("NonZero", ["x"], ["i"]),
        helper.make_node("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["f"], ["t"]),
        helper.make_node("MatMul", ["t", "w"], ["y"]),
    ]
    layers = count_cost(make_model(nodes, [weight("w", 2, 7)], {"x": ("batch", 4)}))
    assert (layers[-1].output_shape, layers[-1].macs, layers[-1].activation_bytes) == (None, 0, 0)
    assert sum_cost(layers).unknown == 4
    assert layers[-1].parameters == 14


def test_operators_of_other_domains_count_no_multiply_accumulates() -> None:
    model = make_model([helper.make_node("MatMul", ["x", "w"], ["y"])], [weight("w", 4, 2)], {"x": (3, 4)})
    next(iter(model.graph.graph)).domain = "mine"
    model.graph.graph.outputs[0].shape = ir.Shape([3, 2])
    assert only(model).macs == 0


class MobileNet(nn.Module):
    """Stem, depthwise and pointwise convolutions, pooling, classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6()),
            *(nn.Conv2d(8, 24, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU6()),
            *(nn.Conv2d(24, 24, 3, 2, 1, groups=24, bias=False), nn.BatchNorm2d(24), nn.ReLU6()),
            *(nn.Conv2d(24, 16, 1, bias=False), nn.BatchNorm2d(16)),
        )
        self.head = nn.Linear(16, 10)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(image).mean((2, 3)))
        return logits


def small_cnn() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 5), nn.Flatten(), nn.Linear(6 * 10 * 10, 5))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(20, 30), nn.GELU(), nn.Linear(30, 10))


@pytest.mark.parametrize(
    ("module", "shape"),
    [(small_cnn(), (3, 16, 16)), (MobileNet(), (3, 32, 32)), (mlp(), (20,))],
    ids=["cnn", "mobilenet", "mlp"],
)
def test_the_whole_model_costs_what_pytorchs_counter_says(module: nn.Module, shape: tuple[int, ...]) -> None:
    exported = export_module(module.eval(), (TensorSpec("x", "float32", ("batch", *shape)),), 20)
    simplify(exported.graph)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.zeros(3, *shape))
    layers = count_cost(Model.from_ir(exported.graph), 3)
    assert 2 * sum_cost(layers).macs == counter.get_total_flops()
    assert 0 < sum_cost(layers).weight_bytes < len(Model.from_ir(exported.graph).to_bytes())


class Lstm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 3, num_layers=2, bidirectional=True, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.lstm(x)[0]
        return output


def test_an_exported_lstm_costs_its_gates_at_every_step() -> None:
    exported = export_module(Lstm().eval(), (TensorSpec("x", "float32", ("batch", 9, 4)),), 20)
    simplify(exported.graph)
    first = 2 * 9 * (4 * 3) * (4 + 3)
    second = 2 * 9 * (4 * 3) * (6 + 3)
    assert sum_cost(count_cost(Model.from_ir(exported.graph))).macs == first + second
