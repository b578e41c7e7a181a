from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from small_graphs import build, build_residual, normal

from compress.data.gather import gather_samples
from compress.errors import ConditionError, DataError, ModelError
from compress.model import Model
from compress.quantize.calibrate import Calibration, calibrate
from compress.quantize.dialects import DIALECTS
from compress.quantize.static import QuantizeSettings, check_quantized, quantize_static
from compress.runtimes import open_graph
from compress.steps import StepContext, StepResult, StepSettings, run_step
from compress.store import Store
from compress.targets import Target


def context(model: Model, folder: Path, **changes: object) -> StepContext:
    target = Target(name="t", description="a target", runtime="null", precisions=("float32", "int8"))
    samples = gather_samples(None, None, model.inputs, seed=0).calibration
    fields = {
        "target": target, "calibration": samples, "threads": 1, "seed": 0, "store": Store(folder), "original": model,
    }  # fmt: skip
    return StepContext(**{**fields, "progress": lambda *_: None, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("observer", ["minmax", "percentile", "mse", "entropy"])
def test_every_observer_gives_a_model_with_the_same_interface(tmp_path: Path, observer: str) -> None:
    model = build_residual()
    settings = QuantizeSettings(observer=observer)  # type: ignore[arg-type]
    result = quantize_static(model, settings, context(model, tmp_path))
    assert (result.model.inputs, result.model.outputs) == (model.inputs, model.outputs)
    assert result.metrics["integer_nodes"] == 5
    assert result.metrics["calibration_samples"] == 32


def test_a_step_is_recorded_with_digests_and_comes_from_the_store_the_second_time(tmp_path: Path) -> None:
    model = build_residual()
    first = run_step("quantize", quantize_static, QuantizeSettings(), model, context(model, tmp_path))

    def never(*_: object) -> StepResult:
        raise AssertionError("done before")

    second = run_step("quantize", never, QuantizeSettings(), model, context(model, tmp_path))
    assert second.to_bytes() == first.to_bytes()
    assert second.history == first.history
    assert first.history[0].input_digest == model.digest()
    assert first.history[0].output_digest == first.digest()


def test_a_step_that_changes_the_interface_is_our_own_bug(tmp_path: Path) -> None:
    model = build_residual()
    other = build([helper.make_node("Relu", ["x"], ["y"], "relu")], {}, [1, 3], ["y"])

    def broken(*_: object) -> StepResult:
        return StepResult(other)

    with pytest.raises(ConditionError, match="steps before it: none"):
        run_step("prune", broken, StepSettings(), model, context(model, tmp_path))


def test_a_model_with_nothing_to_quantize_is_refused_with_the_way_out(tmp_path: Path) -> None:
    model = build([helper.make_node("Relu", ["x"], ["y"], "relu")], {}, [1, 3], ["y"])
    with pytest.raises(ModelError, match="nothing to quantize") as caught:
        quantize_static(model, QuantizeSettings(), context(model, tmp_path))
    assert "--recipe float" in str(caught.value.hint)


def test_a_model_that_is_quantized_already_is_refused(tmp_path: Path) -> None:
    model = build_residual()
    once = quantize_static(model, QuantizeSettings(), context(model, tmp_path)).model
    with pytest.raises(ModelError, match="quantized already"):
        quantize_static(once, QuantizeSettings(), context(model, tmp_path))


def test_an_opset_without_per_channel_quantization_is_refused(tmp_path: Path) -> None:
    model = build_residual()
    model.graph.opset_imports[""] = 12
    with pytest.raises(ModelError, match="opset 12"):
        quantize_static(model, QuantizeSettings(), context(model, tmp_path))


def test_an_activation_that_is_not_finite_is_named(tmp_path: Path) -> None:
    model = build(
        [
            helper.make_node("Conv", ["x", "w"], ["c"], "conv"),
            helper.make_node("Log", ["c"], ["l"], "log"),
            helper.make_node("Conv", ["l", "v"], ["y"], "last"),
        ],
        {"w": normal(4, 3, 1, 1), "v": normal(2, 4, 1, 1)},
        ["batch", 3, 4, 4],
        ["y"],
    )
    with pytest.raises(DataError, match="activation `l` is not finite"):
        quantize_static(model, QuantizeSettings(), context(model, tmp_path))


def test_a_graph_in_another_dialect_than_planned_is_our_own_bug(tmp_path: Path) -> None:
    model = build_residual()
    unsigned = quantize_static(model, QuantizeSettings(), context(model, tmp_path)).model
    with pytest.raises(ConditionError, match="does not quantize to int8"):
        check_quantized(unsigned, DIALECTS["s8s8-symmetric"])


def test_a_calibration_survives_being_stored(tmp_path: Path) -> None:
    model = build_residual()
    samples = gather_samples(None, None, model.inputs, seed=0).calibration
    seen: list[tuple[int, int]] = []

    def opened(observed: Model, values: list[str]) -> object:
        return open_graph(observed.to_bytes(), threads=1, outputs=values)

    made = calibrate(model, ["x", "r0"], samples, opened, 2, lambda *step: seen.append(step))  # type: ignore[arg-type]
    again = Calibration.from_bytes(made.to_bytes())
    assert again.samples == made.samples == len(samples)
    assert list(again.histograms) == ["x", "r0"]
    for name, histogram in made.histograms.items():
        assert np.array_equal(again.histograms[name].counts, histogram.counts)
        assert (again.histograms[name].low, again.histograms[name].high) == (histogram.low, histogram.high)
    assert seen[-1] == (32, 32)


def test_a_fixed_batch_is_calibrated_at_that_batch(tmp_path: Path) -> None:
    model = build([helper.make_node("Conv", ["x", "w"], ["y"], "conv")], {"w": normal(4, 3, 1, 1)}, [1, 3, 4, 4], ["y"])
    result = quantize_static(model, QuantizeSettings(), context(model, tmp_path))
    assert result.metrics["calibration_samples"] == 32


def test_a_fixed_batch_that_does_not_divide_the_samples_is_filled_up(tmp_path: Path) -> None:
    model = build(
        [helper.make_node("Conv", ["x", "w"], ["y"], "conv")], {"w": normal(4, 3, 1, 1)}, [12, 3, 4, 4], ["y"]
    )
    result = quantize_static(model, QuantizeSettings(), context(model, tmp_path))
    assert result.metrics["calibration_samples"] == 32


def test_a_model_of_which_only_the_input_is_quantized_is_calibrated(tmp_path: Path) -> None:
    model = build([helper.make_node("Gemm", ["x", "w"], ["y"], "gemm")], {"w": normal(4, 3)}, ["batch", 4], ["y"])
    result = quantize_static(model, QuantizeSettings(), context(model, tmp_path))
    assert result.metrics["quantized_activations"] == 1
