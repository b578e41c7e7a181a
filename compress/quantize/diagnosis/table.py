"""The diagnosis of a quantized model: what is known about every layer, as the report has it."""

import logging
from collections.abc import Sequence
from typing import Final, Literal

from compress.data.samples import Batch
from compress.data.subset import take
from compress.errors import ModelError
from compress.model import Model
from compress.quantize.diagnosis.contributions import Bench, Contributions, measure_contributions
from compress.quantize.diagnosis.noise import Noise, Outlier, measure_noise
from compress.quantize.layers import Layer, find_layers, float_constants
from compress.report.layer_record import Channel, LayerRecord
from compress.runtimes.batching import fill_batch, fixed_batch
from compress.steps import StepContext

log = logging.getLogger("compress")

SAMPLES: Final = 16
_BATCH = 4
"""Samples a call: the probe holds several copies of every activation."""
_BLAMED: Final[tuple[Literal["weight", "input", "output"], ...]] = ("weight", "input", "output")


def diagnose(
    model: Model, context: StepContext, *, samples: int = SAMPLES, seconds: float = 0.0
) -> tuple[LayerRecord, ...]:
    """Return what INT8 does at every layer of a quantized model, in the graph's order.

    Args:
        model: As the step ``quantize`` left it, or a step after that.
        context: Of the steps; the calibration samples and the original are used.
        samples: How many of the calibration samples.
        seconds: For measuring what each layer adds to the error of the outputs, two runs of the model a layer, the
            noisiest layers first; 0 leaves that out.

    Raises:
        ModelError: The model has control flow, whose bodies cannot be diagnosed.
    """
    dialect = context.target.dialect
    layers = find_layers(model, dialect)
    if not layers:
        return ()
    constants = float_constants(model, context.store)
    batches = _few(model, context, samples)
    context.progress("diagnose", 0, len(layers) + 1)
    noise = measure_noise(model, layers, constants, batches, context.threads)
    context.progress("diagnose", 1, len(layers) + 1)
    contributions = Contributions(None, complete=False)
    if seconds > 0:
        contributions = measure_contributions(
            model,
            context.original,
            by_suspicion(layers, noise),
            Bench(dialect, constants, batches, context.threads),
            seconds=seconds,
            progress=lambda done, total: context.progress("diagnose", done + 1, total + 1),
        )
    context.progress("diagnose", len(layers) + 1, len(layers) + 1)
    return tuple(_record(layer, noise[layer.name], contributions) for layer in layers)


def diagnose_if_possible(
    model: Model, context: StepContext, *, samples: int, seconds: float
) -> tuple[LayerRecord, ...]:
    """Return the diagnosis, empty where the model cannot be diagnosed; the log says why."""
    try:
        return diagnose(model, context, samples=samples, seconds=seconds)
    except ModelError as error:
        log.warning("%s: %s (%s)", context.target.name, error.message, error.hint)
        return ()


def by_suspicion(layers: Sequence[Layer], noise: dict[str, Noise]) -> list[Layer]:
    """Return the layers, those with the lowest signal-to-noise ratio of their own first."""

    def rank(layer: Layer) -> float:
        sqnr = noise[layer.name].sqnr_db("layer")
        return float("inf") if sqnr is None else sqnr

    return sorted(layers, key=rank)


def _few(model: Model, context: StepContext, count: int) -> list[Batch]:
    size = fixed_batch(model)
    some = take(context.calibration, min(count, len(context.calibration)))
    return [Batch(fill_batch(batch.inputs, size), None) for batch in some.batches(size or _BATCH)]


def _record(layer: Layer, noise: Noise, contributions: Contributions) -> LayerRecord:
    errors = {source: noise.powers.get(source, 0.0) for source in _BLAMED}
    worst = max(_BLAMED, key=lambda source: errors[source])
    return LayerRecord(
        name=layer.name,
        op=layer.op,
        sqnr_db=noise.sqnr_db("layer"),
        weight_sqnr_db=noise.sqnr_db("weight"),
        input_sqnr_db=noise.sqnr_db("input"),
        output_sqnr_db=noise.sqnr_db("output"),
        arriving_sqnr_db=noise.sqnr_db("arriving"),
        blame=worst if errors[worst] > 0 else None,
        alone_sqnr_db=contributions.alone.get(layer.name),
        gain_db=contributions.kept.get(layer.name),
        activation_outlier=_channel(noise.activation_outlier),
        weight_outlier=_channel(noise.weight_outlier),
    )


def _channel(outlier: Outlier | None) -> Channel | None:
    return None if outlier is None else Channel(channel=outlier.channel, ratio=outlier.ratio)
