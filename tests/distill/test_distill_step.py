import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper
from small_graphs import build, build_residual, normal

from compress.data.samples import SampleSet
from compress.data.synthetic import synthesize
from compress.distill import step
from compress.distill.choice import DistillSettings
from compress.distill.fidelity import HeldOut
from compress.distill.guard import NonFiniteError
from compress.distill.imitation import imitate
from compress.distill.interface import check_same_interface
from compress.distill.pairing import Pair
from compress.distill.result import TrainingResult
from compress.distill.step import distill
from compress.errors import DataError, ModelError
from compress.model import Model, TensorSpec
from compress.recipe import load_recipe
from compress.runtimes import open_graph
from compress.steps import StepContext, run_step
from compress.store import Store
from compress.targets import Target


def damage(model: Model, strength: float = 0.3) -> Model:
    """Return a model with its convolutions' weights scaled: what a careless step might have done."""
    graph = model.copy_graph()
    for name in ("w1", "w2"):
        value = graph.graph.initializers[name]
        assert value.const_value is not None
        array = value.const_value.numpy()
        value.const_value = ir.tensor(array + strength * normal(*array.shape, seed=8), name=name)
    return Model.from_ir(graph, model.history)


def samples(model: Model, count: int = 96) -> SampleSet:
    return synthesize(model.inputs, count, seed=2)


def settings(**changes: Any) -> DistillSettings:
    defaults = {"steps": 60, "batch": 16, "learning_rate": 3e-3, "evaluate_every": 20, "device": "cpu"}
    return DistillSettings.model_validate({**defaults, **changes})


def context(original: Model, folder: Path, target: str = "u8s8") -> StepContext:
    device = Target(name="t", description="a target", runtime="null", precisions=("float32",))
    return StepContext(device, samples(original), 1, 0, Store(folder), lambda *_: None, original)


def outputs(model: Model) -> np.ndarray[Any, np.dtype[np.float32]]:
    feed = next(samples(model, 8).batches(8)).inputs
    with open_graph(model.to_bytes(), threads=1) as session:
        return np.asarray(session.run(feed)["y"], np.float32)


def test_a_damaged_graph_learns_again_what_the_original_gives(tmp_path: Path) -> None:
    original = build_residual()
    before = damage(original)
    result = run_step("distill", distill, settings(), before, context(original, tmp_path))
    metrics = result.history[-1].metrics
    assert metrics["stopped"] == "steps done"
    gained = metrics["sqnr_db_after"], metrics["sqnr_db_before"]
    assert isinstance(gained[0], float)
    assert isinstance(gained[1], float)
    assert gained[0] > gained[1] + 3
    wanted = outputs(original)
    errors = [float(np.square(outputs(model) - wanted).sum()) for model in (before, result)]
    assert errors[1] < errors[0] / 2
    assert (result.inputs, result.outputs) == (original.inputs, original.outputs)
    assert not list(tmp_path.glob("training-*/training.pt"))


def test_all_targets_share_one_training_and_it_repeats_to_the_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = build_residual()
    first = distill(damage(original), settings(steps=10), context(original, tmp_path / "one"))
    again = distill(damage(original), settings(steps=10), context(original, tmp_path / "two"))
    assert first.model.to_bytes() == again.model.to_bytes()
    monkeypatch.setattr(step, "imitate", None)
    stored = distill(damage(original), settings(steps=10), context(original, tmp_path / "one"))
    assert stored.model.to_bytes() == first.model.to_bytes()
    assert stored.metrics == first.metrics


def test_the_original_itself_has_nothing_to_learn(tmp_path: Path) -> None:
    original = build_residual()
    result = distill(original, settings(), context(original, tmp_path))
    assert result.model is original
    assert result.metrics == {"steps": 0, "stopped": "nothing to learn: the model is the original"}


def test_a_training_that_diverges_after_it_helped_ends_with_the_best_weights_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    original, better = build_residual(), damage(build_residual(), 0.01)

    def diverge(best: int) -> None:
        def raising(*_: object, **__: object) -> None:
            found = HeldOut(20.0, None, 9)
            error = NonFiniteError("training stopped at step 7", hint="lower it")
            error.result = TrainingResult(7, 1.0, best, found, found, "not finite", 16, 87, ())
            error.model = better
            raise error

        monkeypatch.setattr(step, "imitate", raising)

    diverge(best=5)
    with caplog.at_level(logging.WARNING, "compress"):
        result = distill(damage(original), settings(), context(original, tmp_path / "a"))
    assert result.model is better
    assert result.metrics["problem"] == "training stopped at step 7"
    assert "training stopped at step 7 (lower it)" in caplog.text
    diverge(best=0)
    with pytest.raises(NonFiniteError):
        distill(damage(original), settings(), context(original, tmp_path / "b"))


