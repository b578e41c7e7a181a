"""Cutting units out of a graph, and the same graph with their weights set to zero."""

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compress.errors import ConditionError, PruneError, suggest
from compress.model import Model
from compress.prune.coupling import Analysis, analyse_in_full
from compress.prune.groups import Coupling, Cuts, Group
from compress.prune.kept import Kept
from compress.prune.names import names_of
from compress.prune.rules import operator_of, operators
from compress.prune.shapes import restore_sizes


def cut(model: Model, coupling: Coupling, cuts: Cuts) -> Model:
    """Return the model without some units: smaller weights, the same inputs and outputs.

    Args:
        model: It is not changed.
        coupling: Of a model with this graph; its weights may be others.
        cuts: Units by group.

    Raises:
        PruneError: The coupling is of another graph; no such group or unit; all units of a group; another number of
            units in one block than in the next.
    """
    analysis, graph, kept = _start(model, coupling, cuts)
    _check_nothing_vanishes(kept)
    everything = tuple(kept.graph)
    composites = [composite.within(everything) for composite in analysis.composites]
    inside = {node for composite in composites for node in composite.nodes}
    known = operators()
    nodes = [node for node in everything if node not in inside]
    for node in nodes:
        operator = operator_of(node, known)
        if operator is not None and operator.trim is not None:
            operator.trim(node, kept)
    for node in nodes:
        if node.op_type == "Shape":
            restore_sizes(node, kept)
    for composite in composites:
        composite.trim(kept)
    for value, masks in _cut_initializers(kept):
        array = _array(value)
        for axis, mask in enumerate(masks):
            array = array.compress(mask, axis)
        _store(value, array)
    _take_ragged(kept)
    return _finish(graph, model)


def mask(model: Model, coupling: Coupling, cuts: Cuts) -> Model:
    """Return the model with every weight that :func:`cut` would remove set to zero, in the form of ``prepare(model)``.

    What is divided by stays: zero divided by zero would spoil the rest.

    Args:
        model: It is not changed.
        coupling: Of a model with this graph; its weights may be others.
        cuts: Units by group.

    Raises:
        PruneError: As :func:`cut`.
    """
    _, graph, kept = _start(model, coupling, cuts)
    for ragged in kept.classes.labels.ragged:
        kernel = kept.graph.initializers[ragged.kernel]
        array = _array(kernel).copy()
        blocks = array.reshape(len(ragged.columns), -1, *array.shape[1:])
        for block, keep in zip(blocks, kept.of(ragged.columns), strict=True):
            block[:, ~keep] = 0
        _store(kernel, array)
    for value, masks in _cut_initializers(kept):
        if not any(_divides(node, index) for node, index in value.uses()):
            array = _array(value).copy()
            for axis, keep in enumerate(masks):
                array[(slice(None),) * axis + (~keep,)] = 0
            _store(value, array)
    return Model.from_ir(graph, model.history)


def check_cuts(coupling: Coupling, cuts: Cuts) -> None:
    """Check that cuts can be made.

    Raises:
        PruneError: No such group or unit; all units of a group; another number in one block than in the next.
    """
    groups = {group.name: group for group in coupling.groups}
    for name, units in cuts.items():
        if name not in groups:
            raise PruneError(f"the model has no group `{name}`", hint=suggest(name, groups))
        _check_units(groups[name], np.asarray(units, np.int64))


