"""How a step of the line is run: settings in, model out, timed, checked, recorded, never done twice."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from compress.data.metrics import Metric
from compress.data.samples import SampleSet
from compress.errors import ConditionError
from compress.model import JsonValue, Model, StepRecord
from compress.runtimes.build_settings import DEFAULT, BuildSettings
from compress.store import Store
from compress.targets import Target

Progress = Callable[[str, int, int], None]
"""Told the name of a task, how much of it is done and how much there is in all."""


class StepSettings(BaseModel):
    """Settings of a step as a recipe states them; each step has a subclass."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def also_depends_on(self, target: Target) -> JsonValue:  # noqa: ARG002
        """Return what else a result with these settings depends on: files they name, the device that is measured."""
        return None

    def files(self) -> tuple[Path, ...]:
        """Return the files that the settings name; relative paths start at the working folder."""
        return ()


@dataclass(frozen=True, slots=True)
class StepContext:
    """What a step may use beside the model.

    Attributes:
        target: The device that the result is for.
        calibration: Unlabelled samples, bound to the model's inputs.
        threads: How many threads the step may use.
        seed: Seed of everything random.
        store: Where a step keeps what another target may use again.
        progress: Told how far a step is.
        original: The model as it was taken in, before any step, BatchNormalization unfolded: the teacher of
            every training.
        metric: What accuracy is, for steps that look at labels; None where nobody said.
        build: How engines are built that a step measures.
    """

    target: Target
    calibration: SampleSet
    threads: int
    seed: int
    store: Store
    progress: Progress
    original: Model
    metric: Metric | None = None
    build: BuildSettings = DEFAULT


@dataclass(frozen=True, slots=True)
class StepResult:
    """The model that a step made and what it measured on the way."""

    model: Model
    metrics: Mapping[str, JsonValue] = field(default_factory=dict)


class Step(Protocol):
    """A function from model to model; its settings are of the class that the recipe table names beside it."""

    def __call__(self, model: Model, settings: Any, context: StepContext, /) -> StepResult:
        """Return the changed model; the given one stays as it is."""
        ...


def run_step(name: str, step: Step, settings: StepSettings, model: Model, context: StepContext) -> Model:
    """Return the model after one step, from the store where the same step on the same input was done before.

    Raises:
        ConditionError: The result's interface differs from the input's; the message names the steps before.
    """
    digest = model.digest()
    stated: dict[str, JsonValue] = settings.model_dump(mode="json")
    key = step_key(name, [stated, settings.also_depends_on(context.target)], digest, context)
    found = context.store.get(key)
    if found is not None:
        record = StepRecord(**json.loads(found["record.json"]))
        return Model.from_bytes(found["model.onnx"], model.history).with_record(record)
    start = time.perf_counter()
    result = step(model, settings, context)
    seconds = time.perf_counter() - start
    check_interface(name, model, result.model)
    serialized = result.model.to_bytes()
    output_digest = hashlib.sha256(serialized).hexdigest()
    record = StepRecord(name, stated, seconds, dict(result.metrics), digest, output_digest)
    fields = {slot: getattr(record, slot) for slot in StepRecord.__slots__}
    context.store.put(key, {"model.onnx": serialized, "record.json": json.dumps(fields).encode()})
    return replace(result.model, history=model.history).with_record(record)


def step_key(name: str, settings: JsonValue, model_digest: str, context: StepContext) -> str:
    """Return the key under which a step's result is stored: everything that it depends on."""
    from compress import __version__

    target = context.target
    parts: JsonValue = [
        __version__, name, settings, model_digest, context.original.digest(),
        context.calibration.digest(), context.seed, target.dialect, target.opset, list(target.precisions),
        context.metric.name if context.metric else None,
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def check_interface(name: str, before: Model, after: Model) -> None:
    """Check that a step kept the names, types and shapes of inputs and outputs.

    Raises:
        ConditionError: It did not.
    """
    if (before.inputs, before.outputs) != (after.inputs, after.outputs):
        done = ", ".join(record.step for record in before.history) or "none"
        raise ConditionError(
            f"step `{name}` changed the model's interface from {before.inputs} → {before.outputs} "
            f"to {after.inputs} → {after.outputs} (steps before it: {done})"
        )
