import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_engines import FakeSamples
from onnx import helper
from qat_models import TARGETS, make_context, quantized
from small_graphs import build, build_residual, normal

from compress.data.binding import bind_samples
from compress.data.samples import SampleSet
from compress.distill.zeros import keep_zeros, sparsified_nodes
from compress.errors import ConfigError, ModelError
from compress.model import Model
from compress.prune.sparsify_step import SparsifySettings, sparsify
from compress.recipe import load_recipe
from compress.steps import run_step
from compress.targets import DialectName
from compress.weight_matrices import find_matrices, two_of_four

QUICK: dict[str, Any] = {"steps": 30, "batch": 8, "evaluate_every": 10, "learning_rate": 1e-2, "held_out_share": 0.2}


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


PLAIN: dict[str, Any] = {**QUICK, "update": "none"}
"""Training has more to learn where no least-squares update went before it."""


def samples(model: Model) -> SampleSet:
    x = np.random.default_rng(3).standard_normal((64, 3, 8, 8)).astype(np.float32)
    return bind_samples(FakeSamples(x, None), model.inputs)


def take_step(name: str, model: Model, original: Model, folder: Path, dialect: DialectName, **settings: Any) -> Model:
    """Run a step as a recipe does."""
    context = make_context(original, folder, dialect, calibration=samples(original))
    (steps,) = load_recipe(write_recipe(folder, name, settings)).attempts
    return run_step(name, steps[0].function, steps[0].settings, model, context)


def write_recipe(folder: Path, name: str, settings: dict[str, Any]) -> str:
    values = {key: f'"{value}"' if isinstance(value, str) else value for key, value in settings.items()}
    lines = [f'steps = ["{name}"]', f"[{name}]", *(f"{key} = {value}" for key, value in values.items())]
    path = folder / "recipe.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


def zeros(model: Model) -> dict[str, np.ndarray]:
    """Return where the weights are zero, by the names of their nodes."""
    constants = model.graph.graph.initializers
    found = {}
    for matrix in find_matrices(model.graph.graph):
        constant = constants[matrix.initializer].const_value
        assert constant is not None
        found[matrix.node] = constant.numpy() == 0
    return found


def test_zeros_hold_while_the_rest_learns(tmp_path: Path) -> None:
    original = build_residual()
    context = make_context(original, tmp_path, calibration=samples(original))
    settings = SparsifySettings(pattern="2:4", min_elements=16, **PLAIN)
    plain = sparsify(original, settings.model_copy(update={"steps": 0}), context)
    learned = sparsify(original, settings, context)
    before, after = zeros(plain.model), zeros(learned.model)
    assert all(np.array_equal(before[node], after[node]) for node in ("conv2", "gemm"))
    assert learned.model.digest() != plain.model.digest()
    metrics = learned.metrics
    assert metrics["sqnr_db_after"] > metrics["sqnr_db_before"] + 1  # type: ignore[operator]
    assert metrics["sqnr_db_before"] == pytest.approx(plain.metrics["sqnr_db_after"], abs=1e-3)
    assert plain.metrics["held_out_samples"] == metrics["held_out_samples"] == 13
    assert list(tmp_path.glob("training-*/training.pt")) == []


@pytest.mark.parametrize("pattern", ["2:4", "unstructured", "4x1"])
def test_the_other_weights_make_up_for_zeros_before_any_training(tmp_path: Path, pattern: str) -> None:
    original = build_residual()
    context = make_context(original, tmp_path, calibration=samples(original))
    found = {}
    for settings in ({"update": "none"}, {"choice": "magnitude"}, {"choice": "error"}, {}):
        values = SparsifySettings.model_validate({"pattern": pattern, "min_elements": 16, "steps": 0, **settings})
        found[json.dumps(settings)] = sparsify(original, values, context).metrics
    plain, magnitude, error, default = found.values()
    assert plain["updated_layers"] == 0
    assert isinstance(default["updated_layers"], int)
    assert default["updated_layers"] > 0
    assert magnitude["sqnr_db_after"] > plain["sqnr_db_after"] + 1  # type: ignore[operator]
    assert error["sqnr_db_after"] > plain["sqnr_db_after"] + 1  # type: ignore[operator]
    assert default == (error if pattern == "2:4" else magnitude)
    assert plain["zero_share"] == pytest.approx(default["zero_share"], abs=0.01)


def test_the_metrics_say_what_is_zero_and_what_stayed_dense(tmp_path: Path) -> None:
    original = build_residual()
    settings = SparsifySettings(pattern="4x1", ratio=0.5, allocation="uniform", min_elements=16, steps=0)
    metrics = sparsify(original, settings, make_context(original, tmp_path, calibration=samples(original))).metrics
    assert metrics["layers"] == {"conv0": 0.5, "conv2": 0.5}
    assert metrics["zero_share"] == 0.5
    # Of 216 + 8 + 72 + 8 + 64 + 8 + 40 + 5 trained elements and 4 others, (216 + 64) / 2 and 3 zeros of biases count.
    elements = sum(
        value.const_value.size for value in original.graph.graph.initializers.values() if value.const_value is not None
    )
    assert metrics["zero_share_of_model"] == pytest.approx(140 / elements)
    assert set(metrics["skipped"]) == {"conv1", "gemm"}  # type: ignore[arg-type]


