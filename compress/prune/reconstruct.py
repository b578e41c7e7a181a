"""Least-squares update of the layers that read what was cut: the weights that stay take over what is missing."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from math import prod

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compress.batch_norm import normalisation_after
from compress.data.samples import SampleSet
from compress.data.subset import take
from compress.measure.fidelity import compare_outputs
from compress.model import Model
from compress.prune.groups import Coupling, Cuts, Slice
from compress.prune.layer_sums import Layer, LayerSums, find_node, shape_of, sum_layer
from compress.prune.least_squares import Change, Mask, fit
from compress.runtimes import open_graph
from compress.runtimes.batching import fixed_batch, in_batches
from compress.weight_matrices import WeightMatrix, find_matrices

log = logging.getLogger("compress")

MAX_FEATURES = 4608
"""Inputs of a layer, times places of its kernel, beyond which it is left alone: sums take their square in memory."""

_BATCH = 16
_MEAN = 3
"""Input of BatchNormalization."""


@dataclass(frozen=True, slots=True)
class LayerUpdate:
    """What the update did for one layer.

    Attributes:
        node: Its name.
        missing_before: Energy of the difference from the original layer's output, relative to that output's energy, in
            the pruned graph with all layers before it updated.
        missing_after: Likewise with the update.
    """

    node: str
    missing_before: float
    missing_after: float


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """A pruned graph with updated weights; the plain one, and no layers, where that was nearer to the original."""

    model: Model
    layers: tuple[LayerUpdate, ...]


def update_readers(
    original: Model, pruned: Model, coupling: Coupling, cuts: Cuts, samples: SampleSet, *, threads: int, seed: int = 0
) -> Model:
    """Return the pruned model with a least-squares update of the layers that read what was cut.

    See :func:`reconstruct`, which says too what it did layer by layer.
    """
    return reconstruct(original, pruned, coupling, cuts, samples, threads=threads, seed=seed).model


def reconstruct(
    original: Model,
    pruned: Model,
    coupling: Coupling,
    cuts: Cuts,
    samples: SampleSet,
    *,
    threads: int,
    seed: int = 0,
    count: int = 256,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Reconstruction:
    """Return the pruned model after a least-squares update of each Conv, Gemm and MatMul that reads what was cut.

    Layer by layer in the graph's order, W' and b' make Σ ‖Y - W'·X' - b'‖² + λ‖W' - W‖² least: Y is what the original
    layer gives, X' what the pruned layer reads once all layers before it are updated, so that errors do not add up.
    Every fourth batch is not fitted to: it chooses λ, and whether the layer is changed at all. Memory does not grow
    with the number of samples.

    Source: He et al., Channel pruning for accelerating very deep neural networks (2017), equation 2 and section 3.2.2
    (outputs of the original, inputs of the pruned net). See also :func:`compress.prune.least_squares.solve`.

    Args:
        original: The model that was analysed and cut.
        pruned: What the cut left, with nodes of the same names.
        coupling: Of the original.
        cuts: What was cut.
        samples: Bound to the inputs of both; at most ``count`` are read, spread over the set.
        threads: Of ONNX Runtime.
        seed: Of the places that are looked at in large outputs.
        count: Samples at most.
        progress: Told the layers done and in all.
    """
    some = take(samples, count)
    updated, changed = pruned, []
    layers = _find_layers(original, pruned, coupling, cuts)
    for number, layer in enumerate(layers):
        progress(number, len(layers))
        sums = sum_layer(original, updated, layer, some, threads=threads, seed=seed)
        updated, done = update_layer(updated, layer.matrix, sums)
        changed.append(done)
    progress(len(layers), len(layers))
    if is_nearer(original, updated, pruned, some, threads=threads):
        return Reconstruction(updated, tuple(changed))
    return Reconstruction(pruned, ())


def update_layer(
    model: Model, matrix: WeightMatrix, sums: LayerSums, kept: Mask | None = None
) -> tuple[Model, LayerUpdate]:
    """Return a copy of a model in which one layer makes up for what it misses, where that helps, and what it did.

    Args:
        model: The graph.
        matrix: The layer's weight.
        sums: Of the layer in this graph.
        kept: Elements [outputs, features] of the weight that may change, where not all may.
    """
    bias = _find_bias(find_node(model, matrix.node), len(sums.training.missing))
    change = fit(sums.training, sums.checking, with_bias=bias is not None, kept=kept)
    everything = sums.training.join(sums.checking)
    after = everything.energy if change is None else max(0.0, everything.error(change))
    if change is not None:
        model = _write(model, matrix, change, bias)
    energy = max(sums.energy, float(np.finfo(np.float64).tiny))
    done = LayerUpdate(matrix.node, everything.energy / energy, after / energy)
    log.info("update: %s: missing %.3g before, %.3g after", *astuple(done))
    return model, done


def _find_layers(original: Model, pruned: Model, coupling: Coupling, cuts: Cuts) -> tuple[Layer, ...]:
    """Return the layers of the pruned graph that lost inputs and whose weight nothing else reads."""
    before = {matrix.node: matrix for matrix in find_matrices(original.graph.graph)}
    graph = pruned.graph.graph
    shrunk = {(part.initializer, part.axis) for part, _ in _cut_slices(coupling, cuts) if part.role == "input"}
    return tuple(
        Layer(matrix, _kept_outputs(matrix, shape_of(original, before[matrix.node]), coupling, cuts))
        for matrix in find_matrices(graph)
        if (matrix.initializer, matrix.inputs) in shrunk
        and matrix.node in before
        and len(graph.initializers[matrix.initializer].uses()) == 1
        and is_plain(find_node(pruned, matrix.node), shape_of(pruned, matrix))
    )


def _cut_slices(coupling: Coupling, cuts: Cuts) -> Iterator[tuple[Slice, NDArray[np.int64]]]:
    """Yield each slice that lost something, and the places on its axis that it lost."""
    for group in coupling.groups:
        units = list(cuts.get(group.name, ()))
        if units:
            yield from ((part, part.positions[units].reshape(-1)) for part in group.slices)


def is_plain(node: ir.Node, shape: tuple[int, ...]) -> bool:
    """Return whether a layer multiplies rows of its input with the whole weight, which is not too large."""
    if node.op_type == "Conv":
        return node.attributes.get_int("group", 1) == 1 and prod(shape[1:]) <= MAX_FEATURES
    return len(shape) == 2 and node.attributes.get_int("transA", 0) == 0 and max(shape) <= MAX_FEATURES


def _kept_outputs(matrix: WeightMatrix, shape: tuple[int, ...], coupling: Coupling, cuts: Cuts) -> NDArray[np.int64]:
    """Return which outputs of the original's layer are left; ``shape`` is that of its weight."""
    gone = [
        places
        for part, places in _cut_slices(coupling, cuts)
        if (part.initializer, part.axis) == (matrix.initializer, matrix.outputs)
    ]
    return np.setdiff1d(np.arange(shape[matrix.outputs]), np.concatenate([np.empty(0, np.int64), *gone]))


