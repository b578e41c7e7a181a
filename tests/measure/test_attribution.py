from pathlib import Path

import numpy as np
import pytest
from qat_models import quantized
from qdq_graphs import residual_net, samples
from small_graphs import build_residual

from compress.measure.attribution import attribute_time, kind_of, match_layers
from compress.model import Model
from compress.report.speed import float_rows, kind_rows
from compress.runtimes import onnxruntime
from compress.runtimes.engine_options import EngineOptions
from compress.runtimes.profiling import profile_engine
from compress.runtimes.variants import RanNode

WEIGHTED = frozenset({"Conv", "Gemm"})
CPU = "CPUExecutionProvider"


def ran(name: str, op: str, milliseconds: float, provider: str = CPU) -> RanNode:
    return RanNode(name, op, provider, milliseconds / 1000)


def profiled(model: Model, folder: Path, channels: int) -> tuple[RanNode, ...]:
    path = folder / "graph.onnx"
    path.write_bytes(model.to_bytes())
    return profile_engine(path, EngineOptions(), {"x": samples(1, channels, 8, 8)}, folder, runs=3)


@pytest.fixture
def integer() -> Model:
    return residual_net(dtype="uint8", zero_point=128)


def test_a_real_integer_engine_has_all_its_layers_matched_to_integer_kernels(tmp_path: Path) -> None:
    model = quantized(build_residual(), tmp_path / "store")
    nodes = profiled(model, tmp_path, channels=3)
    assert [layer.is_integer for layer in match_layers(model, nodes)] == [True, True, True, True]
    found = attribute_time(model, nodes, weighted=WEIGHTED)
    assert (found.layers, found.integer_layers, found.float_layers) == (4, 4, ())
    assert sum(kind.share for kind in found.kinds) == pytest.approx(1.0)
    assert not list(tmp_path.glob("profile*"))


def test_what_a_real_engine_does_not_fuse_is_found(integer: Model, tmp_path: Path) -> None:
    # With a zero point of 128 a Relu changes values that the quantizer keeps: it stays, and the layer before it too.
    found = attribute_time(integer, profiled(integer, tmp_path, channels=2), weighted=WEIGHTED)
    assert {layer.name for layer in found.float_layers} == {"Conv_3", "Conv_8", "Gemm_25"}
    assert {layer.reason for layer in found.float_layers} == {"not fused"}
    assert "reformatting" in {kind.kind for kind in found.kinds}


def test_a_real_float_engine_has_its_layers_matched_through_what_they_took_in(tmp_path: Path) -> None:
    model = build_residual()
    nodes = profiled(model, tmp_path, channels=3)
    layers = match_layers(model, nodes)
    assert [layer.ran is None for layer in layers] == [False] * 4
    found = attribute_time(model, nodes, weighted=WEIGHTED)
    assert found.finding.startswith("0 of 4 compute layers are integer; ")
    assert (found.integer_layers, found.float_layers) == (0, ())


def test_a_layer_that_the_runtime_did_not_fuse_is_named_with_the_reason(integer: Model) -> None:
    nodes = (
        ran("Conv_3_quant", "QLinearConv", 1.0),
        ran("Conv_8", "FusedConv", 5.0),
        ran("Conv_13", "QLinearConv", 1.0),
        ran("Gemm_25", "QGemm", 1.0),
        ran("DequantizeLinear_6", "DequantizeLinear", 2.0),
    )
    found = attribute_time(integer, nodes, weighted=WEIGHTED)
    assert found.integer_layers == 3
    assert [(layer.name, layer.reason, layer.share) for layer in found.float_layers] == [("Conv_8", "not fused", 0.5)]
    assert found.finding == (
        "3 of 4 compute layers are integer; 50 % of the time goes to float layers, 30 % to integer layers, 20 % to "
        "quantizing, dequantizing and changing layouts; of the 1 that stayed float `Conv_8` (Conv) takes most, 50 %: "
        "it is quantized in the graph, and the runtime computes it in float all the same."
    )
    assert kind_rows(found)[0] == ("float layers", "1", "5.00 ms", "50 %")
    assert float_rows(found)[0][0] == "Conv_8"