@pytest.mark.parametrize("dialect", list(TARGETS))
@pytest.mark.parametrize("pattern", ["2:4", "unstructured"])
def test_zeros_survive_quantization_and_the_training_after_it(
    tmp_path: Path, dialect: DialectName, pattern: str
) -> None:
    original = build_residual()
    model = take_step(
        "sparsify", original, original, tmp_path, dialect, pattern=pattern, min_elements=16, ratio=0.6, **PLAIN
    )
    sparse = {node: mask for node, mask in zeros(model).items() if node in sparsified_nodes(model)}
    assert {"conv2", "gemm"} <= set(sparse)
    for step, settings in (("quantize", {}), ("qat", {**QUICK, "learning_rate": 1.0, "scale_learning_rate": 0.05})):
        before = model.digest()
        model = take_step(step, model, original, tmp_path, dialect, **settings)
        assert model.digest() != before
        found = zeros(model)
        assert all(np.all(found[node][mask]) for node, mask in sparse.items()), step
    if pattern == "2:4":
        assert {matrix.node for matrix in two_of_four(model)} == {"conv2", "gemm"}
    assert model.history[-1].metrics["sparse_weights"] == len(sparse)


def test_without_history_the_pattern_itself_is_kept(tmp_path: Path) -> None:
    original = build_residual()
    settings = SparsifySettings(pattern="2:4", min_elements=16, steps=0, update="none")
    context = make_context(original, tmp_path, calibration=samples(original))
    model = quantized(sparsify(original, settings, context).model, tmp_path)
    assert sparsified_nodes(model) == frozenset()
    far = {**QUICK, "learning_rate": 1.0}
    kept = take_step("qat", model, original, tmp_path, "u8s8", **far)
    free = take_step("qat", model, original, tmp_path, "u8s8", **far, keep_zeros="none")
    assert {matrix.node for matrix in two_of_four(kept)} == {"conv2", "gemm"}
    assert two_of_four(free) == ()


def test_distillation_after_it_keeps_the_zeros_too(tmp_path: Path) -> None:
    original = build_residual()
    model = take_step("sparsify", original, original, tmp_path, "u8s8", min_elements=16, steps=0, update="none")
    trained = take_step("distill", model, original, tmp_path, "u8s8", **QUICK)
    assert trained.digest() != model.digest()
    assert {matrix.node for matrix in two_of_four(trained)} == {"conv2", "gemm"}


def test_only_matrices_with_some_zeros_are_held() -> None:
    first, second = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
    net = torch.nn.Sequential(first, second)
    with torch.no_grad():
        first.weight[:, ::2] = 0
        first.bias.zero_()
        second.weight.zero_()
    project = keep_zeros(net)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(1.0)
    project(net)
    assert first.weight[:, ::2].count_nonzero() == 0
    assert first.weight[:, 1::2].count_nonzero() == 8
    assert first.bias.count_nonzero() == 4
    assert second.weight.count_nonzero() == 16


def test_a_quantized_model_is_sent_back_with_the_order_to_use(tmp_path: Path) -> None:
    original = build_residual()
    with pytest.raises(ModelError, match="quantized already") as caught:
        sparsify(quantized(original, tmp_path), SparsifySettings(), make_context(original, tmp_path))
    assert '["sparsify", "quantize", "qat"]' in str(caught.value.hint)


def test_where_no_weight_fits_the_message_says_why(tmp_path: Path) -> None:
    original = build_residual()
    with pytest.raises(ModelError, match=r"sparsity pattern 2:4: `conv0` has 216 elements only; ") as caught:
        sparsify(original, SparsifySettings(), make_context(original, tmp_path))
    assert "min_elements" in str(caught.value.hint)
    relu = build([helper.make_node("Relu", ["x"], ["y"], "relu")], {}, ["batch", 3, 8, 8], ["y"])
    with pytest.raises(ModelError, match="2:4: it has none"):
        sparsify(relu, SparsifySettings(), make_context(relu, tmp_path))


def test_a_recipe_with_a_wrong_pattern_is_refused(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, "sparsify", {"pattern": "4:2"})
    with pytest.raises(ConfigError, match=r"\[sparsify\].*pattern.*`4:2` is no sparsity pattern"):
        load_recipe(path)


def test_a_fixed_batch_is_compared_too(tmp_path: Path) -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"], "conv"), helper.make_node("Conv", ["c", "v"], ["y"], "last")]
    original = build(nodes, {"w": normal(8, 3, 1, 1), "v": normal(4, 8, 1, 1)}, [4, 3, 8, 8], ["y"])
    settings = SparsifySettings(min_elements=0, steps=0)
    metrics = sparsify(original, settings, make_context(original, tmp_path, calibration=samples(original))).metrics
    assert metrics["layers"] == {"last": 0.5}
    assert math.isfinite(metrics["sqnr_db_after"])  # type: ignore[arg-type]
