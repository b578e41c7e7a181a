from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper
from small_graphs import build, normal

from compress.model import Model
from compress.quantize.dialects import DIALECTS
from compress.quantize.plan import Plan, count_quantizable, fused_output, observed_values, plan_quantization


def plan(model: Model, dialect: str) -> Plan:
    return plan_quantization(model.graph.graph, DIALECTS[dialect])  # type: ignore[index]


def names(values: list[ir.Value]) -> list[str]:
    return [str(value.name) for value in values]


def test_onnx_runtime_quantizes_outputs_behind_fused_activations(residual_model: Model) -> None:
    made = plan(residual_model, "u8s8")
    assert [node.name for node in made.nodes] == ["conv0", "conv1", "conv2", "add", "gemm"]
    assert names(made.closed) == ["r0", "r1", "c2", "r2"]
    assert names(made.activations()) == ["x", "r0", "r1", "c2", "m", "r2"]
    assert [node.name for node in made.biases] == ["conv0", "conv1", "conv2", "gemm"]


def test_tensorrt_quantizes_inputs_and_only_the_residual_branch_that_is_not_fused(residual_model: Model) -> None:
    made = plan(residual_model, "s8s8-symmetric")
    assert [(node.name, index) for node, index in made.edges] == [
        ("conv0", 0), ("conv1", 0), ("conv2", 0), ("add", 0), ("gemm", 0),
    ]  # fmt: skip
    assert made.closed == []
    assert made.biases == []


def test_an_add_of_a_constant_is_not_a_residual() -> None:
    model = build(
        [helper.make_node("Conv", ["x", "w"], ["c"], "conv"), helper.make_node("Add", ["c", "k"], ["y"], "add")],
        {"w": normal(4, 3, 1, 1), "k": normal(4, 1, 1)},
        [1, 3, 4, 4],
        ["y"],
    )
    for dialect in DIALECTS:
        assert [node.name for node in plan(model, dialect).nodes] == ["conv"]


def test_a_relu_with_a_second_reader_in_front_of_it_is_not_fused() -> None:
    model = build(
        [
            helper.make_node("Conv", ["x", "w"], ["c"], "conv"),
            helper.make_node("Relu", ["c"], ["r"], "relu"),
            helper.make_node("Mul", ["c", "r"], ["y"], "mul"),
        ],
        {"w": normal(4, 3, 1, 1)},
        [1, 3, 4, 4],
        ["y"],
    )
    conv = next(node for node in model.graph.graph if node.name == "conv")
    assert fused_output(conv).name == "c"


def test_an_operator_behind_a_float_operator_stays_float() -> None:
    model = build(
        [
            helper.make_node("Conv", ["x", "w"], ["c"], "conv"),
            helper.make_node("Exp", ["c"], ["e"], "exp"),
            helper.make_node("Add", ["c", "e"], ["y"], "add"),
        ],
        {"w": normal(4, 3, 1, 1)},
        [1, 3, 4, 4],
        ["y"],
    )
    assert [node.name for node in plan(model, "u8s8").nodes] == ["conv"]


def test_data_movement_carries_the_scale_of_its_input() -> None:
    model = build(
        [
            helper.make_node("Conv", ["x", "w"], ["c"], "conv"),
            helper.make_node("MaxPool", ["c"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
            helper.make_node("Transpose", ["p"], ["t"], "transpose", perm=[0, 1, 3, 2]),
            helper.make_node("Conv", ["t", "v"], ["y"], "last"),
        ],
        {"w": normal(4, 3, 1, 1), "v": normal(2, 4, 1, 1)},
        [1, 3, 4, 4],
        ["y"],
    )
    made = plan(model, "u8s8")
    assert {made.scale_source(value).name for value in made.activations()} == {"x", "c", "y"}
    assert "t" not in observed_values(model.graph.graph) or "c" in observed_values(model.graph.graph)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [({}, 1), ({"transB": 0, "alpha": 2.0}, 0), ({"beta": 0.5}, 0), ({"transA": 1}, 0)],
)
def test_a_gemm_with_factors_or_a_transposed_input_stays_float(attributes: dict[str, Any], expected: int) -> None:
    model = build(
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"], "gemm", **attributes)],
        {"w": normal(4, 4), "b": normal(4)},
        [4, 4],
        ["y"],
    )
    assert count_quantizable(model, "u8s8") == (expected, 1)


def test_a_matmul_of_two_activations_stays_float() -> None:
    model = build([helper.make_node("MatMul", ["x", "x"], ["y"], "matmul")], {}, [4, 4], ["y"])
    assert count_quantizable(model, "u8s8") == (0, 1)


def test_a_transposed_convolution_is_integer_in_tensorrt_only() -> None:
    model = build(
        [helper.make_node("ConvTranspose", ["x", "w"], ["y"], "up", strides=[2, 2])],
        {"w": normal(3, 4, 2, 2)},
        [1, 3, 4, 4],
        ["y"],
    )
    assert count_quantizable(model, "u8s8") == (0, 1)
    assert count_quantizable(model, "s8s8-symmetric") == (1, 1)
    assert plan(model, "s8s8-symmetric").weights[0].axis == 1


def test_calibration_observes_what_any_dialect_needs(residual_model: Model) -> None:
    observed = observed_values(residual_model.graph.graph)
    assert observed == ["x", "r0", "r1", "c2", "r2", "m"]
    assert np.isin(names(plan(residual_model, "s8s8-symmetric").activations()), observed).all()