def half_quantized(integer: Model) -> Model:
    """Return the net with the second convolution's operands, and the last layer's, read in float."""
    graph = integer.copy_graph()
    for node in list(graph.graph):
        if node.name in ("Conv_8", "Gemm_25"):
            for index in (0, 1):
                source = node.inputs[index].producer()  # type: ignore[union-attr]
                assert source is not None
                if index == 0:
                    node.replace_input_with(0, source.inputs[0].producer().inputs[0])  # type: ignore[union-attr]
                else:
                    node.replace_input_with(1, source.inputs[0])
    return Model.from_ir(graph)


def test_layers_left_in_float_are_told_from_those_without_an_integer_form(integer: Model) -> None:
    model = half_quantized(integer)
    nodes = (ran("Conv_8", "Conv", 3.0), ran("Gemm_25", "Gemm", 1.0), ran("Conv_3", "QLinearConv", 1.0))
    found = attribute_time(model, nodes, weighted={"Conv"})
    assert [(layer.name, layer.reason) for layer in found.float_layers] == [
        ("Conv_8", "excluded"),
        ("Gemm_25", "unsupported"),
    ]


def test_what_a_provider_fused_is_known_by_the_graph_only(integer: Model) -> None:
    found = attribute_time(
        integer, (ran("OpenVINO_0", "OpenVINO", 4.0, "OpenVINOExecutionProvider"),), weighted=WEIGHTED
    )
    assert found.finding == (
        "4 of 4 compute layers are quantized; 100 % of the time goes to what the execution provider fused, without "
        "telling its layers apart."
    )
    assert found.integer_layers == 4


def test_more_float_layers_than_are_shown_are_summed(integer: Model) -> None:
    found = attribute_time(integer, (ran("Conv_3", "Conv", 1.0),), weighted=WEIGHTED)
    many = found.model_copy(update={"float_layers": found.float_layers * 7})
    assert len(float_rows(many)) == 6
    assert float_rows(many)[-1] == ("2 more", "", "", "2.00 ms", "200 %")


@pytest.mark.parametrize(
    ("op", "kind"),
    [
        ("QLinearConv", "integer"), ("MatMulIntegerToFloat", "integer"), ("Conv", "float"), ("FusedMatMul", "float"),
        ("ReorderOutput", "reformatting"), ("QuantizeLinear", "reformatting"), ("Softmax", "other"),
    ],
)  # fmt: skip
def test_every_operator_is_of_one_kind(op: str, kind: str) -> None:
    assert kind_of(ran("n", op, 1.0)) == kind


def test_layers_without_names_are_matched_to_nothing(integer: Model) -> None:
    graph = integer.copy_graph()
    for node in graph.graph:
        node.name = ""
    layers = match_layers(Model.from_ir(graph), (ran("", "Conv", 1.0),))
    assert [layer.ran for layer in layers] == [None] * 4


def test_a_loop_body_counts_every_time_that_it_runs_in_a_run() -> None:
    from compress.runtimes.profiling import _gather

    event = {"cat": "Node", "name": "body_kernel_time", "args": {"node_index": "3", "op_name": "Add", "provider": CPU}}
    other: dict[str, object] = {"cat": "Session", "name": "model_run", "dur": 9}
    timed: list[dict[str, object]] = [{**event, "dur": time} for time in (99, 99, 99, 99, 1, 2, 3, 4, 1, 2)]
    (node,) = _gather([other, *timed], runs=5)
    assert (node.name, node.op) == ("body", "Add")
    assert node.seconds == pytest.approx(3e-6)


def test_a_profile_that_cannot_be_read_is_an_error_of_ours(
    integer: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compress.errors import TargetError

    def half_a_profile(session: onnxruntime.GraphSession) -> Path:
        (tmp_path / "half.json").write_text("[{")
        return tmp_path / "half.json"

    monkeypatch.setattr(onnxruntime.GraphSession, "end_profiling", half_a_profile)
    with pytest.raises(TargetError, match="profile cannot be read"):
        profiled(integer, tmp_path, channels=2)
    assert not (tmp_path / "half.json").exists()


def test_a_closed_session_has_no_profile(integer: Model) -> None:
    from compress.errors import TargetError

    with onnxruntime.open_graph(integer.to_bytes()) as session:
        np.testing.assert_equal(session.run({"x": samples(1, 2, 8, 8)})["y"].shape, (1, 5))
    with pytest.raises(TargetError, match="closed"):
        session.end_profiling()
