"""One target: every attempt of the recipe until one is within the accuracy budget, and the record of the best."""

import logging
from dataclasses import replace
from pathlib import Path

from compress.assembly import describe_target, describe_unbuilt, with_attempts, with_verdict
from compress.batch_norm import fold_batch_norm
from compress.contest import choose_engine
from compress.data.gather import RunData
from compress.engines import build_engines, measure_engines
from compress.errors import CompressError, TargetError
from compress.gate import best_record, judge, misses_budget
from compress.intake import Intake
from compress.machine import core_count
from compress.model import Model
from compress.onboard import fill_kit
from compress.options import Plan
from compress.quantize.diagnosis.table import diagnose_if_possible
from compress.recipe import PlannedStep
from compress.report.layer_record import LayerRecord
from compress.report.measurements import FOLDER as MEASUREMENTS
from compress.report.measurements import RawMeasurements, write_measurements
from compress.report.record import EngineFile, Measurements, TargetRecord
from compress.runtimes.early_checks import require_buildable
from compress.speed import explain_speed
from compress.steps import Progress, StepContext, run_step
from compress.store import Store, Workspace, replace_folder
from compress.targets import Target

log = logging.getLogger("compress")

_DIAGNOSED = 8
"""Samples that layers are diagnosed on."""
_DIAGNOSIS_SECONDS = 20.0
"""For the measurements that are only worth their time where accuracy was lost."""


def run_target(
    target: Target, source: Intake, data: RunData, plan: Plan, work: Workspace, progress: Progress
) -> TargetRecord:
    """Return everything about one target, of the best attempt; one that is within the accuracy budget is the last.

    Raises:
        CompressError: The first attempt comes to nothing; of later ones the record says so.
    """
    log.info("target %s: runtime %s, dialect %s", target.name, target.runtime, target.dialect)
    try:
        require_buildable(source.model, target, plan.project.build)
    except TargetError as error:
        return _judged(describe_unbuilt(target, source.model, error), plan, RawMeasurements())
    context = _make_context(target, source, data, plan, work.store, progress)
    tried: list[TargetRecord] = []
    kept = source.model
    problems: list[str] = []
    for number, steps in enumerate(plan.attempts(target.name)):
        if number >= plan.recipe.contest and not misses_budget(best_record(tried), plan.policy):
            break
        try:
            model = fold_batch_norm(_run_steps(steps, source.trainable, context))
        except CompressError as error:
            if not tried:
                raise
            log.warning("%s: attempt %d: %s (%s)", target.name, number + 1, error.message, error.hint)
            problems.append(f"Attempt {number + 1} of recipe {plan.recipe.name} came to nothing: {error.message}.")
            continue
        folder = work.scratch / f"{target.name}-{number}"
        tried.append(_build_and_measure(target, source.model, model, data, plan, folder=folder, progress=progress))
        if tried[-1].engine is not None and tried[-1] is best_record(tried):
            replace_folder(folder, work.staging / "engine" / target.name)
            _keep_measurements(folder, tried[-1], work.staging)
            kept = model
    best = best_record(tried)
    layers = _diagnose(best, kept, context, missed=misses_budget(best, plan.policy))
    return with_attempts(best, tried, problems).model_copy(update={"layers": layers})


def _diagnose(best: TargetRecord, kept: Model, context: StepContext, *, missed: bool) -> tuple[LayerRecord, ...]:
    """Return the layers of the engine that are INT8: none where the original was shipped in its place."""
    if best.engine is None or "int8" not in best.engine.nodes:
        return ()
    return diagnose_if_possible(kept, context, samples=_DIAGNOSED, seconds=_DIAGNOSIS_SECONDS if missed else 0.0)


def _make_context(
    target: Target, source: Intake, data: RunData, plan: Plan, store: Store, progress: Progress
) -> StepContext:
    return StepContext(
        target,
        data.calibration,
        plan.step_threads or core_count(),
        plan.options.seed,
        store,
        progress,
        original=source.trainable,
        metric=plan.metric,
        build=plan.project.build,
    )


def _run_steps(steps: tuple[PlannedStep, ...], model: Model, context: StepContext) -> Model:
    for step in steps:
        task = f"{context.target.name}: {step.name}"
        context.progress(task, 0, 1)
        model = run_step(step.name, step.function, step.settings, model, context)
        # A plan of pruning has thousands of numbers: the report holds it.
        shown = {name: value for name, value in model.history[-1].metrics.items() if not isinstance(value, dict)}
        log.info("%s: %s", step.name, shown)
        context.progress(task, 1, 1)
    return model


def _build_and_measure(
    target: Target, original: Model, model: Model, data: RunData, plan: Plan, *, folder: Path, progress: Progress
) -> TargetRecord:
    """Return the record of one candidate, its engine in the folder."""
    try:
        built = build_engines(original, model, target, folder, progress, plan.project.build)
    except TargetError as error:
        log.warning("%s: %s (%s)", target.name, error.message, error.hint)
        measurements, raw = describe_unbuilt(target, model, error), RawMeasurements()
    else:
        kit = fill_kit(built.compressed, original, data.evaluation, plan.options.device_samples)
        engines = choose_engine(replace(built, compressed=kit), data.evaluation, plan, progress)
        measured = measure_engines(engines, data.evaluation, plan, progress)
        raw = measured.raw if plan.project.data.pictures else replace(measured.raw, pictures={})
        speed = explain_speed(engines, measured, data.evaluation, plan, progress)
        measurements = describe_target(engines, model, measured, speed)
        measurements = measurements.model_copy(update={"measurements": _store(raw, folder, target)})
    return _judged(measurements, plan, raw)


def _judged(measurements: Measurements, plan: Plan, raw: RawMeasurements) -> TargetRecord:
    return with_verdict(measurements, judge(measurements, plan.policy, raw), plan.policy)


def _store(raw: RawMeasurements, folder: Path, target: Target) -> EngineFile | None:
    """Write what was measured beside an attempt's folder, named as it will be beside the report."""
    return None if raw.empty else write_measurements(raw, _stored(folder), f"{MEASUREMENTS}/{target.name}.npz")


def _keep_measurements(folder: Path, record: TargetRecord, staging: Path) -> None:
    """Put an attempt's measurements where its record says they are."""
    if record.measurements is not None:
        final = staging / record.measurements.path
        final.parent.mkdir(exist_ok=True)
        _stored(folder).replace(final)


def _stored(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.npz")
