"""The step ``float16``: the float part of a graph in float16, as casts that every strongly typed compiler takes."""

from collections.abc import Mapping
from typing import Literal

import onnx
from onnx_ir.passes.common import ShapeInferencePass
from pydantic import PositiveInt

from compress.errors import ConditionError, TargetError
from compress.model import JsonValue, Model
from compress.quantize.half.choose import choose_nodes
from compress.quantize.half.magnitudes import measure_magnitudes
from compress.quantize.half.write import write_float16
from compress.quantize.layers import remove_unused
from compress.steps import StepContext, StepResult, StepSettings

_TOLD = 12
"""Nodes that the report names with their reason."""


class Float16Settings(StepSettings):
    """Settings of the step ``float16``.

    Attributes:
        samples: Calibration samples that magnitudes are measured on, at most.
        guard: ``measured`` keeps in float32 what would overflow or underflow on them; ``constants`` looks at constants
            only, which needs no samples.
    """

    samples: PositiveInt = 64
    guard: Literal["measured", "constants"] = "measured"


def convert_to_float16(model: Model, settings: Float16Settings, context: StepContext) -> StepResult:
    """Return the model with its float computations in float16; inputs and outputs stay as they are.

    Raises:
        TargetError: The target has no float16.
        DataError: A value is not finite on the calibration samples.
    """
    if "float16" not in context.target.precisions:
        raise TargetError(
            f"target {context.target.name} has no float16 (it has {', '.join(context.target.precisions)})",
            hint="leave the step float16 out: --recipe int8 or --recipe float",
        )
    graph = model.copy_graph()
    ShapeInferencePass()(graph)
    magnitudes = measure_magnitudes(model, settings.samples, context) if settings.guard == "measured" else {}
    chosen = choose_nodes(graph.graph, graph.opset_imports.get("", 0), magnitudes)
    write_float16(graph.graph, chosen.nodes)
    remove_unused(graph.graph)
    result = Model.from_ir(graph, model.history)
    _check_result(result)
    told: dict[str, JsonValue] = dict(list(chosen.kept.items())[:_TOLD])
    metrics: Mapping[str, JsonValue] = {
        "nodes_in_float16": len(chosen.nodes),
        "nodes_in_float32": len(chosen.kept),
        "in_float32": told,
    }
    return StepResult(result, metrics)


def _check_result(model: Model) -> None:
    try:
        onnx.checker.check_model(onnx.ModelProto.FromString(model.to_bytes()), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ConditionError(f"graph in float16 is not valid ONNX: {error}") from error
