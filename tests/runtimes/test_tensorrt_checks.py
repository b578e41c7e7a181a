from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from qdq_graphs import Sketch, attention_net, residual_net
from tensorrt_corpus_qdq import bodies

from compress.errors import TargetError
from compress.model import Model
from compress.runtimes.engine_files import write_graph
from compress.runtimes.tensorrt_builder import build_plan
from compress.runtimes.tensorrt_checks import Place, Problem, place_of, require_accepted
from compress.runtimes.tensorrt_checks import check_graph as check_at
from compress.runtimes.turing import halve_products
from compress.targets import load_target


def check_graph(model: Model, place: Place = Place("tensorrt", (8, 7))) -> tuple[Problem, ...]:  # noqa: B008 - frozen
    return check_at(model, place)


def quantized(*, dtype: str = "int8", zero_point: int = 0, scale: float = 0.5) -> Model:
    s = Sketch(["batch", 4])
    return s.finish(s.qdq("x", dtype=dtype, zero_point=zero_point, scale=scale), ["batch", 4])


def without_zero_point(opset: int, **attributes: int) -> Model:
    s = Sketch(["batch", 4])
    scale = s.constant(0.5)
    q = s.node("QuantizeLinear", "x", scale, **attributes)
    return s.finish(s.node("DequantizeLinear", q, scale), ["batch", 4], opset=opset)


def stored_weights(dtype: str) -> Model:
    s = Sketch(["batch", 4])
    weight = s.node("DequantizeLinear", s.constant([1, 2, 3, 4], dtype), s.constant(0.5))
    return s.finish(s.node("Add", "x", weight), ["batch", 4], opset=21)


def integer_bias() -> Model:
    s = Sketch(["batch", 4])
    bias = s.node("DequantizeLinear", s.constant([1, 2, 3, 4], "int32"), s.constant(0.5))
    return s.finish(s.node("Add", "x", bias), ["batch", 4])


def dynamic() -> Model:
    s = Sketch(["batch", 4])
    s.nodes.append(helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], "dynamic"))
    return s.finish(s.node("DequantizeLinear", "q", "s", "z"), ["batch", 4])


def integer_convolution() -> Model:
    s = Sketch(["batch", 2, 4, 4])
    scale, zero = s.constant(0.5), s.constant(0, "int8")
    q = s.node("QuantizeLinear", "x", scale, zero)
    weight = s.constant(np.ones((2, 2, 1, 1)), "int8")
    y = s.node("QLinearConv", q, scale, zero, weight, scale, zero, scale, zero)
    return s.finish(s.node("DequantizeLinear", y, scale, zero), ["batch", 2, 4, 4])


@pytest.mark.parametrize("model", [residual_net(), attention_net()], ids=["residual", "attention"])
def test_symmetric_int8_has_no_problem(model: Model) -> None:
    assert check_graph(model) == ()
    require_accepted(model, load_target("jetson"))


def test_an_output_dtype_stands_for_a_zero_point() -> None:
    assert check_graph(without_zero_point(21, output_dtype=3)) == ()


@pytest.mark.parametrize(
    ("model", "node", "reason"),
    [
        (quantized(dtype="uint8"), "QuantizeLinear_0", "its zero point is uint8, not int8"),
        (quantized(zero_point=3), "QuantizeLinear_0", "its zero point is 3, not 0"),
        (without_zero_point(20), "QuantizeLinear_0", "without zero point it makes uint8"),
        (without_zero_point(21, output_dtype=2), "QuantizeLinear_0", "without zero point it makes uint8"),
        (without_zero_point(21, output_dtype=5), "QuantizeLinear_0", "without zero point it makes int16"),
        (stored_weights("uint8"), "DequantizeLinear_0", "without zero point it takes uint8"),
        (quantized(scale=0.0), "QuantizeLinear_0", "its scale is not positive (0)"),
        (quantized(scale=float("nan")), "QuantizeLinear_0", "its scale is not positive (nan)"),
        (integer_bias(), "DequantizeLinear_0", "dequantizes int32 (a quantized bias)"),
        (dynamic(), "dynamic", "DynamicQuantizeLinear is not an operator of TensorRT"),
        (integer_convolution(), "QLinearConv_1", "QLinearConv is not an operator of TensorRT"),
    ],
)
def test_what_tensorrt_does_not_take_is_named_with_its_fix(model: Model, node: str, reason: str) -> None:
    problem = check_graph(model)[0]
    assert (problem.node, problem.reason) == (node, reason)
    assert problem.fix


