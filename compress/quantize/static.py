"""The step ``quantize``: static post-training quantization to INT8 in the target's dialect."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Literal, Self

import onnx
import onnx_ir as ir
from pydantic import Field, PositiveInt, model_validator

from compress.batch_norm import fold_batch_norm
from compress.data.subset import take
from compress.errors import ConditionError, ModelError
from compress.model import JsonValue, Model
from compress.quantize.calibrate import Calibration, OpenObserved, calibrate
from compress.quantize.comparison import compare_to_original, decibels
from compress.quantize.dialects import DIALECTS, Dialect
from compress.quantize.layers import remember_unquantized
from compress.quantize.plan import Plan, observed_values, plan_quantization
from compress.quantize.qdq import insert_qdq
from compress.quantize.ranges import Method, Quantization, choose_range, fit_grid
from compress.quantize.repair.bias import (
    BiasPlace,
    add_missing_biases,
    correct_biases,
    correct_for_weights,
    find_biases,
)
from compress.quantize.repair.equalize import Equalized, equalize
from compress.quantize.repair.smooth import smooth
from compress.runtimes import Session, open_graph
from compress.steps import StepContext, StepResult, StepSettings

_PER_AXIS_OPSET = 13
_JUDGED = 64
"""Samples that say whether a repair helps."""
_CLEARLY_WORSE = 0.5
"""Decibels; less is chance."""

log = logging.getLogger("compress")


class QuantizeSettings(StepSettings):
    """Settings of the step ``quantize``.

    Attributes:
        observer: How a range is chosen from the activations that were seen; ``auto`` takes, for each of them, the one
            of the others whose grid gives the values back with the least squared error.
        percentile: For the observer ``percentile``: share of the values, in percent, that the range holds.
        smooth: Whether matrix products behind a LayerNormalization get a copy of it whose gains even out the channels.
        equalize: Whether the channels of activations are brought to like sizes first, by scaling weights.
        bias_correction: How the shift that quantization gives the mean of a channel is taken back: measured layer by
            layer (``stepwise``), computed from the rounded weights and the means of what they read (``analytic``), or
            not at all. It is left out where it takes the outputs away from the float model's.
        samples: Calibration samples at most, spread over the set: training wants many thousands, ranges do not.
        rounding: How weights become integers; ``compensated`` lets the weights that are still float make up for those
            that are rounded, layer by layer on the samples. It goes with ``bias_correction = "stepwise"``.
    """

    observer: Method = "mse"
    percentile: Annotated[float, Field(gt=50, le=100)] = 99.99
    smooth: bool = True
    equalize: bool = True
    bias_correction: Literal["none", "analytic", "stepwise"] = "stepwise"
    samples: PositiveInt = 2048
    rounding: Literal["nearest", "compensated"] = "nearest"

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.rounding == "compensated" and self.bias_correction != "stepwise":
            raise ValueError('rounding = "compensated" needs bias_correction = "stepwise"')
        return self


def quantize_static(model: Model, settings: QuantizeSettings, context: StepContext) -> StepResult:
    """Return the model with Q/DQ in the dialect of the target, BatchNormalization in the weights before it.

    Raises:
        ModelError: The model is quantized already, has nothing to quantize, or its opset is too old.
        DataError: The calibration samples give activations that are not finite.
    """
    dialect = DIALECTS[context.target.dialect]
    model = fold_batch_norm(model)
    context = replace(context, calibration=take(context.calibration, settings.samples))
    graph = model.copy_graph()
    check_float(graph)
    plan = plan_quantization(graph.graph, dialect)
    if not plan.nodes:
        raise ModelError(
            f"nothing to quantize: no operator of this model becomes INT8 in dialect {dialect.name}",
            hint="run `compress inspect MODEL` to see its operators, or compile it as it is with `--recipe float`",
        )
    smoothed, copied = _smooth(model, dialect, context) if settings.smooth else (model, [])
    equalized, scaled = _equalize(smoothed, dialect, context) if settings.equalize else (smoothed, [])
    float_model = _with_biases(equalized, dialect) if settings.bias_correction != "none" else equalized
    graph = float_model.copy_graph()
    plan = plan_quantization(graph.graph, dialect)
    calibration = _calibrate_once(float_model, context)
    activations = _fit(plan, dialect, calibration, settings)
    places = find_biases(plan)
    unquantized = graph.clone()
    insert_qdq(graph.graph, plan, dialect, activations)
    result, corrected = Model.from_ir(graph, model.history), 0
    if settings.bias_correction != "none" and places:
        repaired = _correct_biases(result, float_model, places, settings, context)
        if not _is_farther(repaired, result, float_model, context):
            result, corrected = repaired, len(places)
    remember_unquantized(context.store, result, unquantized)
    check_quantized(result, dialect)
    metrics: Mapping[str, JsonValue] = {
        "dialect": dialect.name,
        "calibration_samples": calibration.samples,
        "quantized_activations": len(plan.activations()),
        "integer_nodes": len(plan.nodes),
        "smoothed_norms": len(copied),
        "equalized_groups": len(scaled),
        "corrected_biases": corrected,
    }
    return StepResult(result, metrics)


def _open_observed(context: StepContext) -> OpenObserved:
    def opened(observed: Model, values: list[str]) -> Session:
        return open_graph(observed.to_bytes(), threads=context.threads, outputs=values)

    return opened


def _equalize(model: Model, dialect: Dialect, context: StepContext) -> tuple[Model, list[Equalized]]:
    return equalize(
        model, dialect, context.calibration, _open_observed(context),
        lambda done, total: context.progress("equalize", done, total),
    )  # fmt: skip


def _smooth(model: Model, dialect: Dialect, context: StepContext) -> tuple[Model, list[Equalized]]:
    return smooth(
        model, dialect, context.calibration, _open_observed(context),
        lambda done, total: context.progress("smooth", done, total),
    )  # fmt: skip


def _with_biases(model: Model, dialect: Dialect) -> Model:
    graph = model.copy_graph()
    add_missing_biases(graph.graph, plan_quantization(graph.graph, dialect))
    return Model.from_ir(graph, model.history)


def _correct_biases(
    quantized: Model, model: Model, places: list[BiasPlace], settings: QuantizeSettings, context: StepContext
) -> Model:
    def progress(done: int, total: int) -> None:
        context.progress("correct biases", done, total)

    if settings.bias_correction == "analytic":
        return correct_for_weights(
            quantized, model, places, context.calibration, open_observed=_open_observed(context), progress=progress
        )
    return correct_biases(
        quantized, model, places, context.calibration,
        open_observed=_open_observed(context),
        open_piece=lambda piece: open_graph(piece, threads=context.threads),
        progress=progress,
        rounding=DIALECTS[context.target.dialect].weight if settings.rounding == "compensated" else None,
    )  # fmt: skip


def _is_farther(repaired: Model, plain: Model, model: Model, context: StepContext) -> bool:
    """Return whether repair clearly took the outputs away from the float model's.

    Where a few places of an activation are very large (the first token of a sentence), so are the errors there, and
    taking back their mean moves all the others.
    """
    samples = take(context.calibration, _JUDGED)
    before, after = (decibels(compare_to_original(model, found, samples, context)) for found in (plain, repaired))
    farther = after < before - _CLEARLY_WORSE
    if farther:
        log.info("quantize: correcting biases took the outputs from %.2f to %.2f dB: left out", before, after)
    return farther


def check_float(graph: ir.Model) -> None:
    """Check that a graph can be quantized at all.

    Raises:
        ModelError: It is quantized already, or its opset is too old.
    """
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in graph.graph):
        raise ModelError(
            "the model is quantized already: it contains QuantizeLinear or DequantizeLinear",
            hint="give the float model, or compile this one as it is with `--recipe float`",
        )
    opset = graph.opset_imports.get("", 0)
    if opset < _PER_AXIS_OPSET:
        raise ModelError(
            f"opset {opset} has no per-channel quantization", hint="export the model with opset 13 or newer"
        )


def _calibrate_once(model: Model, context: StepContext) -> Calibration:
    """Return the calibration, shared by all targets and dialects of a run."""
    key = f"calibration-{model.digest()[:32]}-{context.calibration.digest()[:32]}"
    found = context.store.get(key)
    if found is not None:
        return Calibration.from_bytes(found["calibration.npz"])

    calibration = calibrate(
        model,
        observed_values(model.graph.graph),
        context.calibration,
        _open_observed(context),
        context.threads,
        lambda done, total: context.progress("calibrate", done, total),
    )
    context.store.put(key, {"calibration.npz": calibration.to_bytes()})
    return calibration


def _fit(plan: Plan, dialect: Dialect, calibration: Calibration, settings: QuantizeSettings) -> dict[str, Quantization]:
    sources = dict.fromkeys(str(plan.scale_source(value).name) for value in plan.activations())
    return {
        name: fit_grid(
            choose_range(calibration.histograms[name], dialect.activation, settings.observer, settings.percentile),
            dialect.activation,
        )
        for name in sources
    }


def check_quantized(model: Model, dialect: Dialect) -> None:
    """Check what must hold of a quantized graph.

    The graph is valid ONNX; activations have the dialect's integer type; a symmetric dialect has no zero point but 0.

    Raises:
        ConditionError: It does not hold; the message names the node.
    """
    try:
        onnx.checker.check_model(onnx.ModelProto.FromString(model.to_bytes()))
    except onnx.checker.ValidationError as error:
        raise ConditionError(f"quantized graph is not valid ONNX: {error}") from error
    for node in model.graph.graph:
        if node.op_type != "QuantizeLinear":
            continue
        zero = node.inputs[2].const_value if node.inputs[2] is not None else None
        if zero is None or zero.dtype.numpy() != dialect.activation.numpy_dtype:
            raise ConditionError(f"{node.name} does not quantize to {dialect.activation.dtype}")
        if dialect.activation.symmetric and zero.numpy().any():
            raise ConditionError(f"{node.name} has a zero point other than 0 in the symmetric dialect {dialect.name}")
