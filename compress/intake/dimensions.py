"""Dynamic dimensions by the names that people use: the first axis is ``batch``."""

import re
from collections.abc import Iterator, Mapping, Sequence

import onnx_ir as ir

from compress.model import BATCH, TensorSpec

_ANONYMOUS = re.compile(r"[su]\d+|unk__\d+")
"""How PyTorch and ONNX's shape inference call sizes that nobody named."""

_WORD = re.compile(r"[A-Za-z_]\w*")


def name_dimensions(graph: ir.Model, specs: Sequence[TensorSpec] = ()) -> None:
    """Rename every dynamic dimension of the graph, in inputs, outputs and all values between.

    The first axis of an input becomes ``batch``, other axes what ``specs`` call them, what the file calls them, or
    ``<input>_dim<axis>``. A dimension that comes again keeps its first name; expressions (``2*s0``) follow.
    """
    names = _input_names(graph, {spec.name: spec for spec in specs})
    for value in _values(graph.graph):
        if value.shape is not None and not value.shape.is_static():
            value.shape = ir.Shape([_renamed(size, names) for size in value.shape])


def _input_names(graph: ir.Model, specs: Mapping[str, TensorSpec]) -> dict[str, str]:
    names: dict[str, str] = {}
    for value in graph.graph.inputs:
        for axis, size in enumerate(value.shape or ()):
            if isinstance(size, int):
                continue
            wanted = _axis_name(value.name or "", axis, size.value, specs)
            if size.value is None:
                value.shape = _with_name(value.shape, axis, wanted)
            elif size.value not in names:
                names[size.value] = wanted
    return names


def fixed_batch_notes(graph: ir.Model) -> tuple[str, ...]:
    """Return a sentence for each input whose first axis is a number."""
    fixed = {
        value.name or "": size
        for value in graph.graph.inputs
        if value.shape is not None and value.shape.rank() > 1 and isinstance(size := value.shape[0], int)
    }
    return tuple(
        f"Input `{name}` has a fixed batch of {size}; export with a dynamic first axis to use other batch sizes."
        for name, size in fixed.items()
    )


def _axis_name(name: str, axis: int, known: str | None, specs: Mapping[str, TensorSpec]) -> str:
    spec = specs.get(name)
    if axis == 0:
        return BATCH
    if spec is not None and axis < len(spec.shape) and isinstance(said := spec.shape[axis], str):
        return said
    return f"{name}_dim{axis}" if known is None or _ANONYMOUS.fullmatch(known) else known


def _with_name(shape: ir.Shape | None, axis: int, name: str) -> ir.Shape:
    sizes = list(shape or ())
    return ir.Shape([*sizes[:axis], name, *sizes[axis + 1 :]])


def _renamed(size: int | ir.SymbolicDim, names: Mapping[str, str]) -> int | str | None:
    if isinstance(size, int):
        return size
    if size.value is None or size.value in names:
        return None if size.value is None else names[size.value]
    return _WORD.sub(lambda match: names.get(match[0], match[0]), size.value)


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.inputs
    for node in graph.all_nodes():
        yield from node.outputs
