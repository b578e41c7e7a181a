"""The step ``distill``: what steps before it changed learns again to give the original's outputs."""

import json
import logging
from collections.abc import Mapping

from compress.distill.choice import DistillSettings
from compress.distill.guard import NonFiniteError
from compress.distill.imitation import imitate, imitation_key
from compress.distill.loop import CheckpointStore, HeldOut, TrainingResult
from compress.model import JsonValue, Model
from compress.steps import StepContext, StepResult

__all__ = ["DistillSettings", "distill"]

log = logging.getLogger("compress")


def distill(model: Model, settings: DistillSettings, context: StepContext) -> StepResult:
    """Return the model trained to imitate the original on the calibration samples; labels are not needed.

    It does not depend on the target: all targets of a run share one training. One that was killed is taken up. One that
    diverges after it has made the model better ends with the best weights and says so in its metrics.

    Raises:
        NonFiniteError: Training diverged before it made anything better.
        CompressError: See :func:`compress.distill.imitation.imitate`.
    """
    if model.digest() == context.original.digest():
        return StepResult(model, {"steps": 0, "stopped": "nothing to learn: the model is the original"})
    key = imitation_key(model, context.original, context.calibration, settings, context.seed)
    found = context.store.get(f"distill-{key[:32]}")
    if found is not None:
        return StepResult(Model.from_bytes(found["model.onnx"], model.history), json.loads(found["metrics.json"]))
    checkpoint = CheckpointStore(context.store.folder / f"training-{key[:32]}", key)
    try:
        done = imitate(
            model, context.original, context.calibration, settings,
            seed=context.seed, checkpoint=checkpoint, progress=context.progress, threads=context.threads,
        )  # fmt: skip
        trained, metrics = done.model, describe_training(done.training)
    except NonFiniteError as error:
        if error.result is None or error.model is None or error.result.best_step == 0:
            raise
        log.warning("distill: %s (%s)", error.message, error.hint)
        trained, metrics = error.model, {**describe_training(error.result), "problem": error.message}
    files = {"model.onnx": trained.to_bytes(), "metrics.json": json.dumps(metrics).encode()}
    context.store.put(f"distill-{key[:32]}", files)
    checkpoint.clear()
    return StepResult(trained, metrics)


def describe_training(training: TrainingResult) -> dict[str, JsonValue]:
    """Return a training in plain values; fidelities are those on held-out samples."""
    return {
        "steps": training.steps,
        "best_step": training.best_step,
        "stopped": training.stopped,
        "batch": training.batch,
        "trained_samples": training.trained,
        "held_out_samples": training.before.samples,
        **_describe_fidelity("before", training.before),
        **_describe_fidelity("after", training.after),
    }


def _describe_fidelity(when: str, found: HeldOut) -> Mapping[str, JsonValue]:
    return {f"sqnr_db_{when}": found.sqnr_db, f"agreement_{when}": found.agreement}
