from pathlib import Path

import numpy as np
import pytest
from fake_engines import FakeSamples
from onnx import helper
from qat_models import make_context, optimized_operators, quantized
from small_graphs import build, build_residual, normal

from compress.data.binding import bind_samples
from compress.data.samples import SampleSet
from compress.distill.guard import NonFiniteError
from compress.errors import DataError, ModelError
from compress.model import Model
from compress.quantize.qat.settings import QatSettings
from compress.quantize.qat.step import train_quantized
from compress.recipe import load_recipe
from compress.steps import run_step
from compress.targets import DialectName

QUICK = {"steps": 30, "batch": 8, "evaluate_every": 10, "learning_rate": 1e-3, "held_out_share": 0.2}


def samples(model: Model, *, labelled: bool = False, count: int = 64) -> SampleSet:
    """Return natural-looking samples: not those that a synthetic set holds."""
    random = np.random.default_rng(3)
    x = random.standard_normal((count, 3, 8, 8)).astype(np.float32)
    return bind_samples(FakeSamples(x, random.integers(0, 5, count) if labelled else None), model.inputs)


def coarse(model: Model, folder: Path, dialect: DialectName = "u8s8") -> Model:
    """Return the model quantized with scales that are eight times too large: something is left to learn."""
    import onnx_ir as ir

    result = Model.from_ir(quantized(model, folder, dialect).copy_graph())
    for name, value in result.graph.graph.initializers.items():
        if (
            name.endswith("_scale")
            and value.const_value is not None
            and value.const_value.size == 1
            and name != "r0_scale"
        ):
            value.const_value = ir.tensor(8 * value.const_value.numpy(), name=name)
    return result


@pytest.mark.parametrize("dialect", ["u8s8", "s8s8-symmetric"])
def test_training_brings_the_engine_nearer_to_the_original(tmp_path: Path, dialect: DialectName) -> None:
    original = build_residual()
    model = coarse(original, tmp_path, dialect)
    settings = QatSettings.model_validate({**QUICK, "scale_learning_rate": 0.1})
    context = make_context(original, tmp_path, dialect, calibration=samples(original))
    result = train_quantized(model, settings, context)
    metrics = result.metrics
    assert metrics["sqnr_db_after"] > metrics["sqnr_db_before"] + 1.0  # type: ignore[operator]
    assert (metrics["sqnr_db_engine_to_fake_quantized"] or 200) > 45  # type: ignore[operator]
    assert abs(metrics["sqnr_db_after"] - metrics["sqnr_db_fake_quantized"]) < 0.5  # type: ignore[operator]
    assert (metrics["trained_samples"], metrics["held_out_samples"]) == (51, 13)
    assert metrics["weights_from_float"] == metrics["weights"] == 4
    assert (result.model.inputs, result.model.outputs) == (original.inputs, original.outputs)
    assert [node.name for node in result.model.graph.graph] == [node.name for node in model.graph.graph]


def test_the_trained_engine_is_fused_as_before(tmp_path: Path) -> None:
    original = build_residual()
    model = quantized(original, tmp_path)
    context = make_context(original, tmp_path, calibration=samples(original))
    trained = train_quantized(model, QatSettings.model_validate(QUICK), context).model
    assert optimized_operators(trained, tmp_path) == optimized_operators(model, tmp_path)


@pytest.mark.parametrize(
    ("learned", "changed"),
    [
        ("all", {"activation scales", "weight scales"}),
        ("activations", {"activation scales"}),
        ("weights", {"weight scales"}),
        ("none", set()),
    ],
)
def test_only_the_scales_that_are_to_be_learned_change(tmp_path: Path, learned: str, changed: set[str]) -> None:
    original = build_residual()
    model = coarse(original, tmp_path)
    settings = QatSettings.model_validate({**QUICK, "learn_scales": learned, "scale_learning_rate": 0.1})
    trained = train_quantized(model, settings, make_context(original, tmp_path, calibration=samples(original))).model
    kinds = {"c2_scale": "activation scales", "w0_of_conv0_scale": "weight scales"}
    assert {
        kind for name, kind in kinds.items() if not np.array_equal(array(trained, name), array(model, name))
    } == changed


