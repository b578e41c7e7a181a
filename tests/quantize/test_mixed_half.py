from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from faulty_nets import build_faulty
from qat_models import make_context, quantized, random_samples, run_graph, sqnr_db
from small_graphs import build_residual

import compress.quantize.mixed.step as step_module
from compress.errors import UsageError
from compress.precision import count_precisions
from compress.quantize.layers import keep_float
from compress.quantize.mixed.half import to_float16
from compress.quantize.mixed.settings import MixedSettings
from compress.quantize.mixed.step import mix_precision
from compress.runtimes import load_runtime
from compress.targets import load_target


def test_layers_in_float16_have_casts_around_and_constants_of_that_type() -> None:
    original = build_residual()
    model = to_float16(original, ["conv1", "gemm", "add"], {})
    onnx.checker.check_model(onnx.ModelProto.FromString(model.to_bytes()), full_check=True)
    assert count_precisions(model) == {"float16": 2, "float32": 2}
    assert (model.inputs, model.outputs) == (original.inputs, original.outputs)
    x = random_samples()
    assert 50 < sqnr_db(run_graph(original, x), run_graph(model, x)) < 120
    assert len(model.to_bytes()) < len(original.to_bytes()) + 2000


def test_constants_beyond_float16_keep_their_layer_in_float32() -> None:
    original = build_residual()
    weight = original.graph.graph.initializers["w1"]
    assert weight.const_value is not None
    weight.const_value = ir.tensor(1e7 * weight.const_value.numpy())
    assert count_precisions(to_float16(original, ["conv1", "gemm"], {})) == {"float16": 1, "float32": 3}


def test_layers_that_reach_too_far_on_samples_stay_in_float32() -> None:
    model = build_residual()
    assert count_precisions(to_float16(model, ["conv1", "gemm"], {"c1": 5e4})) == {"float16": 1, "float32": 3}
    assert count_precisions(to_float16(model, ["conv1", "gemm"], {"c1": 1e4})) == {"float16": 2, "float32": 2}


def test_float_layers_are_float16_for_tensorrt_and_float32_for_onnx_runtime() -> None:
    settings = MixedSettings()
    assert settings.halves(load_target("rtx-ada"))
    assert not settings.halves(load_target("x86-vnni"))
    assert not MixedSettings(float_type="float32").halves(load_target("rtx-ada"))
    assert MixedSettings(float_type="float16").halves(load_target("x86-vnni"))


def test_a_search_for_tensorrt_keeps_its_layers_in_float16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise UsageError("cannot be run")

    monkeypatch.setattr(step_module, "LatencyMeter", refuse)
    original = build_faulty("activation")
    model = quantized(original, tmp_path, "s8s8-symmetric")
    settings = MixedSettings(min_sqnr_db=30.0)
    result = mix_precision(model, settings, make_context(original, tmp_path, "s8s8-symmetric"))
    assert result.metrics["float_layers"] == ["conv2"]
    assert count_precisions(result.model) == {"float16": 1, "int8": 4}
    x = random_samples()
    assert sqnr_db(run_graph(original, x), run_graph(result.model, x, simulate=True)) > 30
    assert np.isfinite(result.metrics["sqnr_db"])  # type: ignore[arg-type]


@pytest.mark.rtx
def test_tensorrt_compiles_integers_and_float16_side_by_side(tmp_path: Path) -> None:
    original = build_faulty("none")
    model = quantized(original, tmp_path, "s8s8-symmetric")
    mixed = to_float16(keep_float(model, ["conv2"], {}, "s8s8-symmetric"), ["conv2"], {})
    target = load_target("rtx-ada")
    folder = tmp_path / "engine"
    folder.mkdir()
    engine = load_runtime(target.runtime).build(mixed, target, folder)
    assert engine.kind == "tensorrt"
    assert engine.size() > 0
