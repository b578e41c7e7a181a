from pathlib import Path

import fake_tensorrt
import onnx
import pytest
from qdq_graphs import Sketch, residual_net, samples

from compress import machine
from compress.errors import TargetError
from compress.runtimes import tensorrt_rtx as runtime
from compress.runtimes.build_settings import BuildSettings
from compress.runtimes.onnxruntime import open_graph
from compress.targets import load_target


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_MODULE", "tensorrt_that_is_not_there")


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "list_gpus", tuple)


@pytest.mark.usefixtures("absent")
def test_where_it_is_missing_the_command_that_installs_it_is_named(folder: Path) -> None:
    target = load_target("rtx-ada")
    found = runtime.available(target)
    assert (found.build, found.run, found.hint) == (False, False, 'pip install "edge-compress[rtx]"')
    with pytest.raises(TargetError, match="target rtx-ada: TensorRT-RTX is not installed") as caught:
        runtime.build(residual_net(), target, folder)
    assert caught.value.hint == found.hint
    assert runtime.prove(residual_net(), "8.6") is None
    assert list(folder.iterdir()) == []


def test_a_capability_it_does_not_know_is_named(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(runtime, "find_module", fake_tensorrt.as_module)
    monkeypatch.setattr(fake_tensorrt, "ComputeCapability", object, raising=False)
    target = load_target("rtx-ada")
    assert runtime.available(target).reason == "TensorRT-RTX 10.3.0 does not compile for compute capability 8.9"
    with pytest.raises(TargetError, match=r"does not compile for compute capability 8\.9"):
        runtime.build(residual_net(), target, folder)


@pytest.mark.rtx
@pytest.mark.parametrize("name", ["rtx-turing", "rtx-ampere", "rtx-ada", "rtx-blackwell", "rtx-any"])
def test_engines_are_built_without_a_gpu_and_not_run(name: str, folder: Path) -> None:
    target = load_target(name)
    found = runtime.available(target)
    assert (found.build, found.run) == (True, False)
    engine = runtime.build(residual_net(), target, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["model.engine", "model.onnx"]
    assert engine.kind == "tensorrt"
    assert engine.size() == (folder / "model.engine").stat().st_size
    assert "tensorrt_rtx" in engine.versions
    assert any("are weights and the rest GPU code" in note for note in engine.notes)
    with pytest.raises(TargetError, match="needs an NVIDIA GPU"):
        runtime.open(engine, threads=1)


@pytest.mark.rtx
def test_one_engine_for_several_gpus_says_so(folder: Path) -> None:
    engine = runtime.build(residual_net(), load_target("rtx-any"), folder)
    assert engine.notes[0].startswith("TensorRT-RTX has no float32 matrix product on Turing: 1 matrix product")
    assert engine.notes[2] == (
        "One engine for compute capabilities 7.5, 8.6, 8.9 and 12.0: it runs on each of these GPUs."
    )


@pytest.mark.rtx
def test_an_engine_for_several_gpus_takes_what_the_oldest_takes(folder: Path) -> None:
    s = Sketch(["batch", 4], dtype=onnx.TensorProto.BFLOAT16)
    model = s.finish(s.node("Relu", "x"), ["batch", 4], dtype=onnx.TensorProto.BFLOAT16)
    with pytest.raises(TargetError, match="target rtx-any: nodes `Relu_0`, `last`: works in bfloat16"):
        runtime.build(model, load_target("rtx-any"), folder)


@pytest.mark.rtx
def test_a_timing_cache_is_left_aside(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "t4.cache"
    cache.write_bytes(b"known")
    engine = runtime.build(residual_net(), load_target("rtx-ada"), folder, BuildSettings(timing_cache=cache))
    assert engine.notes[-1] == (
        "Timing cache t4.cache is left aside: TensorRT-RTX chooses its kernels on the user's GPU."
    )
    assert "timing_cache" not in engine.versions
    assert not (folder / "timing.cache").exists()


@pytest.mark.rtx
def test_with_its_gpu_here_an_engine_can_be_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "list_gpus", lambda: (machine.Gpu("NVIDIA GeForce RTX 4070", "8.9"),))
    assert runtime.available(load_target("rtx-ada")).run
    assert runtime.available(load_target("rtx-any")).run
    assert not runtime.available(load_target("rtx-ampere")).run


@pytest.mark.rtx
def test_on_turing_the_graph_that_is_simulated_is_the_one_that_was_compiled(folder: Path) -> None:
    engine = runtime.build(residual_net(), load_target("rtx-turing"), folder)
    assert engine.notes[0].startswith("TensorRT-RTX has no float32 matrix product on Turing: 1 matrix product")
    name = next(node.output[0] for node in onnx.load(engine.graph).graph.node if node.op_type == "Gemm")
    with open_graph(engine.graph, threads=1, simulate=True, outputs=[name]) as session:
        assert session.run({"x": samples(1, 2, 8, 8)})[name].dtype == "float16"


@pytest.mark.rtx
def test_asymmetric_activations_are_refused_before_anything_is_written(folder: Path) -> None:
    with pytest.raises(TargetError, match=r"target rtx-ada: nodes `QuantizeLinear_0`, .*: its zero point is uint8"):
        runtime.build(residual_net(dtype="uint8", zero_point=128), load_target("rtx-ada"), folder)
    assert list(folder.iterdir()) == []


@pytest.mark.rtx
def test_an_operator_it_does_not_have_is_named(folder: Path) -> None:
    s = Sketch(["batch", 4])
    model = s.finish(s.node("Det", s.node("Reshape", "x", s.constant([-1, 2, 2], "int64"))), ["batch"])
    with pytest.raises(TargetError, match="node `Det_1`: Det is not an operator"):
        runtime.build(model, load_target("rtx-ada"), folder)


def test_several_products_are_counted() -> None:
    assert "2 matrix products" in runtime.describe_halving(2)[0]
    assert runtime.describe_halving(0) == ()


@pytest.mark.usefixtures("absent")
def test_opening_without_it_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="TensorRT-RTX is not installed"):
        runtime.open(fake_tensorrt.make_engine(tmp_path, "rtx-ada"), threads=1)
