from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_tensorrt
import pytest
from qdq_graphs import Sketch, attention_net, residual_net

from compress.errors import TargetError
from compress.model import Model
from compress.runtimes.build_settings import SizeRange
from compress.runtimes.shape_profile import MAX_BATCH
from compress.runtimes.tensorrt_builder import CompilationError, build_plan, capability_name, make_logger
from compress.runtimes.turing import halve_products


def write(model: Model, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.to_bytes())
    return path


@pytest.fixture
def refusal() -> Iterator[str]:
    fake_tensorrt.Builder.refusal = "Cannot compile operation 'Gemm_7'"
    yield fake_tensorrt.Builder.refusal
    fake_tensorrt.Builder.refusal = None


def test_a_network_is_strongly_typed_with_the_batch_as_its_only_range(tmp_path: Path) -> None:
    built = build_plan(fake_tensorrt.as_module(), write(residual_net(), tmp_path), memory_bytes=4096)
    assert fake_tensorrt.Builder.last is not None
    network, config = fake_tensorrt.Builder.last
    assert network.flags == 1 << fake_tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    assert config.limits == {fake_tensorrt.MemoryPoolType.WORKSPACE: 1024}
    assert config.profiles[0].shapes == {"x": ([1, 2, 8, 8], [1, 2, 8, 8], [MAX_BATCH, 2, 8, 8])}
    assert (built.plan, built.weights_bytes) == (b"plan", 640)


def test_the_log_has_warnings_and_not_the_line_about_the_missing_gpu(tmp_path: Path) -> None:
    built = build_plan(fake_tensorrt.as_module(), write(residual_net(), tmp_path))
    assert built.log == ("a warning of two lines",)


def test_fixed_shapes_need_no_profile(tmp_path: Path) -> None:
    s = Sketch([1, 3])
    build_plan(fake_tensorrt.as_module(), write(s.finish(s.node("Relu", "x"), [1, 3]), tmp_path))
    assert fake_tensorrt.Builder.last is not None
    assert fake_tensorrt.Builder.last[1].profiles == []


DLA = {"float32": ["Relu_4"], "int8": True}


def test_layers_run_on_the_dla_and_others_on_the_gpu_in_fixed_shapes(tmp_path: Path) -> None:
    build_plan(fake_tensorrt.as_module(), write(residual_net(), tmp_path), dla=DLA)
    assert fake_tensorrt.Builder.last is not None
    config = fake_tensorrt.Builder.last[1]
    assert (config.default_device_type, config.DLA_core) == (fake_tensorrt.DeviceType.DLA, 0)
    assert config.profiles[0].shapes == {"x": ([1, 2, 8, 8], [1, 2, 8, 8], [1, 2, 8, 8])}


def test_for_the_dla_tensorrt_10_gets_a_weakly_typed_network_whose_float32_layers_stay(tmp_path: Path) -> None:
    build_plan(fake_tensorrt.as_module(), write(residual_net(), tmp_path), dla=DLA)
    assert fake_tensorrt.Builder.last is not None
    network, config = fake_tensorrt.Builder.last
    assert network.flags == 0
    assert [flag.name for flag in config.flags] == ["GPU_FALLBACK", "FP16", "INT8", "PREFER_PRECISION_CONSTRAINTS"]
    pinned = {layer.name: (layer.precision, layer.types) for layer in network.layers if layer.precision}
    assert pinned == {"Relu_4": ("float32", {0: "float32"})}


def test_for_the_dla_tensorrt_11_gets_a_strongly_typed_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake_tensorrt, "BuilderFlag", fake_tensorrt.BuilderFlag11)
    build_plan(fake_tensorrt.as_module(), write(residual_net(), tmp_path), dla=DLA)
    assert fake_tensorrt.Builder.last is not None
    network, config = fake_tensorrt.Builder.last
    assert network.flags == 1 << fake_tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    assert [flag.name for flag in config.flags] == ["GPU_FALLBACK"]
    assert not any(layer.precision for layer in network.layers)


def test_a_timing_cache_is_read_and_given_back_with_what_was_added(tmp_path: Path) -> None:
    path = write(residual_net(), tmp_path)
    assert build_plan(fake_tensorrt.as_module(), path, timing_cache=b"known").timing_cache == b"known+kernel"
    assert build_plan(fake_tensorrt.as_module(), path, timing_cache=b"").timing_cache == b"+kernel"
    assert build_plan(fake_tensorrt.as_module(), path).timing_cache is None


@pytest.mark.parametrize("content", [b"other GPU", b"damaged"])
def test_a_timing_cache_that_does_not_fit_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(TargetError, match="TensorRT does not take the timing cache") as caught:
        build_plan(fake_tensorrt.as_module(), write(residual_net(), tmp_path), timing_cache=content)
    assert caught.value.hint is not None
    assert "begin with an empty file" in caught.value.hint


def wide_net() -> Model:
    s = Sketch(["batch", 3, "width"])
    return s.finish(s.node("Relu", "x"), ["batch", 3, "width"])


def test_a_dynamic_axis_without_a_range_is_named(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"input `x`: axis 2 \(`width`\) is dynamic") as caught:
        build_plan(fake_tensorrt.as_module(), write(wide_net(), tmp_path))
    assert caught.value.hint is not None
    assert "compress.toml" in caught.value.hint