def array(model: Model, name: str) -> np.ndarray:
    constant = model.graph.graph.initializers[name].const_value
    assert constant is not None
    return constant.numpy()


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    original = build_residual()
    model = quantized(original, tmp_path)
    context = make_context(original, tmp_path, calibration=samples(original))
    found = [train_quantized(model, QatSettings.model_validate(QUICK), context).model.digest() for _ in range(2)]
    assert found[0] == found[1]
    assert list(tmp_path.glob("training-*/training.pt")) == []


def test_images_are_mirrored_where_the_settings_say_so(tmp_path: Path) -> None:
    original = build_residual()
    model = coarse(original, tmp_path)
    context = make_context(original, tmp_path, calibration=samples(original))
    plain, mirrored = (
        train_quantized(model, QatSettings.model_validate({**QUICK, "augment": augment}), context).model.digest()
        for augment in ({}, {"mirror": True, "shift": 1})
    )
    assert plain != mirrored


def test_labels_count_where_they_are_asked_for(tmp_path: Path) -> None:
    original = build_residual()
    model = coarse(original, tmp_path)
    settings = QatSettings.model_validate({**QUICK, "task_weight": 1.0})
    with pytest.raises(DataError, match="has no labels, but task_weight = 1"):
        train_quantized(model, settings, make_context(original, tmp_path, calibration=samples(original)))
    labelled = make_context(original, tmp_path, calibration=samples(original, labelled=True))
    assert train_quantized(model, settings, labelled).metrics["steps"] == 30


def test_a_model_that_is_not_quantized_is_refused_with_the_way_out(tmp_path: Path) -> None:
    original = build_residual()
    with pytest.raises(ModelError, match="the model is not quantized") as caught:
        train_quantized(original, QatSettings(), make_context(original, tmp_path))
    assert '["quantize", "qat"]' in str(caught.value.hint)


def test_a_training_that_diverges_at_once_says_so(tmp_path: Path) -> None:
    original = build_residual()
    model = quantized(original, tmp_path)
    settings = QatSettings.model_validate({**QUICK, "learning_rate": 1e30, "clip_norm": 0, "warmup_share": 0})
    with pytest.raises(NonFiniteError, match="training stopped") as caught:
        train_quantized(model, settings, make_context(original, tmp_path, calibration=samples(original)))
    assert "lower the learning rate" in str(caught.value.hint)


def test_a_fixed_batch_is_trained_and_compared_with_any_number_of_samples(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv"),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("Conv", ["r", "v"], ["y"], "last"),
    ]
    original = build(nodes, {"w": normal(4, 3, 1, 1), "v": normal(2, 4, 1, 1)}, [4, 3, 8, 8], ["y"])
    model = quantized(original, tmp_path)
    context = make_context(original, tmp_path, calibration=samples(original, count=32))
    metrics = train_quantized(model, QatSettings.model_validate({**QUICK, "steps": 4}), context).metrics
    assert metrics["held_out_samples"] == 6
    assert metrics["agreement_after"] is None
    assert metrics["sqnr_db_after"] > 20  # type: ignore[operator]


def test_the_recipe_trains_after_quantizing(tmp_path: Path) -> None:
    original = build_residual()
    context = make_context(original, tmp_path, calibration=samples(original))
    (planned,) = load_recipe("int8-qat").attempts
    assert [step.name for step in planned] == ["quantize", "qat"]
    model = run_step("quantize", planned[0].function, planned[0].settings, original, context)
    model = run_step("qat", planned[1].function, QatSettings.model_validate(QUICK), model, context)
    assert [record.step for record in model.history] == ["quantize", "qat"]
    assert model.history[1].input_digest == model.history[0].output_digest
