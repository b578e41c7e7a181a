"""Pruning with BatchNormalization that is not folded."""

from pathlib import Path
from typing import Any

import pytest
from hand_coupled import context_of, samples_of
from normalized_layers import normalized_network
from onnx import helper
from small_graphs import build

from compress.batch_norm import fold_batch_norm, has_batch_norm
from compress.distill.step import distill
from compress.intake import count_parameters
from compress.model import Model
from compress.prune.coupling import analyse
from compress.prune.prepare import prepare
from compress.prune.reconstruct import reconstruct
from compress.prune.settings import PruneSettings
from compress.prune.step import prune
from compress.prune.surgery import cut
from compress.quantize.static import QuantizeSettings, quantize_static
from compress.steps import StepResult

QUICK = PruneSettings(
    amount="40%macs", steps=30, batch=16, evaluate_every=10, samples=8, update="none", importance="gain",
    allocation="global", multiple=4, device="cpu",
)  # fmt: skip


def constants(model: Model, prefix: str) -> dict[str, list[float]]:
    values = {name: value.const_value for name, value in model.graph.graph.initializers.items()}
    return {k: v.numpy().ravel().tolist() for k, v in values.items() if v is not None and k.startswith(prefix)}


def test_recovery_trains_it_and_leaves_it_unfolded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, given = normalized_network(), []

    def spy(student: Model, settings: Any, context: Any) -> StepResult:
        given.append((has_batch_norm(student), settings.batch_norm))
        return distill(student, settings, context)

    monkeypatch.setattr("compress.prune.step.distill", spy)
    trained, again = (
        prune(model, QUICK, context_of(model, tmp_path / name, samples_of(model, 64))).model for name in "ab"
    )
    assert given == [(True, "train")] * 2
    assert has_batch_norm(trained)
    assert again.to_bytes() == trained.to_bytes()


def test_its_learning_rate_is_another_one_unless_the_settings_name_theirs() -> None:
    model = normalized_network()
    assert QUICK.recovery(0.0, model, 64).learning_rate == QUICK.batch_norm_learning_rate
    assert QUICK.recovery(0.0, fold_batch_norm(model), 64).learning_rate == QUICK.learning_rate
    assert PruneSettings(amount="40%macs", learning_rate=1e-4).recovery(0.0, model, 64).learning_rate == 1e-4


def test_costs_are_those_of_the_folded_graph(tmp_path: Path) -> None:
    model = normalized_network()
    settings = QUICK.model_copy(update={"steps": 0, "amount": "40%params"})
    result = prune(model, settings, context_of(model, tmp_path, samples_of(model, 64)))
    assert result.metrics["parameters_before"] == count_parameters(fold_batch_norm(model))
    assert result.metrics["parameters_after"] == count_parameters(fold_batch_norm(result.model))


def test_the_least_squares_update_puts_what_a_bias_would_take_into_the_mean() -> None:
    model = prepare(normalized_network())
    coupling = analyse(model)
    [first] = [group for group in coupling.groups if group.units == 24]
    cuts = {first.name: tuple(range(0, 24, 3))}
    pruned = cut(model, coupling, cuts)
    found = reconstruct(model, pruned, coupling, cuts, samples_of(model, 96), threads=1)
    [layer] = found.layers
    assert layer.missing_after < 0.9 * layer.missing_before
    assert all(len(node.inputs) == 2 for node in found.model.graph.graph if node.op_type == "Conv")
    assert constants(found.model, "mean2") != constants(pruned, "mean2")


def test_a_cut_graph_is_folded_by_the_step_that_quantizes_it(tmp_path: Path) -> None:
    model = normalized_network()
    context = context_of(model, tmp_path, samples_of(model, 64))
    pruned = prune(model, QUICK.model_copy(update={"steps": 0}), context).model
    quantized = quantize_static(pruned, QuantizeSettings(samples=16), context)
    assert not has_batch_norm(quantized.model)
    assert quantized.metrics["calibration_samples"] == 16
    folded = quantize_static(fold_batch_norm(pruned), QuantizeSettings(samples=16), context)
    assert quantized.model.to_bytes() == folded.model.to_bytes()


@pytest.mark.parametrize(
    ("batch", "size", "asked", "expected"),
    [
        ("batch", 16, "auto", "train"),
        ("batch", 8, "auto", "frozen"),
        (4, 16, "auto", "frozen"),
        (4, 16, "train", "train"),
    ],
)
def test_it_is_trained_where_a_batch_is_large_enough_for_statistics(
    batch: int | str, size: int, asked: str, expected: str
) -> None:
    settings = PruneSettings.model_validate({"amount": "40%macs", "batch": size, "batch_norm": asked})
    assert settings.recovery(0.0, normalized_network(batch), 64).batch_norm == expected


@pytest.mark.parametrize(
    ("changes", "samples", "cached"),
    [
        ({}, 1000, True),
        ({}, 5000, False),  # each is seen once
        ({"epochs": 2}, 5000, True),
        ({"augment": {"mirror": True}}, 1000, False),
        ({"features": 2}, 1000, False),
        ({"teacher_cache": False}, 1000, False),
        ({"steps": 10**6}, 2**25, False),  # more than a gigabyte
    ],
)
def test_the_teachers_outputs_are_kept_where_that_pays(changes: dict[str, Any], samples: int, cached: bool) -> None:
    settings = PruneSettings.model_validate({"amount": "40%macs", "steps": 100, "batch": 32, **changes})
    assert settings.recovery(0.0, normalized_network(), samples).teacher_cache is cached


def test_outputs_of_unknown_size_are_not_kept() -> None:
    model = build([helper.make_node("Relu", ["x"], ["y"], "relu")], {}, ["batch", "length"], ["y"])
    assert not PruneSettings(amount="40%macs").recovery(0.0, model, 100).teacher_cache
