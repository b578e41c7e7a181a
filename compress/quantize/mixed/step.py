"""The step `mixed`: layers that cost too much accuracy in INT8, or gain no speed by it, are float again."""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from compress import __version__
from compress.data.samples import Batch
from compress.data.subset import take
from compress.errors import ConfigError, ModelError, UsageError, suggest
from compress.latency_meter import LatencyMeter, Timing
from compress.model import JsonValue, Model
from compress.quantize.diagnosis.noise import measure_noise
from compress.quantize.dialects import DIALECTS
from compress.quantize.half.magnitudes import measure_magnitudes
from compress.quantize.layers import FloatConstants, Layer, find_layers, float_constants
from compress.quantize.mixed.archive import Archive, Names, Trial
from compress.quantize.mixed.goals import AgreementGoal, DropGoal, ExpectedDropGoal, Goal, SignalGoal, classifying
from compress.quantize.mixed.search import Limits, Search
from compress.quantize.mixed.settings import FALLBACK_DECIBELS, MixedSettings
from compress.quantize.mixed.tryout import MeasureLatency, Reference, Subject, Tryout, make_reference
from compress.quantize.mixed.units import Unit, find_units, layer_costs
from compress.quantize.static import check_quantized
from compress.runtimes.batching import fill_batch, fixed_batch
from compress.steps import StepContext, StepResult

__all__ = ["MixedSettings", "mix_precision"]

_SUSPECTED_ON = 4
"""Samples that put the candidates in order."""

log = logging.getLogger("compress")


def mix_precision(model: Model, settings: MixedSettings, context: StepContext) -> StepResult:
    """Return the quantized model with some layers in float, chosen by trials on the target's own runtime.

    Trials are kept in the store as soon as they are finished: a search that is killed goes on from there.

    Raises:
        ModelError: The model is not quantized, or its outputs have nothing to compare.
        UsageError: A speed is demanded, and the target cannot be run here.
        ConfigError: ``keep_float`` or ``float_layers`` names a layer that is not there.
    """
    started = time.perf_counter()
    dialect = context.target.dialect
    layers = _check(model, settings, context)
    constants = float_constants(model, context.store)
    if settings.float_layers is not None:
        return _as_stated(model, settings.float_layers, settings, constants, context)
    archive = Archive.open(context.store.folder / f"mixed-{_key(model, settings, context)}" / "trials.jsonl")
    reference = make_reference(context.original, context.calibration, settings.samples, context.threads)
    goals = choose_goals(settings, context, reference)
    limit = 1 / settings.min_speedup if settings.min_speedup and not settings.states_accuracy else None
    with _latency(model, layers, settings, context) as (measure, how):
        subject = _subject(model, settings, constants, context)
        search = Search(
            Tryout(subject, reference, goals, archive, measure, limit=limit),
            _by_suspicion(model, layers, constants, context),
            frozenset(settings.keep_float),
            Limits(settings.seconds, limit, settings.screened),
            started=started,
            progress=lambda done, total: context.progress("mixed precision", done, total),
        )
        found = search.run()
    result = subject.with_float(frozenset(found.layers))
    check_quantized(result, DIALECTS[dialect])
    frontier: list[JsonValue] = [trial.describe() for trial in archive.frontier()]
    metrics: dict[str, JsonValue] = {
        **_describe(found, how, goals, limit),
        "trials": len(archive.trials),
        "trials_from_before": archive.reused,
        "stopped": "time" if search.out_of_time else "done",
        "frontier": frontier,
        "tried": archive.describe_tried(),
    }
    return StepResult(result, metrics)


def _subject(model: Model, settings: MixedSettings, constants: FloatConstants, context: StepContext) -> Subject:
    simulate = context.target.runtime != "onnxruntime"
    half = measure_magnitudes(model, settings.screened, context) if settings.halves(context.target) else None
    return Subject(model, context.target.dialect, constants, context.threads, simulate, half)


def _as_stated(
    model: Model, names: tuple[str, ...], settings: MixedSettings, constants: FloatConstants, context: StepContext
) -> StepResult:
    """Return the model with these layers in float, whatever that comes to."""
    result = _subject(model, settings, constants, context).with_float(frozenset(names))
    check_quantized(result, DIALECTS[context.target.dialect])
    return StepResult(result, {"goal": "the layers that the settings state", "float_layers": list(names)})


def _check(model: Model, settings: MixedSettings, context: StepContext) -> tuple[Layer, ...]:
    layers = find_layers(model, context.target.dialect)
    if not layers:
        raise ModelError(
            "nothing to choose from: no layer of the model is INT8",
            hint='let `quantize` come before `mixed`: steps = ["quantize", "mixed"]',
        )
    names = [layer.name for layer in layers]
    stated = {"keep_float": settings.keep_float, "float_layers": settings.float_layers or ()}
    for key, name in ((key, name) for key, given in stated.items() for name in given):
        if name not in names:
            raise ConfigError(f"{key}: no INT8 layer is called `{name}`", hint=suggest(name, names))
    return layers


