from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import fake_tensorrt
import numpy as np
import pytest
import torch
from qdq_graphs import samples

from compress.errors import DataError, TargetError
from compress.runtimes import tensorrt_rtx
from compress.runtimes.tensorrt_profile import describe_gpu, make_recorder, read_layer_types
from compress.runtimes.tensorrt_session import PlanSession, open_plan


def make_session(plan: bytes = b"plan") -> PlanSession:
    return PlanSession(fake_tensorrt.as_module(), plan, "cpu", 0, lambda: None)


def test_the_engine_reads_and_writes_the_tensors_memory() -> None:
    x = samples(3, 3)
    with make_session() as session:
        np.testing.assert_array_equal(session.run({"x": x})["y"], 2 * x)


def test_a_batch_beyond_the_profile_is_cut_up() -> None:
    x = samples(10, 3)
    with make_session() as session:
        found = session.run({"x": x})["y"]
        assert session._context.batches == [4, 4, 2]
    np.testing.assert_array_equal(found, 2 * x)


def test_an_array_with_gaps_is_read_in_its_own_order() -> None:
    x = samples(3, 6)[:, ::2]
    with make_session() as session:
        np.testing.assert_array_equal(session.run({"x": x})["y"], 2 * x)


def test_a_missing_input_is_named() -> None:
    with make_session() as session, pytest.raises(DataError, match="no value for input `x`"):
        session.run({})


@pytest.mark.parametrize("shape", [(2, 7), (2, 2), (2, 3, 1)])
def test_a_shape_that_the_engine_was_not_compiled_for_is_named(shape: tuple[int, ...]) -> None:
    with make_session() as session, pytest.raises(DataError) as caught:
        session.run({"x": samples(*shape)})
    assert caught.value.message == (
        f"input `x` has the shape {list(shape)}; the engine was compiled for [1 to 4, 3 to 6]"
    )
    assert caught.value.hint is not None
    assert "[model.ranges]" in caught.value.hint


def test_a_gpu_that_refuses_is_an_error() -> None:
    with make_session() as session:
        session._context.works = False
        with pytest.raises(TargetError, match="the GPU refuses"):
            session.run({"x": samples(1, 3)})


def test_a_closed_session_says_so() -> None:
    with make_session() as session:
        pass
    with pytest.raises(TargetError, match="closed"):
        session.run({"x": samples(1, 3)})


def test_an_engine_of_another_gpu_is_refused() -> None:
    with pytest.raises(TargetError, match="built for another GPU or another version") as caught:
        make_session(b"other")
    assert caught.value.hint == "build it again on this machine"


def test_without_a_gpu_nothing_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(TargetError, match="the engine for rtx-ada needs an NVIDIA GPU, and torch sees none here"):
        open_plan(fake_tensorrt.as_module(), fake_tensorrt.make_engine(tmp_path, "rtx-ada"))


def test_with_a_gpu_the_engine_is_loaded_on_a_stream_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = SimpleNamespace(cuda_stream=42, synchronize=lambda: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "Stream", lambda: stream)
    engine = fake_tensorrt.make_engine(tmp_path, "t4")
    engine.main.write_bytes(b"plan")
    with open_plan(fake_tensorrt.as_module(), engine) as session:
        assert (session._device, session._stream) == ("cuda", 42)


def test_layers_are_timed_one_by_one_and_named_by_the_inspector() -> None:
    with make_session() as session:
        layers = session.profile({"x": samples(2, 3)}, 4)
    assert [(layer.name, layer.op, layer.seconds) for layer in layers] == [
        ("conv1 + relu1", "CaskConvolution", 0.0005),
        ("head", "", 0.00025),
    ]


def test_the_gpus_own_time_is_kept_apart_from_the_wall_clock() -> None:
    def timer(enqueue: Callable[[], bool]) -> tuple[bool, float]:
        return enqueue(), 0.002

    module = fake_tensorrt.as_module()
    with PlanSession(module, b"plan", "cpu", 0, lambda: None, timer) as session:
        np.testing.assert_array_equal(session.run({"x": samples(2, 3)})["y"], 2 * samples(2, 3))
        assert session.gpu_seconds == [0.002]
        assert describe_gpu(session.gpu_seconds).startswith("GPU compute alone, by CUDA events: p50 2.00 ms")


def test_an_engine_without_details_has_no_types() -> None:
    class Silent:
        def create_engine_inspector(self) -> "Silent":
            return self

        def get_engine_information(self, form: object) -> str:
            return "conv1"

    assert read_layer_types(fake_tensorrt.as_module(), Silent()) == {}


def test_the_real_module_has_what_the_profiler_needs() -> None:
    module = tensorrt_rtx.find_module()
    if module is None:
        pytest.skip("TensorRT-RTX is not installed")
    recorder = make_recorder(module)
    recorder.report_layer_time("conv1", 1.5)
    assert recorder.seconds == {"conv1": [0.0015]}
    assert hasattr(module.LayerInformationFormat, "JSON")
    assert hasattr(module.ICudaEngine, "create_engine_inspector")
    assert hasattr(module.IExecutionContext, "profiler")
