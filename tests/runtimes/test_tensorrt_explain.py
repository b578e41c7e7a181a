"""Errors as TensorRT-RTX 1.7.1 and TensorRT 10 wrote them, and what they come to for a graph."""

from collections.abc import Callable
from pathlib import Path

import pytest
from qdq_graphs import Sketch, attention_net, residual_net
from tensorrt_corpus_qdq import bodies

from compress.errors import TargetError
from compress.model import Model
from compress.runtimes.tensorrt_builder import CompilationError, build_plan
from compress.runtimes.tensorrt_explain import ParserError, describe_parser_errors, explain_refusal, tidy_reason

BUILD = "IBuilder::buildSerializedNetwork: Error Code"
TURING = (
    f"{BUILD} 1: Myelin ([pass.cpp:337: check_turing_op_compatibility] Cannot compile operation '{{}}'"
    " for Turing (SM75): FP32 GEMM is not supported. In compileGraph at /_src/optimizer/myelin/codeGenerator.cpp:2012)"
)
NO_IMPLEMENTATION = f"{BUILD} 10: Internal Error (Could not find any implementation for node {{}}.)"


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Model], Path]:
    def written(model: Model) -> Path:
        path = tmp_path / "model.onnx"
        path.write_bytes(model.to_bytes())
        return path

    return written


@pytest.mark.parametrize(
    ("reason", "place"),
    [
        (TURING.format("Gemm_25"), "node `Gemm_25` (Gemm)"),
        (TURING.format("Gemm_25_U21"), "node `Gemm_25` (Gemm)"),
        (TURING.format("$$myelin$$(Unnamed IfConditional* 0)^$$myelin$$then^Gemm_25_U6"), "node `Gemm_25` (Gemm)"),
        (NO_IMPLEMENTATION.format("Conv_3 + Relu_4"), "nodes `Conv_3` (Conv), `Relu_4` (Relu)"),
        (NO_IMPLEMENTATION.format("{ForeignNode[Conv_3...Add_16]}"), "nodes `Conv_3` (Conv), `Add_16` (Add)"),
        (NO_IMPLEMENTATION.format("{ForeignNode[Conv_3 + Relu_4...Add_16]}"), "nodes `Conv_3` (Conv), `Add_16` (Add)"),
        (NO_IMPLEMENTATION.format("{ForeignNode[Add_16]}"), "node `Add_16` (Add)"),
        (f"{BUILD} 4: API Usage Error (Add_16: needs inputs of one type)", "node `Add_16` (Add)"),
        (f"{BUILD} 4: API Usage Error (Quantized constant (constant_2) is only allowed before DQ)",
         "node `DequantizeLinear_2` (DequantizeLinear)"),
    ],
)  # fmt: skip
def test_the_node_and_its_operator_are_named(write: Callable[[Model], Path], reason: str, place: str) -> None:
    message, hint = explain_refusal(reason, write(residual_net()))
    assert message.startswith(f"the compiler refuses the graph at {place}: ")
    assert "/_src/" not in message
    assert "Error Code" not in message
    assert hint


def test_nodes_of_a_type_that_the_gpu_lacks_are_named(write: Callable[[Model], Path]) -> None:
    s = Sketch(["batch", 4])
    low = s.node("Relu", s.node("Cast", "x", to=16))
    path = write(s.finish(s.node("Cast", low, to=1), ["batch", 4]))
    reason = (
        f"{BUILD} 1: Myelin (Cannot compile for target(s) sm75, because the model contains HW-specific datatypes: b16)"
    )
    message, hint = explain_refusal(reason, path)
    assert "at nodes `Cast_0` (Cast), `Relu_1` (Relu), `Cast_2` (Cast): Cannot compile for target(s) sm75" in message
    assert hint.startswith("this GPU does not have that type")


def test_an_error_that_names_nothing_is_told_as_it_is(write: Callable[[Model], Path]) -> None:
    message, hint = explain_refusal(f"{BUILD} 2: OutOfMemory (Requested size was 4096 bytes.)", write(residual_net()))
    assert message == "the compiler refuses the graph: Requested size was 4096 bytes"
    assert "recipe fp16" in hint
    message, hint = explain_refusal(f"{BUILD} 2: OutOfMemory (out of memory)", write(residual_net()))
    assert "[model.ranges]" in hint


