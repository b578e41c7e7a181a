"""ONNX files: checked, complete, inlined, and of an opset that the rest understands."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compress.errors import ModelError
from compress.intake.dimensions import fixed_batch_notes, name_dimensions
from compress.intake.external_data import check_tensors, load_external_data
from compress.intake.source import Converted, IntakeOptions, Reference, inputs_unknown
from compress.quiet import first_reason
from compress.runtimes import Feed

if TYPE_CHECKING:
    import onnx

OLDEST_OPSET = 13
_MOST_ELEMENTS = 2**31
_AGAIN = "Export the model again with a current exporter, and check it with `onnx.checker.check_model`."


def read_onnx(path: Path, options: IntakeOptions) -> Converted:
    """Return the graph of an ONNX file, and how to run the file as it came.

    Raises:
        ModelError: External data outside the folder or incomplete, a graph that ONNX's checker refuses, inputs or
            operators that a device cannot take, or an opset that cannot be brought up to date.
    """
    import onnx.shape_inference

    model = onnx.ModelProto.FromString(path.read_bytes())
    extra = load_external_data(model, path.resolve().parent)
    check_tensors(model)
    original = model.SerializeToString(deterministic=True)
    _complete_inputs(path, model, options)
    # What the file says about its own intermediate shapes may be stale or wrong.
    del model.graph.value_info[:]
    model = _infer(path, model)
    _check(path, model)
    model, notes = _modernise(path, _inline(path, model))
    graph = ir.from_proto(_infer(path, model))
    name_dimensions(graph, options.inputs)
    notes = (*notes, *_foreign_notes(graph), *fixed_batch_notes(graph))
    return Converted("onnx", graph, _reference(original), notes, extra)


def _check(path: Path, model: "onnx.ModelProto") -> None:
    import onnx

    for value in model.graph.output:
        if not value.type.tensor_type.HasField("shape"):
            # Only strict inference tells why; it also refuses models that are merely unusual.
            _infer(path, model, strict=True)
            raise ModelError(
                f"output `{value.name}` of {path.name} has no shape, and ONNX cannot infer it",
                hint="Export the model again so that its outputs have shapes.",
            )
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise ModelError(f"{path.name} is not valid ONNX: {first_reason(error)}", hint=_AGAIN) from error
    for node in _nodes(model.graph):
        mode = next((a.i for a in node.attribute if a.name == "training_mode"), 0)
        if node.op_type == "BatchNormalization" and (mode or len(node.output) > 1):
            raise ModelError(
                f"{path.name} was exported in training mode (BatchNormalization `{node.name}`)",
                hint="Call `model.eval()` before the export.",
            )


def _nodes(graph: "onnx.GraphProto") -> Iterator["onnx.NodeProto"]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def _inline(path: Path, model: "onnx.ModelProto") -> "onnx.ModelProto":
    import onnx.inliner

    if not model.functions:
        return model
    try:
        return onnx.inliner.inline_local_functions(model)
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"functions of {path.name} cannot be inlined: {first_reason(error)}", hint=_AGAIN) from error


def _modernise(path: Path, model: "onnx.ModelProto") -> tuple["onnx.ModelProto", tuple[str, ...]]:
    import onnx.version_converter

    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), OLDEST_OPSET)
    if opset >= OLDEST_OPSET:
        return model, ()
    try:
        converted = onnx.version_converter.convert_version(model, OLDEST_OPSET)
    except (RuntimeError, ValueError, onnx.checker.ValidationError) as error:
        raise ModelError(
            f"{path.name} has opset {opset} and cannot be converted to {OLDEST_OPSET}: {first_reason(error)}",
            hint=f"Export the model again with opset {OLDEST_OPSET} or newer.",
        ) from error
    return converted, (f"The graph was converted from opset {opset} to {OLDEST_OPSET}.",)


def _infer(path: Path, model: "onnx.ModelProto", *, strict: bool = False) -> "onnx.ModelProto":
    import onnx.shape_inference

    try:
        return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=strict, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        raise ModelError(f"{path.name} is not valid ONNX: {first_reason(error)}", hint=_AGAIN) from error


def _complete_inputs(path: Path, model: "onnx.ModelProto", options: IntakeOptions) -> None:
    """Give every input a shape: the file's own, or the stated one."""
    stated = {spec.name: spec for spec in options.inputs}
    constants = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        kind = value.type.WhichOneof("value")
        if kind != "tensor_type" or value.type.tensor_type.elem_type == ir.DataType.STRING:
            raise ModelError(
                f"input `{value.name}` of {path.name} is not a tensor of numbers",
                hint="Cut what comes before the network (tokenizers, image decoders) off and export the network alone.",
            )
        if value.name in constants:
            continue
        if value.type.tensor_type.HasField("shape"):
            _check_sizes(path, value)
            continue
        if value.name not in stated:
            raise inputs_unknown(path)
        for size in stated[value.name].shape:
            dim = value.type.tensor_type.shape.dim.add()
            if isinstance(size, int):
                dim.dim_value = size
            else:
                dim.dim_param = size


def _check_sizes(path: Path, value: "onnx.ValueInfoProto") -> None:
    """Make a size of -1, as some exporters write it, a dynamic one; refuse sizes that nothing can have."""
    sizes = []
    for dim in value.type.tensor_type.shape.dim:
        if dim.dim_value == -1:
            dim.ClearField("dim_value")
        elif dim.HasField("dim_value"):
            sizes.append(dim.dim_value)
    if math.prod(sizes) > _MOST_ELEMENTS or min(sizes, default=0) < 0:
        raise ModelError(
            f"input `{value.name}` of {path.name} has the sizes {sizes}, which no device takes",
            hint="Export the model with the shape that it is used with.",
        )


def _foreign_notes(graph: ir.Model) -> tuple[str, ...]:
    foreign = sorted({f"{node.domain}.{node.op_type}" for node in graph.graph.all_nodes() if node.domain})
    if not foreign:
        return ()
    return (f"Operators outside standard ONNX are left as they are: {', '.join(foreign)}.",)


def _reference(original: bytes) -> Reference:
    def run(feed: Feed) -> dict[str, NDArray[np.generic]]:
        from compress.runtimes.onnxruntime import open_graph

        with open_graph(original, threads=1) as session:
            return session.run(feed)

    return run
