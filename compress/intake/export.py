"""PyTorch → ONNX, with a dynamic batch and readable names."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import onnx_ir as ir

from compress.errors import ModelError
from compress.intake.dimensions import fixed_batch_notes, name_dimensions
from compress.model import BATCH, TensorSpec
from compress.quiet import first_reason, quiet

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from torch.export import Dim, ExportedProgram

_EXAMPLE_BATCH = 2
_EXAMPLE_SIZE = 64
"""Size of any other dynamic axis while the model is traced: large enough for the usual strides."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A graph made from a PyTorch program.

    Attributes:
        notes: Sentences about how.
        by_name: Whether the module takes its inputs by name; otherwise in order.
    """

    graph: ir.Model
    notes: tuple[str, ...]
    by_name: bool = False

    @property
    def input_names(self) -> tuple[str, ...]:
        """The graph's inputs, in the program's order."""
        return tuple(value.name or "" for value in self.graph.graph.inputs)

    @property
    def output_names(self) -> tuple[str, ...]:
        """The graph's outputs, in the order of the program's tensors."""
        return tuple(value.name or "" for value in self.graph.graph.outputs)


def export_program(program: "ExportedProgram", specs: Sequence[TensorSpec], opset: int) -> Exported:
    """Return the ONNX graph of an exported program; its own inputs count, ``specs`` only name dynamic axes.

    Raises:
        ModelError: An operator that ONNX lacks, or inputs that are no tensors.
    """
    import torch

    with quiet():
        try:
            exported = torch.onnx.export(
                program, dynamo=True, verbose=False, external_data=False, optimize=False, opset_version=opset
            )
        except Exception as error:
            raise ModelError(
                f"the model cannot be exported to ONNX: {first_reason(error)}",
                hint="Replace the operator that is named there, or export to ONNX yourself and give that file.",
            ) from error
    if exported is None:
        raise ModelError("PyTorch's exporter returned nothing", hint="Export to ONNX yourself and give that file.")
    graph: ir.Model = exported.model
    name_outputs(graph, _output_keys(program))
    rename_inputs(graph, _tensor_inputs(program))
    name_dimensions(graph, specs)
    return Exported(graph, fixed_batch_notes(graph))


def export_module(module: "nn.Module", specs: Sequence[TensorSpec], opset: int) -> Exported:
    """Return the ONNX graph of a module in evaluation mode; where its batch cannot be dynamic, it is 1, with a note.

    Raises:
        ModelError: The module cannot be traced with these inputs, or an operator is missing in ONNX.
    """
    by_name = {spec.name for spec in specs} <= set(inspect.signature(module.forward).parameters)
    notes: tuple[str, ...] = ()
    try:
        program = _trace(module, specs, by_name=by_name)
    except ModelError as error:
        fixed = tuple(_with_fixed_batch(spec) for spec in specs)
        if fixed == tuple(specs):
            raise
        program = _trace(module, fixed, by_name=by_name)
        notes = (f"The batch is fixed to 1, because the model does not export with a dynamic one: {error.message}.",)
    if not by_name:
        exported = export_program(program, (), opset)
        rename_inputs(exported.graph, [spec.name for spec in specs])
        name_dimensions(exported.graph, specs)
    else:
        exported = export_program(program, specs, opset)
    return Exported(exported.graph, notes or exported.notes, by_name)


def example_inputs(specs: Sequence[TensorSpec]) -> dict[str, "Tensor"]:
    """Return zeros in the shape of each spec, by name; no dynamic axis gets a size that passes for a constant."""
    import torch

    return {
        spec.name: torch.zeros([_example_size(size) for size in spec.shape], dtype=_torch_dtype(spec)) for spec in specs
    }


def rename_inputs(graph: ir.Model, names: Sequence[str]) -> None:
    """Name the graph's inputs, in order.

    Raises:
        ModelError: Another number of inputs than names.
    """
    inputs = graph.graph.inputs
    if len(inputs) != len(names):
        raise ModelError(
            f"the model takes {len(inputs)} inputs, but {len(names)} are described: {', '.join(names)}",
            hint="Describe every input of the model's `forward`, in its order.",
        )
    for value, name in zip(inputs, names, strict=True):
        value.name = name


def name_outputs(graph: ir.Model, keys: Sequence[str]) -> None:
    """Name the graph's outputs ``output``, or by the keys of a dict, or ``output_0`` and so on; never like an input."""
    from onnx_ir.passes.common import OutputFixPass

    OutputFixPass()(graph)
    outputs = graph.graph.outputs
    if len(keys) != len(outputs):
        keys = ["output"] if len(outputs) == 1 else [f"output_{index}" for index in range(len(outputs))]
    taken = {value.name for value in graph.graph.inputs}
    for value, key in zip(outputs, keys, strict=True):
        value.name = f"{key}_out" if key in taken else key


def _trace(module: "nn.Module", specs: Sequence[TensorSpec], *, by_name: bool) -> "ExportedProgram":
    import torch

    examples = example_inputs(specs)
    shapes = _dynamic_shapes(specs)
    with quiet():
        try:
            if by_name:
                return torch.export.export(module, (), examples, dynamic_shapes=shapes)
            return torch.export.export(module, tuple(examples.values()), dynamic_shapes=tuple(shapes.values()))
        except Exception as error:
            raise ModelError(
                f"the model cannot be traced: {first_reason(error)}",
                hint="Check the described inputs (order, shape, dtype); a size that cannot vary must be a number.",
            ) from error


def _dynamic_shapes(specs: Sequence[TensorSpec]) -> dict[str, dict[int, "Dim"]]:
    from torch.export import Dim

    names = {size for spec in specs for size in spec.shape if isinstance(size, str)}
    dims = {name: Dim(name if name.isidentifier() else f"dim{index}") for index, name in enumerate(sorted(names))}
    return {
        spec.name: {axis: dims[size] for axis, size in enumerate(spec.shape) if isinstance(size, str)} for spec in specs
    }


def _with_fixed_batch(spec: TensorSpec) -> TensorSpec:
    return TensorSpec(spec.name, spec.dtype, tuple(1 if size == BATCH else size for size in spec.shape))


def _example_size(size: int | str) -> int:
    if isinstance(size, int):
        return size
    return _EXAMPLE_BATCH if size == BATCH else _EXAMPLE_SIZE


def _torch_dtype(spec: TensorSpec) -> "torch.dtype":
    import torch

    dtype = getattr(torch, spec.dtype, None)
    if not isinstance(dtype, torch.dtype):
        raise ModelError(
            f"input `{spec.name}` has dtype `{spec.dtype}`, which PyTorch does not know",
            hint="Known: float32, float16, int64, int32, uint8, bool.",
        )
    return dtype


def _tensor_inputs(program: "ExportedProgram") -> list[str]:
    from torch.export.graph_signature import InputKind, TensorArgument

    specs = (spec for spec in program.graph_signature.input_specs if spec.kind is InputKind.USER_INPUT)
    return [spec.arg.name for spec in specs if isinstance(spec.arg, TensorArgument)]


def _output_keys(program: "ExportedProgram") -> list[str]:
    spec = program.call_spec.out_spec
    if spec is not None and spec.type is dict and all(child.is_leaf() for child in spec.children()):
        return [str(key) for key in cast("Sequence[object]", spec.context)]
    return []