@pytest.mark.parametrize(
    ("model", "taken"),
    [
        (without_zero_point(21, output_dtype=2), False),
        (without_zero_point(21, output_dtype=3), True),
        (without_zero_point(21, output_dtype=5), False),
        (stored_weights("uint8"), False),
        (stored_weights("int8"), True),
    ],
)
def test_without_a_zero_point_the_real_parser_agrees(model: Model, taken: bool, tmp_path: Path) -> None:
    trt = pytest.importorskip("tensorrt_rtx_bindings", exc_type=ImportError)
    assert (check_graph(model) == ()) is taken
    with nullcontext() if taken else pytest.raises(TargetError, match="the parser refuses"):
        build_plan(trt, write_graph(model, tmp_path), capabilities=("8.6",))


def test_computed_scales_and_zero_points_are_named() -> None:
    reasons = [problem.reason for problem in check_graph(dynamic()) if problem.node != "dynamic"]
    assert reasons == ["its scale is computed, not constant", "its zero point is computed, not constant"]


def test_the_error_names_the_nodes_of_one_kind_together() -> None:
    with pytest.raises(TargetError) as caught:
        require_accepted(quantized(dtype="uint8", zero_point=7), load_target("t4"))
    expected = "target t4: nodes `QuantizeLinear_0`, `DequantizeLinear_1`: its zero point is uint8, not int8"
    assert caught.value.message == expected
    assert caught.value.hint == "quantize with the dialect s8s8-symmetric"


def test_problems_of_several_kinds_are_all_told_with_their_fixes() -> None:
    s = Sketch(["batch", 4])
    made = s.qdq("x", zero_point=3)
    for _ in range(6):
        made = s.qdq(made, dtype="uint8")
    made = s.node("Det", s.node("Reshape", made, s.constant([-1, 2, 2], "int64")))
    with pytest.raises(TargetError) as caught:
        require_accepted(s.finish(made, ["batch"]), load_target("jetson"))
    assert "nodes `QuantizeLinear_0`, `DequantizeLinear_1`: its zero point is 3, not 0" in caught.value.message
    assert (
        "`QuantizeLinear_2`, `DequantizeLinear_3`, `QuantizeLinear_4`, `DequantizeLinear_5` and 8 more"
        in caught.value.message
    )
    assert "node `Det_15`: Det is not an operator of TensorRT" in caught.value.message
    assert "symmetric ranges are needed" in str(caught.value.hint)
    assert "replace that operator" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("jetson", Place("tensorrt", (8, 7))),
        ("rtx-blackwell", Place("tensorrt_rtx", (12, 0))),
        ("rtx-any", Place("tensorrt_rtx", (7, 5))),
    ],
)
def test_the_place_of_a_target(name: str, place: Place) -> None:
    assert place_of(load_target(name)) == place


def test_float32_products_on_turing_are_found_in_branches_too_unless_they_are_halved() -> None:
    turing = Place("tensorrt_rtx", (7, 5))
    model = next(case.model for case in bodies() if case.name == "MatMul in a branch")
    assert [str(problem) for problem in check_graph(model, turing)] == [
        "node `MatMul_0`: TensorRT-RTX has no float32 MatMul on Turing"
    ]
    halved, count = halve_products(model)
    assert (check_graph(halved, turing), count) == ((), 1)
    assert check_graph(model, Place("tensorrt", (7, 5))) == ()


def test_an_operator_of_another_domain_is_not_taken_for_onnxs() -> None:
    s = Sketch(["batch", 4])
    s.nodes.append(helper.make_node("Gelu", ["x"], ["g"], "fused", domain="com.microsoft"))
    graph = helper.make_graph(
        s.nodes, "g", [s.input], [helper.make_tensor_value_info("g", TensorProto.FLOAT, ["batch", 4])]
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    model = Model.from_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())
    (problem,) = check_graph(model)
    assert problem.mistreated
    assert "com.microsoft.Gelu is not an operator of ONNX" in problem.reason


def test_a_node_without_name_is_found_by_what_it_makes() -> None:
    model = quantized(dtype="uint8")
    graph = model.copy_graph()
    graph.graph[0].name = None
    assert check_graph(Model.from_ir(graph))[0].node == "QuantizeLinear → QuantizeLinear_0"