def choose_goals(settings: MixedSettings, context: StepContext, reference: Reference) -> list[Goal]:
    """Return what the engine has to keep; nothing where only a speed is stated.

    Raises:
        ModelError: Classes are to agree, and no output has any.
    """
    classifies = bool(classifying(reference.outputs[0]))
    goals: list[Goal] = []
    if settings.min_sqnr_db is not None:
        goals.append(SignalGoal(settings.min_sqnr_db))
    if settings.min_agreement is not None:
        if not classifies:
            raise ModelError(
                "min_agreement: no output of the model is [batch, classes]", hint="state min_sqnr_db instead"
            )
        goals.append(AgreementGoal(settings.min_agreement))
    if settings.max_drop is not None:
        goals.append(_drop_goal(settings.max_drop, context, classifies=classifies))
    if not goals and settings.min_speedup is None:
        goals.append(SignalGoal(FALLBACK_DECIBELS))
    return goals


def _drop_goal(max_drop: float, context: StepContext, *, classifies: bool) -> Goal:
    metric, samples = context.metric, context.calibration
    if metric is not None and not samples.synthetic and (samples.labelled or not metric.needs_labels):
        return DropGoal(metric, max_drop / 100 if metric.unit == "fraction" else max_drop)
    return ExpectedDropGoal(max_drop / 100) if classifies else SignalGoal(FALLBACK_DECIBELS)


@contextmanager
def _latency(
    model: Model, layers: Sequence[Layer], settings: MixedSettings, context: StepContext
) -> Iterator[tuple[MeasureLatency, str]]:
    """Yield how latency is had: measured beside the original's, or counted where the target cannot be run here."""
    timing = Timing(settings.latency_threads, settings.latency_batch, settings.latency_seconds)
    try:
        meter = LatencyMeter(context.original, timing, context)
    except UsageError:
        if settings.min_speedup is not None:
            raise
        yield _counted(model, layers), "counted"
        return
    with meter:
        yield lambda candidate, _: 1 - meter.removed(candidate), "measured"


def _counted(model: Model, layers: Sequence[Layer]) -> Callable[[Model, Names], float]:
    """Return the share of the arithmetic and of the moved bytes that is float."""
    costs = layer_costs(model, frozenset(layer.name for layer in layers))
    return lambda _, names: sum(costs[name] for name in names)


def _by_suspicion(
    model: Model, layers: tuple[Layer, ...], constants: FloatConstants, context: StepContext
) -> list[Unit]:
    """Return the candidates, those around the noisiest layers first; the cheapest first where the noise is unknown."""
    units = find_units(model, layers, context.target.dialect)
    size = fixed_batch(model) or _SUSPECTED_ON
    few = next(iter(take(context.calibration, min(_SUSPECTED_ON, len(context.calibration))).batches(size)))
    try:
        noise = measure_noise(
            model, layers, constants, [Batch(fill_batch(few.inputs, fixed_batch(model)), None)], context.threads
        )
    except ModelError as error:
        log.info("mixed: %s", error.message)
        return sorted(units, key=lambda unit: unit.cost)
    share = {name: each.powers["layer"] / max(each.powers["signal"], 1e-30) for name, each in noise.items()}
    return sorted(units, key=lambda unit: -max(share[name] for name in unit.names))


def _describe(found: Trial, how: str, goals: Sequence[Goal], limit: float | None) -> dict[str, JsonValue]:
    layers: list[JsonValue] = list(found.layers)
    speedup = 1 / found.latency if how == "measured" and found.latency else None
    met = found.within if limit is None else found.latency is not None and found.latency <= limit
    return {
        "goal": ", ".join(goal.name for goal in goals) or f"speed-up of at least {1 / (limit or 1):g}",
        "goal_met": met,
        "decided_by": "interval" if found.decision in ("accepted", "rejected") else "estimate",
        "float_layers": layers,
        "sqnr_db": found.sqnr_db,
        "agreement": found.agreement,
        "samples": found.samples,
        "latency": how,
        "speedup": speedup,
    }


def _key(model: Model, settings: MixedSettings, context: StepContext) -> str:
    """Return what stands for everything that a trial depends on; the time for the search is not part of it."""
    metric = None if context.metric is None else context.metric.name
    parts: JsonValue = [
        __version__, model.digest(), context.original.digest(), context.calibration.digest(), metric,
        settings.model_dump(mode="json", exclude={"time_budget_seconds"}), context.target.model_dump(mode="json"),
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