def test_many_nodes_are_counted(write: Callable[[Model], Path]) -> None:
    names = " + ".join(str(node.name) for node in residual_net().graph.graph)
    message, _ = explain_refusal(NO_IMPLEMENTATION.format(names), write(residual_net()))
    assert "`Conv_3` (Conv) and " in message
    assert "more: Could not find any implementation" in message


def test_the_parser_s_errors_are_told_node_by_node(write: Callable[[Model], Path]) -> None:
    error = "Assertion failed: shiftIsAllZeros(zeroPoint): Non-zero zero point is not supported."
    errors = [ParserError("QuantizeLinear_0", "QuantizeLinear", error), ParserError("Det_1", "Det", "false")]
    told, hint = describe_parser_errors([*errors, errors[0]], write(residual_net()))
    assert told == (f"node `QuantizeLinear_0` (QuantizeLinear): {error[:-1]}; node `Det_1` (Det): not supported")
    assert hint == (
        "symmetric ranges are needed: quantize with the dialect s8s8-symmetric;"
        " replace that node, or keep it out of the exported graph"
    )


def test_a_constant_that_cannot_be_read_is_told_with_its_readers(write: Callable[[Model], Path]) -> None:
    error = ParserError(
        "", "", "Failed to import initializer: In node -1 with name: and operator:: import initializer: constant_2"
    )
    told, hint = describe_parser_errors([error], write(residual_net()))
    assert told.startswith("constant `constant_2` of node `DequantizeLinear_2` (DequantizeLinear): Failed to import")
    assert hint.startswith("store it in a type that TensorRT has")


def test_a_parser_that_says_nothing_is_quoted_as_such(write: Callable[[Model], Path]) -> None:
    assert describe_parser_errors([], write(residual_net()))[0] == "model.onnx: it does not say why"


@pytest.mark.parametrize(
    ("reason", "tidy"),
    [
        ("[type.cpp:186: infer_type] Could not infer output types", "Could not infer output types"),
        (f"{BUILD} 10: Internal Error (No such. In computeCosts at /_src/optimizer/a.cpp:3869)", "No such"),
        ("[optimizer.cpp::computeCosts::3869] Error Code 10: Internal Error (No such.)", "No such"),
        ("nothing to tidy", "nothing to tidy"),
    ],
)
def test_functions_and_files_of_tensorrt_are_left_out(reason: str, tidy: str) -> None:
    assert tidy_reason(reason) == tidy


@pytest.mark.rtx
@pytest.mark.parametrize(
    ("model", "place"),
    [(residual_net(), "node `Gemm_25` (Gemm)"), (attention_net(), "node `MatMul_11` (MatMul)")],
    ids=["residual", "attention"],
)
def test_the_real_compiler_s_refusal_names_the_node(write: Callable[[Model], Path], model: Model, place: str) -> None:
    import tensorrt_rtx_bindings as trt

    with pytest.raises(CompilationError) as caught:
        build_plan(trt, write(model), capabilities=("7.5",))
    assert f"at {place}: Cannot compile operation" in caught.value.message
    assert caught.value.message.endswith("FP32 GEMM is not supported")
    assert caught.value.hint == "put casts to float16 around it, or use the recipe int8+fp16"


@pytest.mark.rtx
def test_the_real_compiler_s_refusal_names_a_node_inside_a_body(write: Callable[[Model], Path]) -> None:
    import tensorrt_rtx_bindings as trt

    model = next(case.model for case in bodies() if case.name == "MatMul in a branch")
    with pytest.raises(CompilationError, match=r"at node `MatMul_0` \(MatMul\): Cannot compile operation"):
        build_plan(trt, write(model), capabilities=("7.5",))


@pytest.mark.rtx
def test_the_real_parser_s_refusal_of_a_constant_names_who_reads_it(write: Callable[[Model], Path]) -> None:
    import tensorrt_rtx_bindings as trt

    s = Sketch(["batch", 4])
    model = s.finish(s.qdq("x", dtype="int16"), ["batch", 4], opset=21)
    with pytest.raises(TargetError, match=r"constant `constant_1` of nodes `QuantizeLinear_0` \(QuantizeLinear\)"):
        build_plan(trt, write(model), capabilities=("8.9",))