def test_ranges_make_the_profile(tmp_path: Path) -> None:
    ranges = {"width": SizeRange(min=2, opt=8, max=32)}
    build_plan(fake_tensorrt.as_module(), write(wide_net(), tmp_path), ranges=ranges)
    assert fake_tensorrt.Builder.last is not None
    assert fake_tensorrt.Builder.last[1].profiles[0].shapes == {"x": ([1, 3, 2], [1, 3, 8], [MAX_BATCH, 3, 32])}


@pytest.mark.rtx
def test_a_sequence_of_any_length_in_its_range_compiles(tmp_path: Path) -> None:
    import tensorrt_rtx_bindings as trt

    s = Sketch(["batch", "sequence", 16])
    scores = s.node("MatMul", "x", s.node("Transpose", "x", perm=[0, 2, 1]))
    model = s.finish(s.node("MatMul", s.node("Softmax", scores), "x"), ["batch", "sequence", 16])
    ranges = {"sequence": SizeRange(min=1, opt=128, max=512)}
    built = build_plan(trt, write(model, tmp_path), capabilities=("8.9",), ranges=ranges)
    assert len(built.plan) > 10_000
    assert built.log == ()


def test_the_compilers_last_word_is_the_message(tmp_path: Path, refusal: str) -> None:
    with pytest.raises(CompilationError, match="the compiler refuses the graph: Cannot compile operation 'Gemm_7'"):
        build_plan(fake_tensorrt.as_module(), write(residual_net(), tmp_path))


def test_a_builder_that_does_not_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object, logger: Any) -> None:
        logger.log(1, "CUDA initialization failure with error: 803")
        raise TypeError("pybind11::init(): factory function returned nullptr")

    monkeypatch.setattr(fake_tensorrt.Builder, "__init__", fail)
    with pytest.raises(TargetError, match="TensorRT cannot start: CUDA initialization failure with error: 803"):
        build_plan(fake_tensorrt.as_module(), write(residual_net(), tmp_path))


def test_capabilities_are_named_as_tensorrt_rtx_does() -> None:
    assert [capability_name(value) for value in ("7.5", "12.0")] == ["SM75", "SM120"]


@pytest.mark.rtx
@pytest.mark.parametrize("capability", ["7.5", "8.0", "8.6", "8.9", "12.0"])
@pytest.mark.parametrize("model", [residual_net(), attention_net()], ids=["residual", "attention"])
def test_quantized_nets_compile_for_every_generation(tmp_path: Path, model: Model, capability: str) -> None:
    import tensorrt_rtx_bindings as trt

    fitted = halve_products(model)[0] if capability == "7.5" else model
    built = build_plan(trt, write(fitted, tmp_path), capabilities=(capability,), memory_bytes=2**33)
    assert len(built.plan) > 10_000
    assert built.weights_bytes
    assert built.log == ()


@pytest.mark.rtx
def test_several_capabilities_go_into_one_engine(tmp_path: Path) -> None:
    import tensorrt_rtx_bindings as trt

    path = write(halve_products(residual_net())[0], tmp_path)
    several = build_plan(trt, path, capabilities=("7.5", "8.6", "8.9", "12.0"))
    assert (4, "Number of target compute capabilities: 4") in make_logger(trt).lines
    # The code is that of the oldest; what is added says for which others it is, 16 bytes in TensorRT-RTX 1.7.1.
    turing = build_plan(trt, path, capabilities=("7.5",))
    assert 0 < len(several.plan) - len(turing.plan) < 1000


@pytest.mark.rtx
def test_turing_still_refuses_float32_products(tmp_path: Path) -> None:
    """The day this fails the rewriting of compress/runtimes/turing.py can go."""
    import tensorrt_rtx_bindings as trt

    with pytest.raises(CompilationError, match="FP32 GEMM is not supported") as caught:
        build_plan(trt, write(residual_net(), tmp_path), capabilities=("7.5",))
    assert "cudaError" not in caught.value.message


@pytest.mark.rtx
@pytest.mark.parametrize(
    ("zero_point", "dtype", "message"),
    [(3, "int8", r"node `QuantizeLinear_0` \(QuantizeLinear\): .*Non-zero zero point is not supported")],
)
def test_a_parser_error_names_the_node(tmp_path: Path, zero_point: int, dtype: str, message: str) -> None:
    import tensorrt_rtx_bindings as trt

    s = Sketch(["batch", 4])
    path = write(s.finish(s.qdq("x", zero_point=zero_point, dtype=dtype), ["batch", 4]), tmp_path)
    with pytest.raises(TargetError, match=message) as caught:
        build_plan(trt, path, capabilities=("8.6",))
    assert not isinstance(caught.value, CompilationError)
    assert "cudaError" not in caught.value.message


@pytest.mark.rtx
def test_int8_weights_stay_a_quarter_of_float_ones(tmp_path: Path) -> None:
    import tensorrt_rtx_bindings as trt

    s = Sketch(["batch", 64, 8, 8])
    quantized = s.finish(s.node("Conv", s.qdq("x"), s.weight(64, 64, 3, 3), pads=[1, 1, 1, 1]), ["batch", 64, 8, 8])
    f = Sketch(["batch", 64, 8, 8])
    weight = f.constant(f.random.standard_normal((64, 64, 3, 3)))
    plain = f.finish(f.node("Conv", "x", weight, pads=[1, 1, 1, 1]), ["batch", 64, 8, 8])
    sizes = [build_plan(trt, write(m, tmp_path), capabilities=("8.6",)).weights_bytes or 0 for m in (quantized, plain)]
    assert sizes[0] == pytest.approx(sizes[1] / 4, rel=0.05)
