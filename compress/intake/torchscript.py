"""TorchScript archives, through PyTorch's legacy exporter.

Loading one and running it executes its code, in TorchScript's own interpreter, which knows tensors and no Python. The
few operators by which such code could still reach files, the network or foreign C++ classes are looked for in its
source first. PyTorch reads a copy in memory, made of the members that were checked.
"""

import io
import re
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import onnx_ir as ir

from compress.errors import ModelError
from compress.intake.archive import open_archive
from compress.intake.dimensions import name_dimensions
from compress.intake.export import example_inputs, name_outputs
from compress.intake.operators import find_forbidden_word
from compress.intake.recognition import SAVE_PT2
from compress.intake.source import Converted, IntakeOptions, inputs_unknown
from compress.intake.torch_reference import flatten_tensors, module_reference
from compress.model import TensorSpec
from compress.quiet import first_reason, quiet

if TYPE_CHECKING:
    from torch.jit import ScriptModule

_LEGACY_OPSET = 20
_FOREIGN_CLASS = re.compile(rb"torch\.classes\.(?!(?:quantized|rnn|sparse)\b)\w+\.\w+")

_NOTE = (
    "TorchScript is deprecated: it was exported through PyTorch's legacy exporter, and its code ran in TorchScript's "
    "own interpreter. A `.pt2` from `torch.export` is the safer and more faithful source."
)


def read_torchscript(path: Path, options: IntakeOptions) -> Converted:
    """Return the graph of a TorchScript archive, and how to run the scripted module.

    Raises:
        ModelError: Code that reaches beyond tensors, a damaged archive, unknown inputs, or an operator ONNX lacks.
    """
    if not options.inputs:
        raise inputs_unknown(path)
    packed = _checked_copy(path)
    module = _load(path, packed)
    examples = tuple(example_inputs(options.inputs).values())
    graph, notes = _export(module, examples, options)
    names = [spec.name for spec in options.inputs]
    outputs = [value.name or "" for value in graph.graph.outputs]
    return Converted("torchscript", graph, module_reference(module, names, outputs, by_name=False), (_NOTE, *notes))


def _checked_copy(path: Path) -> bytes:
    archive = open_archive(path)
    members = archive.read_many(archive.members)
    for name, content in members.items():
        word = find_forbidden_word(content) if name.startswith("code/") and name.endswith(".py") else None
        foreign = _FOREIGN_CLASS.search(content) if name.endswith(".pkl") else None
        if word is None and foreign is None:
            continue
        found = word or (foreign[0].decode("ascii", "replace") if foreign else "")
        raise ModelError(
            f"the TorchScript code of {path.name} uses `{found}`, by which it could reach beyond tensors",
            hint="Do not use this file unless you know where it comes from. A `.pt2` is safer: " + SAVE_PT2,
        )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as packed:
        for name, content in members.items():
            packed.writestr(f"archive/{name}", content)
    return buffer.getvalue()


def _load(path: Path, packed: bytes) -> "ScriptModule":
    import torch

    with quiet():
        try:
            module = cast("ScriptModule", torch.jit.load(io.BytesIO(packed), map_location="cpu"))  # type: ignore[no-untyped-call]
            module.eval()
        except Exception as error:
            raise ModelError(
                f"{path.name} is a TorchScript archive that cannot be loaded: {first_reason(error)}",
                hint="Save or copy the file again, or save a `.pt2`: " + SAVE_PT2,
            ) from error
    return module


def _export(
    module: "ScriptModule", examples: tuple[object, ...], options: IntakeOptions
) -> tuple[ir.Model, tuple[str, ...]]:
    import onnx
    import torch

    buffer = io.BytesIO()
    with quiet(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with torch.no_grad():
                outputs = len(flatten_tensors(module(*examples)))
            torch.onnx.export(
                module,
                examples,
                buffer,  # type: ignore[arg-type]
                dynamo=False,
                verbose=False,
                opset_version=min(options.opset, _LEGACY_OPSET),
                input_names=[spec.name for spec in options.inputs],
                output_names=[f"output_{index}" for index in range(outputs)],
                dynamic_axes=_dynamic_axes(options.inputs, outputs),
            )
        except Exception as error:
            raise ModelError(
                f"the TorchScript model cannot be exported to ONNX: {first_reason(error)}",
                hint="Check the described inputs, or save a `.pt2` instead: " + SAVE_PT2,
            ) from error
    graph = ir.from_proto(onnx.ModelProto.FromString(buffer.getvalue()))
    name_outputs(graph, ())
    name_dimensions(graph, options.inputs)
    traced = {str(item.message).splitlines()[0] for item in caught if item.category.__name__ == "TracerWarning"}
    return graph, tuple(f"PyTorch warned while tracing: {text}" for text in sorted(traced))


def _dynamic_axes(specs: Sequence[TensorSpec], outputs: int) -> dict[str, dict[int, str]]:
    axes = {spec.name: {axis: size for axis, size in enumerate(spec.shape) if isinstance(size, str)} for spec in specs}
    first = next((spec.shape[0] for spec in specs if spec.has_dynamic_batch), None)
    if isinstance(first, str):
        axes |= {f"output_{index}": {0: first} for index in range(outputs)}
    return axes