def _check_units(group: Group, units: NDArray[np.int64]) -> None:
    wrong = units[(units < 0) | (units >= group.units)]
    if wrong.size:
        raise PruneError(
            f"group `{group.name}` has no unit {wrong[0]}", hint=f"its units are 0 to {group.units - 1}, counted from 0"
        )
    if np.unique(units).size != units.size:
        raise PruneError(f"group `{group.name}`: a unit is named twice", hint="name each unit once")
    if units.size == group.units:
        raise PruneError(f"all {group.units} units of group `{group.name}` would be cut", hint="keep at least one")
    counts = np.bincount(units * group.blocks // group.units, minlength=group.blocks)
    if (counts != counts[0]).any():
        raise PruneError(
            f"group `{group.name}`: {counts.max()} units would be cut in one block and {counts.min()} in another",
            hint=f"cut as many in each of its {group.blocks} runs of {group.units // group.blocks} units",
        )


def _start(model: Model, coupling: Coupling, cuts: Cuts) -> tuple[Analysis, ir.Model, Kept]:
    """Return the analysis of a model, a copy of its graph, and what is kept of that."""
    check_cuts(coupling, cuts)
    analysis = analyse_in_full(model)
    found = {members.group.name: members for members in analysis.members}
    for group in coupling.groups:
        members = found.get(group.name)
        if members is None or (members.group.units, members.group.blocks) != (group.units, group.blocks):
            raise PruneError(
                f"group `{group.name}` of {group.units} units is not in this model",
                hint="analyse the model that is to be cut",
            )
    removed = np.zeros(len(analysis.classes.stays), bool)
    for name, units in cuts.items():
        removed[found[name].classes[np.asarray(units, np.int64)]] = True
    graph = analysis.model.copy_graph()
    return analysis, graph, Kept(graph.graph, analysis.classes, removed, names_of(graph.graph))


def _check_nothing_vanishes(kept: Kept) -> None:
    for value in (*kept.graph.initializers.values(), *(value for node in kept.graph for value in node.outputs)):
        for axis, size in enumerate(kept.classes.labels.concrete.shapes.get(value.name or "", ())):
            if size > 0 and not kept.mask(value, axis).any():
                raise PruneError(
                    f"these cuts leave nothing of `{value.name}`", hint="keep a unit in each group that it is made of"
                )


def _cut_initializers(kept: Kept) -> Iterator[tuple[ir.Value, list[NDArray[np.bool_]]]]:
    """Yield the initializers with axes that are cut, and what is kept of each axis."""
    for value in tuple(kept.graph.initializers.values()):
        if value.name in kept.classes.labels.concrete.shapes:
            masks = [kept.mask(value, axis) for axis in range(len(kept.old_shape(value)))]
            if not all(each.all() for each in masks):
                yield value, masks


def _take_ragged(kept: Kept) -> None:
    """Take from each run of rows of a grouped convolution's kernel the columns that its own channels have left."""
    for ragged in kept.classes.labels.ragged:
        columns = kept.of(ragged.columns)
        if columns.all():
            continue
        kernel = kept.graph.initializers[ragged.kernel]
        array = _array(kernel)
        blocks = array.reshape(len(columns), -1, *array.shape[1:])
        taken = [block[:, keep] for block, keep in zip(blocks, columns, strict=True)]
        _store(kernel, np.concatenate(taken))


def _divides(node: ir.Node, index: int) -> bool:
    return index == 1 and node.op_type in ("Div", "Mod", "QuantizeLinear")


def _array(value: ir.Value) -> NDArray[np.generic]:
    assert value.const_value is not None  # noqa: S101 - an initializer
    return value.const_value.numpy()


def _store(value: ir.Value, array: NDArray[np.generic]) -> None:
    assert value.const_value is not None  # noqa: S101 - an initializer
    value.const_value = ir.Tensor(array.copy(), dtype=value.const_value.dtype, name=value.name)
    value.shape = ir.Shape(array.shape)


def _finish(graph: ir.Model, model: Model) -> Model:
    """Return the cut graph without what nobody reads, its shapes inferred anew."""
    from onnx_ir.passes import common

    from compress.prune.prepare import remove_unused

    remove_unused(graph.graph)
    for node in graph.graph.all_nodes():
        for value in node.outputs:
            if not value.is_graph_output():
                value.shape = None
    # Where a size of the batch is written into the graph, inference would put it into the interface.
    shapes = [value.shape for value in graph.graph.outputs]
    common.ShapeInferencePass(check_type=False, data_prop=True)(graph)
    for value, shape in zip(graph.graph.outputs, shapes, strict=True):
        value.shape = shape
    result = Model.from_ir(graph, model.history)
    if (result.inputs, result.outputs) != (model.inputs, model.outputs):
        raise ConditionError(f"cutting changed the model's interface to {result.inputs} → {result.outputs}")
    return result