def test_a_value_inside_the_graph_that_is_not_finite_is_named() -> None:
    original = build_residual()
    with pytest.raises(NonFiniteError) as raised:
        imitate(
            damage(original), original, samples(original), settings(learning_rate=1e30, clip_norm=0, ema_decay=0),
            seed=0, checkpoint=None, progress=lambda *_: None, threads=1,
        )  # fmt: skip
    assert "the first tensor that is not finite is the student's `" in raised.value.message
    assert raised.value.model is not None
    assert np.isfinite(outputs(raised.value.model)).all()


def test_features_are_paired_and_their_maps_learn_but_stay_out_of_the_graph() -> None:
    original = build_residual()
    before = damage(original)
    done = imitate(
        before, original, samples(original), settings(features=2, augment={"mirror": True, "shift": 1}),
        seed=0, checkpoint=None, progress=lambda *_: None, threads=1,
    )  # fmt: skip
    assert done.pairs == (Pair("r0", "r0"), Pair("m", "m"))
    assert set(done.model.graph.graph.initializers) == set(before.graph.graph.initializers)
    assert done.training.after.sqnr_db is not None
    assert done.training.before.sqnr_db is not None
    assert done.training.after.sqnr_db > done.training.before.sqnr_db


def test_a_graph_of_a_fixed_batch_is_trained_with_any_batch() -> None:
    def fixed(seed: int) -> Model:
        nodes = [
            helper.make_node("Reshape", ["x", "shape"], ["flat"], "reshape"),
            helper.make_node("Gemm", ["flat", "w"], ["y"], "gemm", transB=1),
        ]
        constants = {"shape": np.array([4, 6], np.int64), "w": normal(3, 6, seed=seed)}
        return build(nodes, constants, [4, 2, 3], ["y"])

    data = synthesize((TensorSpec("x", "float32", ("batch", 2, 3)),), 50, seed=0)
    done = imitate(
        fixed(1), fixed(2), data, settings(batch=10, steps=120, learning_rate=0.03),
        seed=0, checkpoint=None, progress=lambda *_: None, threads=1,
    )  # fmt: skip
    assert done.training.after.sqnr_db is not None
    assert done.training.after.sqnr_db > 20


def test_a_loss_against_labels_needs_labelled_samples() -> None:
    original = build_residual()
    with pytest.raises(DataError, match=r"has no labels, but task_weight = 0\.5 needs them"):
        imitate(
            damage(original), original, samples(original), settings(task_weight=0.5),
            seed=0, checkpoint=None, progress=lambda *_: None, threads=1,
        )  # fmt: skip


def test_different_inputs_and_outputs_are_refused_with_both_sides() -> None:
    def linear(out: str, size: int) -> Model:
        node = helper.make_node("Gemm", ["x", "w"], [out], "gemm", transB=1)
        return build([node], {"w": normal(size, 4)}, ["batch", 4], [out])

    with pytest.raises(ModelError) as raised:
        check_same_interface(linear("y", 3), linear("z", 3))
    assert raised.value.message == (
        "teacher and student have different outputs: `y` is float32[batch, 3] in the teacher, absent in the student; "
        "`z` is absent in the teacher, float32[batch, 3] in the student"
    )
    assert raised.value.hint is not None
    assert "export it with the teacher's outputs" in raised.value.hint
    with pytest.raises(ModelError, match=r"`y` is float32\[batch, 3\] in the teacher, float32\[batch, 5\] in the"):
        check_same_interface(linear("y", 3), linear("y", 5))
    with pytest.raises(ModelError, match="different inputs"):
        check_same_interface(build_residual(), linear("y", 5))
    check_same_interface(linear("y", 3), linear("y", 3))


def test_the_step_is_in_recipes_with_every_default_written_out(tmp_path: Path) -> None:
    recipe = tmp_path / "recover.toml"
    recipe.write_text('steps = ["distill"]\n[distill]\nsteps = 7\naugment = { mirror = true }\n')
    ((planned,),) = load_recipe(str(recipe)).attempts
    assert planned.function is distill
    described = planned.settings.model_dump(mode="json")
    assert (described["steps"], described["augment"]["mirror"], described["loss"]) == (7, True, "auto")
    assert None not in described.values()
