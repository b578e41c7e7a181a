import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator
from qdq_graphs import Sketch, attention_net, residual_net, samples

from compress import machine
from compress.errors import CompressError, DataError, ModelError, TargetError
from compress.model import Model
from compress.runtimes import onnxruntime as runtime
from compress.targets import Target, load_target


def integer_operators(model: Model, folder: Path, *, simulate: bool) -> set[str]:
    """Return the integer operators in the graph that ONNX Runtime makes of a model."""
    import onnxruntime

    made = folder / "optimized.onnx"
    original = onnxruntime.SessionOptions

    def keep_graph() -> onnxruntime.SessionOptions:
        options = original()
        options.optimized_model_filepath = str(made)
        return options

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnxruntime, "SessionOptions", keep_graph)
        with runtime.open_graph(model.to_bytes(), threads=1, simulate=simulate):
            pass
    return {
        node.op_type for node in onnx.load(made).graph.node if node.op_type.startswith(("QLinear", "MatMulInteger"))
    }


def test_the_engine_is_the_graph_in_one_file(folder: Path) -> None:
    model = residual_net()
    engine = runtime.build(model, load_target("x86-vnni"), folder)
    written = (folder / "model.onnx").read_bytes()
    assert written == model.to_bytes()
    assert engine.kind == "onnx"
    assert engine.main == engine.graph == folder / "model.onnx"
    assert engine.size() == len(written)
    assert engine.files[0].sha256 == hashlib.sha256(written).hexdigest()
    assert [path.name for path in folder.iterdir()] == ["model.onnx"]


def test_a_session_computes_what_the_reference_does(folder: Path) -> None:
    s = Sketch(["batch", 3])
    model = s.finish(s.node("MatMul", "x", s.constant(np.arange(6).reshape(3, 2))), ["batch", 2])
    engine = runtime.build(model, load_target("x86-vnni"), folder)
    x = samples(5, 3)
    with runtime.open(engine, threads=2) as session:
        np.testing.assert_array_equal(session.run({"x": x})["y"], x @ np.arange(6).reshape(3, 2))


@pytest.mark.parametrize(("dtype", "zero_point"), [("uint8", 128), ("int8", 0)])
def test_simulated_graphs_mean_what_the_reference_says_bit_by_bit(dtype: str, zero_point: int) -> None:
    model = residual_net(dtype=dtype, zero_point=zero_point)
    x = samples(6, 2, 8, 8)
    expected = ReferenceEvaluator(onnx.ModelProto.FromString(model.to_bytes())).run(None, {"x": x})
    with runtime.open_graph(model.to_bytes(), threads=1, simulate=True) as session:
        found = session.run({"x": x})["y"]
    assert isinstance(expected, list)
    assert np.ptp(found) > 1
    np.testing.assert_array_equal(found, expected[0])


@pytest.mark.parametrize(("dtype", "zero_point"), [("uint8", 128), ("int8", 0)])
def test_simulation_keeps_integer_kernels_out(tmp_path: Path, dtype: str, zero_point: int) -> None:
    model = residual_net(dtype=dtype, zero_point=zero_point)
    assert "QLinearConv" in integer_operators(model, tmp_path, simulate=False)
    assert integer_operators(model, tmp_path, simulate=True) == set()


def test_simulated_attention_is_within_one_step_of_the_reference() -> None:
    model = attention_net()
    x = samples(4, 4, 16)
    expected = ReferenceEvaluator(onnx.ModelProto.FromString(model.to_bytes())).run(None, {"x": x})
    with runtime.open_graph(model.to_bytes(), threads=1, simulate=True) as session:
        found = session.run({"x": x})["y"]
    assert isinstance(expected, list)
    # Softmax is not exact in float: a probability may fall to the other side of a step of 2**-5, times values up to 4.
    np.testing.assert_allclose(np.asarray(found, np.float32), expected[0], atol=0.125)


def test_intermediate_tensors_can_be_asked_for(tmp_path: Path) -> None:
    model = residual_net()
    path = tmp_path / "graph.onnx"
    path.write_bytes(model.to_bytes())
    with runtime.open_graph(path, threads=1, simulate=True, outputs=["QuantizeLinear_0", "y"]) as session:
        found = session.run({"x": samples(2, 2, 8, 8)})
    assert list(found) == ["QuantizeLinear_0", "y"]
    assert found["QuantizeLinear_0"].dtype == np.int8
    assert found["y"].shape == (2, 5)