@dataclass(frozen=True, slots=True)
class _Bias:
    """Where the bias of a layer is or can be: an input of a node, and what the node multiplies it with."""

    node: str
    index: int
    factor: float = 1.0


def _find_bias(node: ir.Node, outputs: int) -> _Bias | None:
    """Return where a layer's bias [outputs] is: in Conv and Gemm there is always room, behind MatMul an Add must be.

    Where a BatchNormalization follows, its mean takes the bias: y + δ - μ = y - (μ - δ).
    """
    norm = normalisation_after(node)
    if norm is not None:
        return _Bias(str(norm.name), _MEAN, -1.0)
    if node.op_type == "MatMul":
        followers = list(node.outputs[0].uses())
        if len(followers) != 1 or followers[0].node.op_type != "Add" or node.outputs[0].is_graph_output():
            return None
        add, index = followers[0].node, 1 - followers[0].idx
        return _Bias(str(add.name), index) if _is_bias(add.inputs[index], outputs) else None
    given = node.inputs[2] if len(node.inputs) > 2 else None
    if given is not None and not _is_bias(given, outputs):
        return None
    factor = node.attributes.get_float("beta", 1.0) if node.op_type == "Gemm" else 1.0
    return _Bias(str(node.name), 2, factor) if factor else None


def _is_bias(value: ir.Value | None, outputs: int) -> bool:
    constant = None if value is None or not value.is_initializer() else value.const_value
    return constant is not None and constant.size == outputs == constant.shape.numpy()[-1]


def _write(model: Model, matrix: WeightMatrix, change: Change, bias: _Bias | None) -> Model:
    """Return a copy of a model with a change added to the weight of a layer and to its bias."""
    copy = model.copy_graph()
    nodes = {node.name: node for node in copy.graph}
    node = nodes[matrix.node]
    factor = node.attributes.get_float("alpha", 1.0) if node.op_type == "Gemm" else 1.0
    weight = copy.graph.initializers[matrix.initializer]
    shape = shape_of(model, matrix)
    delta = change.weight.reshape(shape) if matrix.outputs == 0 else change.weight.T
    _replace(copy.graph, node, 1, _values(weight) + delta / factor, weight)
    if bias is not None:
        place = nodes[bias.node]
        if len(place.inputs) <= bias.index:
            place.resize_inputs(bias.index + 1)
        old = place.inputs[bias.index]
        start = np.zeros(len(change.bias)) if old is None else _values(old)
        _replace(copy.graph, place, bias.index, start + (change.bias / bias.factor).reshape(start.shape), weight)
    return Model.from_ir(copy, model.history)


def _values(value: ir.Value) -> NDArray[np.float64]:
    assert value.const_value is not None  # noqa: S101 - looked at before
    return value.const_value.numpy().astype(np.float64)


def _replace(graph: ir.Graph, node: ir.Node, index: int, array: NDArray[np.float64], like: ir.Value) -> None:
    """Give a node a constant of its own, under the name of the old one where no other node reads that."""
    old = node.inputs[index]
    assert like.const_value is not None  # noqa: S101 - a weight
    dtype = like.const_value.dtype
    if old is not None and len(old.uses()) == 1 and not old.is_graph_output():
        old.const_value = ir.Tensor(array.astype(dtype.numpy()), dtype=dtype, name=old.name)
        return
    name = f"{node.name}_updated_{index}"
    tensor = ir.Tensor(array.astype(dtype.numpy()), dtype=dtype, name=name)
    value = ir.Value(name=name, const_value=tensor, shape=ir.Shape(array.shape), type=ir.TensorType(dtype))
    graph.register_initializer(value)
    node.replace_input_with(index, value)


def is_nearer(original: Model, updated: Model, plain: Model, samples: SampleSet, *, threads: int) -> bool:
    """Return whether the outputs of an updated model are as near to the original's as those of the plain one."""
    errors = []
    for model in (plain, updated):
        with (
            in_batches(open_graph(original.to_bytes(), threads=threads), original) as first,
            in_batches(open_graph(model.to_bytes(), threads=threads), original) as second,
        ):
            batches = samples.batches(fixed_batch(original) or _BATCH)
            compared = compare_outputs(first.run, second.run, batches, names=("the original", "the pruned model"))
        errors.append(np.inf if compared.sqnr_db is None else compared.sqnr_db)
    if errors[1] < errors[0]:
        log.info("update: given up: %.1f dB instead of %.1f dB at the outputs", errors[1], errors[0])
    return errors[1] >= errors[0]
