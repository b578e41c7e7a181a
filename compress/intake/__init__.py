"""Models taken in: read safely, exported to ONNX, brought into one normal form.

Nothing that a model file holds is executed without ``--trust-pickle``; what each format could execute, and how that is
kept from happening, is written in its module.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import onnx_ir as ir

from compress.batch_norm import fold_batch_norm
from compress.errors import ModelError
from compress.intake.recognition import Content, recognise
from compress.intake.source import Converted, Intake, IntakeOptions, Reference, SourceKind, check_stated
from compress.model import Model

__all__ = ["Intake", "IntakeOptions", "Reference", "SourceKind", "take_in"]

_COUNTED = frozenset(
    {
        *(ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE),
        *(ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT4, ir.DataType.UINT4),
    }
)


def take_in(path: Path, options: IntakeOptions) -> Intake:
    """Return the model of a file, normalised, with what is known about the file.

    Raises:
        ModelError: The file is no model, could run code, lacks something that only the user can say, or cannot be
            exported; nothing is left behind.
    """
    converted = _reader(recognise(path))(path, options)
    from compress.intake.simplify import simplify

    simplify(converted.graph)
    trainable = Model.from_ir(converted.graph)
    model = fold_batch_norm(trainable)
    if not model.outputs:
        raise ModelError(f"{path.name} has no outputs", hint="Export a model that returns at least one tensor.")
    if not options.inputs_of_samples:
        check_stated(path, model.inputs, options.inputs)
    return Intake(
        model=model,
        trainable=trainable,
        kind=converted.kind,
        path=path,
        sha256=_digest(path),
        bytes=path.stat().st_size + converted.extra_bytes,
        parameters=count_parameters(model),
        notes=converted.notes,
        reference=converted.reference,
    )


def count_parameters(model: Model) -> int:
    """Return the elements of all weights: floating-point or 8- and 4-bit initializers of more than one element."""
    values = (value.const_value for value in model.graph.graph.initializers.values())
    return sum(tensor.size for tensor in values if tensor is not None and tensor.dtype in _COUNTED and tensor.size > 1)


def _reader(content: Content) -> Callable[[Path, IntakeOptions], Converted]:
    """Return the function that reads this content; what it needs is imported only now."""
    match content:
        case "torch.export":
            from compress.intake.torch_archive import read_torch_archive

            return read_torch_archive
        case "torch-zip" | "torch-legacy":
            from compress.intake.torch_weights import read_torch_file

            return read_torch_file
        case "safetensors":
            from compress.intake.torch_weights import read_safetensors

            return read_safetensors
        case "torchscript":
            from compress.intake.torchscript import read_torchscript

            return read_torchscript
        case "onnx":
            from compress.intake.onnx_file import read_onnx

            return read_onnx


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