def test_a_tensor_that_the_graph_does_not_have_is_named() -> None:
    with pytest.raises(ModelError, match="nowhere"):
        runtime.open_graph(residual_net().to_bytes(), threads=1, outputs=["nowhere"])


def test_bytes_that_are_no_model_are_refused_in_one_line() -> None:
    with pytest.raises(ModelError, match="protobuf parsing failed") as caught:
        runtime.open_graph(b"not a model", threads=1)
    assert "\n" not in caught.value.message
    assert caught.value.hint == "the file is not ONNX or is cut short: export it again"


def test_bytes_that_are_no_model_are_refused_with_outputs_too() -> None:
    with pytest.raises(ModelError, match="cannot take the graph"):
        runtime.open_graph(b"not a model", threads=1, outputs=["y"])


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"absent\.onnx") as caught:
        runtime.open_graph(tmp_path / "absent.onnx", threads=1)
    assert caught.value.hint == "check the path"


def test_a_graph_that_it_refuses_is_a_target_error_and_leaves_nothing(folder: Path) -> None:
    s = Sketch(["batch", 3])
    model = Model.from_bytes(s.finish(s.node("Relu", "x"), ["batch", 3]).to_bytes())
    model.graph.opset_imports[""] = 99
    with pytest.raises(TargetError, match=r"target x86-vnni: ONNX Runtime cannot take the graph: .*99"):
        runtime.build(model, load_target("x86-vnni"), folder)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("feed", "reason"),
    [
        ({"x": np.zeros((2, 4), np.float32)}, "Got: 4 Expected: 3"),
        ({"x": np.zeros((2, 3))}, "double"),
        ({"z": np.zeros((2, 3), np.float32)}, r"Required inputs \(\['x'\]\) are missing"),
    ],
)
def test_inputs_that_do_not_fit_are_named(feed: dict[str, np.ndarray], reason: str) -> None:
    s = Sketch(["batch", 3])
    model = s.finish(s.node("Relu", "x"), ["batch", 3])
    with runtime.open_graph(model.to_bytes(), threads=1) as session, pytest.raises(DataError, match=reason) as caught:
        session.run(feed)
    assert caught.value.hint is not None


def test_a_closed_session_says_so() -> None:
    s = Sketch(["batch", 3])
    with runtime.open_graph(s.finish(s.node("Relu", "x"), ["batch", 3]).to_bytes(), threads=1) as session:
        pass
    with pytest.raises(TargetError, match="closed"):
        session.run({"x": samples(1, 3)})


def test_an_unknown_exception_is_not_hidden() -> None:
    with pytest.raises(KeyError), runtime._reasons(CompressError, "x"):
        raise KeyError


@pytest.mark.parametrize(
    ("isa", "board", "target", "runs"),
    [
        ("x86-amx", None, "x86-amx", True),
        ("x86-amx", None, "x86-vnni", False),
        ("x86-vnni", None, "x86-avx2", False),
        ("x86-vnni", None, "cpu", True),
        ("arm64-dotprod", "Raspberry Pi 5 Model B Rev 1.0", "raspberry-pi-5", True),
        ("arm64-dotprod", "Rock 5", "raspberry-pi-5", False),
        ("arm64-dotprod", None, "raspberry-pi-5", False),
    ],
)
def test_an_engine_is_measured_only_on_its_own_device(
    monkeypatch: pytest.MonkeyPatch, isa: machine.Isa, board: str | None, target: str, runs: bool
) -> None:
    monkeypatch.setattr(machine, "detect_isa", lambda: isa)
    monkeypatch.setattr(machine, "board_name", lambda: board)
    found = runtime.available(load_target(target))
    assert (found.build, found.run) == (True, runs)
    assert (found.reason is None) == runs
    assert found.versions.keys() == {"onnxruntime"}


def test_a_target_without_instruction_set_runs_anywhere(null_target: Target) -> None:
    assert runtime.available(null_target).run
