"""Zeros in weights that the others of their layer make up for as well as they can, before any training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from compress.data.samples import SampleSet
from compress.data.subset import take
from compress.model import Model
from compress.prune.layer_sums import Layer, LayerSums, find_node, shape_of, sum_layer
from compress.prune.least_squares import Change, Floats, Mask, solve
from compress.prune.reconstruct import LayerUpdate, is_nearer, is_plain, update_layer
from compress.prune.sparse_choice import DAMPING, choose_kept
from compress.prune.sparsity import Masks, Pattern, apply_masks, weight_of
from compress.weight_matrices import WeightMatrix

Choice = Literal["error", "magnitude"]
Kind = TypeVar("Kind", bound=np.generic)


@dataclass(frozen=True, slots=True)
class SparseUpdate:
    """A model with zeros in its weights; without updates, and no layers, where that is nearer to the original."""

    model: Model
    layers: tuple[LayerUpdate, ...]


def update_sparse(
    original: Model,
    matrices: Sequence[WeightMatrix],
    masks: Masks,
    pattern: Pattern,
    samples: SampleSet,
    *,
    threads: int,
    seed: int = 0,
    count: int = 256,
    choice: Choice = "error",
    progress: Callable[[int, int], None] = lambda *_: None,
) -> SparseUpdate:
    """Return the model with zeros in some weights, and a least-squares update of the weights that stay beside them.

    Layer by layer in the graph's order: zeros are chosen, then Σ ‖Y - (W + Δ)·X' - δ‖² + λ‖Δ‖² is made least over the
    elements that stay, each output by a system of its own, with Y what the original's layer gives and X' what the layer
    reads with all layers before it updated. SparseGPT's own update goes through the columns once and changes only
    later ones, with the same Hessian; this is its least. λ is chosen on every fourth batch, see
    :func:`compress.prune.least_squares.fit`.

    Layers with groups, with weights that others read too, or too large to sum, get their mask alone.

    Source: Frantar and Alistarh, SparseGPT (2023), equation 2 and section 3.2.

    Args:
        original: The dense model, float.
        matrices: The weights that become sparse, in the graph's order.
        masks: Zeros by magnitude: their number in each weight, and where ``choice`` says so their places.
        pattern: That the zeros follow.
        samples: Bound to the model's inputs; at most ``count`` are read, spread over the set.
        threads: Of ONNX Runtime.
        seed: Of the places that are looked at in large outputs.
        count: Samples at most.
        choice: ``error``: see :func:`compress.prune.sparse_choice.choose_kept`; ``magnitude``: as the masks say.
        progress: Told the layers done and in all.
    """
    some = take(samples, count)
    updated, changed = original, []
    for number, matrix in enumerate(matrices):
        progress(number, len(matrices))
        mask = masks[matrix.initializer]
        if not _is_summable(updated, matrix):
            updated = apply_masks(updated, {matrix.initializer: mask})
            continue
        layer = Layer(matrix, np.arange(mask.shape[matrix.outputs]))
        sums = sum_layer(original, updated, layer, some, threads=threads, seed=seed)
        weight, kept = _as_rows(weight_of(updated, matrix).astype(np.float64), matrix), _as_rows(mask, matrix)
        if choice == "error":
            kept = _choose(weight, sums, pattern, kept, _inputs_last(matrix, mask.shape))
        updated = apply_masks(updated, {matrix.initializer: _as_weight(kept, matrix, mask.shape)})
        gone = Change(-np.where(kept, 0, weight), np.zeros(len(weight)))
        left = LayerSums(sums.training.after(gone), sums.checking.after(gone), sums.energy)
        updated, done = update_layer(updated, matrix, left, kept)
        changed.append(done)
    progress(len(matrices), len(matrices))
    plain = apply_masks(original, masks)
    if is_nearer(original, updated, plain, some, threads=threads):
        return SparseUpdate(updated, tuple(changed))
    return SparseUpdate(plain, ())


def _is_summable(model: Model, matrix: WeightMatrix) -> bool:
    alone = len(model.graph.graph.initializers[matrix.initializer].uses()) == 1
    return alone and is_plain(find_node(model, matrix.node), shape_of(model, matrix))


def _choose(weight: Floats, sums: LayerSums, pattern: Pattern, kept: Mask, order: NDArray[np.int64]) -> Mask:
    """Return as many elements [outputs, features] as a mask has, by what the layer's output would miss without them."""
    everything = sums.training.join(sums.checking)
    # What layers before it miss is made up for first: zeros are chosen in the weight that is best without them.
    best = weight + solve(everything, DAMPING, with_bias=False).weight
    hessian = everything.products[np.ix_(order, order)]
    chosen = np.empty_like(kept)
    chosen[:, order] = choose_kept(best[:, order], hessian, pattern, 1 - float(kept.mean()))
    return chosen


def _inputs_last(matrix: WeightMatrix, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the features of a weight, place by place of its kernel, all input channels of one in a row."""
    if matrix.outputs != 0:
        return np.arange(shape[matrix.inputs])
    return np.moveaxis(np.arange(prod(shape[1:])).reshape(shape[1:]), 0, -1).reshape(-1)


def _as_rows(array: NDArray[Kind], matrix: WeightMatrix) -> NDArray[Kind]:
    """Return a weight as [outputs, features], features in the order of its elements."""
    return array.reshape(len(array), -1) if matrix.outputs == 0 else array.T


def _as_weight(rows: Mask, matrix: WeightMatrix, shape: tuple[int, ...]) -> Mask:
    return rows.reshape(shape) if matrix.outputs == 0 else rows.T
