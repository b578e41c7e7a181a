"""Zeros in weights that keep their shape: single elements, N of M input channels, or blocks, chosen by magnitude."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compress.errors import ConfigError
from compress.model import Model
from compress.weight_matrices import WeightMatrix, find_matrices

Allocation = Literal["uniform", "global", "lamp"]
Masks = Mapping[str, NDArray[np.bool_]]
"""What stays of a weight, in its own layout, by the name of its initializer."""

Scores = NDArray[np.float32]

_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE)
_WRITTEN = re.compile(r"([1-9]\d*)([:x])([1-9]\d*)")


@dataclass(frozen=True, slots=True)
class Pattern:
    """How zeros may lie in a matrix [outputs, inputs].

    Attributes:
        form: ``of`` keeps some of each run of input channels; ``block`` keeps or drops whole blocks.
        rows: For ``block`` its outputs; 1 for ``of``.
        columns: For ``block`` its inputs; for ``of`` the length of a run.
        kept: For ``of`` how many of a run stay; 0 for ``block``.
    """

    form: Literal["of", "block"]
    rows: int
    columns: int
    kept: int = 0


def read_pattern(text: str) -> Pattern:
    """Return the pattern of ``"unstructured"``, ``"2:4"`` (2 of 4 stay) or ``"16x1"`` (blocks of outputs x inputs).

    Raises:
        ConfigError: It is none of them.
    """
    if text == "unstructured":
        return Pattern("block", 1, 1)
    found = _WRITTEN.fullmatch(text)
    if found is None or (found[2] == ":" and int(found[1]) >= int(found[3])):
        raise ConfigError(
            f"`{text}` is no sparsity pattern",
            hint='write "unstructured", "2:4" (2 of each 4 input channels stay) or "16x1" (blocks of outputs x inputs)',
        )
    first, second = int(found[1]), int(found[3])
    return Pattern("of", 1, second, first) if found[2] == ":" else Pattern("block", first, second)


@dataclass(frozen=True, slots=True)
class Eligible:
    """Which weights can be made sparse.

    Attributes:
        matrices: Those that can, in the graph's order.
        skipped: Why the others stay dense, by the name of their node.
    """

    matrices: tuple[WeightMatrix, ...]
    skipped: Mapping[str, str]


def find_eligible(model: Model, pattern: Pattern, *, exclude: Sequence[str], min_elements: int) -> Eligible:
    """Return the weights of Conv, Gemm and MatMul that the pattern fits.

    Args:
        model: The float model.
        pattern: Of the zeros.
        exclude: Globs of node names.
        min_elements: Smaller weights stay dense: they cost next to nothing, and accuracy hangs on them.
    """
    matrices: list[WeightMatrix] = []
    skipped: dict[str, str] = {}
    for matrix in find_matrices(model.graph.graph):
        tensor = constant_of(model, matrix)
        reason = _reason_to_skip(matrix, tensor, pattern, exclude, min_elements)
        if reason is None:
            matrices.append(matrix)
        elif tensor.dtype in _FLOATS:
            skipped[matrix.node] = reason
    return Eligible(tuple(matrices), skipped)


def choose_masks(
    model: Model, matrices: Sequence[WeightMatrix], pattern: Pattern, *, ratio: float, allocation: Allocation
) -> dict[str, NDArray[np.bool_]]:
    """Return what stays of each weight: the elements, runs or blocks of the largest magnitude.

    Args:
        model: The float model.
        matrices: The weights that become sparse.
        pattern: Of the zeros.
        ratio: Share of the elements that become zero; ``N:M`` patterns have their own and ignore it.
        allocation: ``uniform``: the same share in each weight; ``global``: the smallest of all together, though never
            all of one weight; ``lamp``: likewise, by magnitudes that are made comparable between weights.
    """
    spread = {m.initializer: np.asarray(m.spread(weight_of(model, m)), np.float32) for m in matrices}
    if pattern.form == "of":
        kept = {name: _largest_of_runs(np.abs(array), pattern) for name, array in spread.items()}
    else:
        energies = {name: _block_energies(array, pattern) for name, array in spread.items()}
        kept = {
            name: _widen(mask, spread[name].shape, pattern)
            for name, mask in _largest_blocks(energies, ratio, allocation).items()
        }
    return {each.initializer: np.ascontiguousarray(each.gather(kept[each.initializer])) for each in matrices}


def apply_masks(model: Model, masks: Masks) -> Model:
    """Return a copy of a model with everything zero that the masks leave out."""
    graph = model.copy_graph()
    for name, mask in masks.items():
        value = graph.graph.initializers[name]
        tensor = value.const_value
        assert tensor is not None  # noqa: S101 - the mask was made of it
        array = tensor.numpy()
        value.const_value = ir.Tensor(np.where(mask, array, np.zeros_like(array)), dtype=tensor.dtype, name=name)
    return Model.from_ir(graph, model.history)


def zero_shares(model: Model, matrices: Sequence[WeightMatrix]) -> dict[str, float]:
    """Return the share of exact zeros in each weight, by the name of its node."""
    arrays = {matrix.node: constant_of(model, matrix).numpy() for matrix in matrices}
    return {node: float((array.size - np.count_nonzero(array)) / array.size) for node, array in arrays.items()}


def constant_of(model: Model, matrix: WeightMatrix) -> ir.TensorProtocol:
    """Return the constant of a weight as it is stored."""
    tensor = model.graph.graph.initializers[matrix.initializer].const_value
    assert tensor is not None  # noqa: S101 - the matrix was found by it
    return tensor


def weight_of(model: Model, matrix: WeightMatrix) -> NDArray[np.float32]:
    """Return a float weight in its own layout as float32."""
    return constant_of(model, matrix).numpy().astype(np.float32)


def _reason_to_skip(
    matrix: WeightMatrix, tensor: ir.TensorProtocol, pattern: Pattern, exclude: Sequence[str], min_elements: int
) -> str | None:
    shape = tensor.shape.numpy()
    outputs, inputs = shape[matrix.outputs], shape[matrix.inputs]
    reasons = (
        (tensor.dtype not in _FLOATS, f"holds {tensor.dtype.name.lower()}"),
        (any(fnmatchcase(matrix.node, glob) for glob in exclude), "excluded by name"),
        (tensor.size < min_elements, f"has {tensor.size} elements only"),
        (inputs == 1, "each output reads one channel (depthwise)"),
        (outputs % pattern.rows > 0, f"{outputs} outputs are no multiple of {pattern.rows}"),
        (inputs % pattern.columns > 0, f"{inputs} input channels are no multiple of {pattern.columns}"),
    )
    return next((reason for holds, reason in reasons if holds), None)


def _largest_of_runs(magnitude: Scores, pattern: Pattern) -> NDArray[np.bool_]:
    """Return the mask [outputs, …, inputs] that keeps the largest of each run; of equal ones the first.

    Source: Mishra et al., Accelerating Sparse Deep Neural Networks (2021): single-shot magnitude pruning.
    """
    runs = magnitude.reshape(*magnitude.shape[:-1], -1, pattern.columns)
    rank = np.argsort(np.argsort(-runs, axis=-1, kind="stable"), axis=-1, kind="stable")
    return np.asarray(rank < pattern.kept).reshape(magnitude.shape)


def _block_energies(spread: Scores, pattern: Pattern) -> Scores:
    """Return the sums of squares [outputs / rows, …, inputs / columns] of a weight [outputs, …, inputs]."""
    outputs, *places, inputs = spread.shape
    blocks = spread.reshape(outputs // pattern.rows, pattern.rows, *places, inputs // pattern.columns, pattern.columns)
    return np.asarray(np.square(blocks).sum(axis=(1, -1)), np.float32)


def _widen(mask: NDArray[np.bool_], shape: tuple[int, ...], pattern: Pattern) -> NDArray[np.bool_]:
    """Return a mask of blocks as one of elements, of a shape [outputs, …, inputs]."""
    return mask.repeat(pattern.rows, axis=0).repeat(pattern.columns, axis=-1).reshape(shape)


def _largest_blocks(
    energies: Mapping[str, Scores], ratio: float, allocation: Allocation
) -> dict[str, NDArray[np.bool_]]:
    """Return which blocks stay, in the shape of the energies."""
    if allocation == "uniform":
        return {name: _keep(energy, round(ratio * energy.size)) for name, energy in energies.items()}
    scores = {name: _lamp(energy) if allocation == "lamp" else _spare_one(energy) for name, energy in energies.items()}
    joined = np.concatenate([score.reshape(-1) for score in scores.values()])
    kept = _keep(joined, min(round(ratio * joined.size), joined.size - len(scores)))
    ends = np.cumsum([score.size for score in scores.values()])[:-1]
    return {
        name: part.reshape(score.shape)
        for (name, score), part in zip(scores.items(), np.split(kept, ends), strict=True)
    }


def _keep(scores: Scores, dropped: int) -> NDArray[np.bool_]:
    """Return the mask without the lowest scores; of equal ones the first go."""
    mask = np.ones(scores.size, bool)
    mask[np.argsort(scores.reshape(-1), kind="stable")[:dropped]] = False
    return mask.reshape(scores.shape)


def _lamp(energy: Scores) -> Scores:
    """Return the energies of one weight, each relative to itself and all larger ones: the largest is 1 everywhere.

    Source: Lee et al., Layer-adaptive Sparsity for the Magnitude-based Pruning (2021), definition of the score.
    """
    flat = energy.reshape(-1).astype(np.float64)
    order = np.argsort(flat, kind="stable")
    rest = np.cumsum(flat[order][::-1])[::-1]
    scores = np.empty_like(flat)
    scores[order] = flat[order] / np.maximum(rest, np.finfo(np.float64).tiny)
    scores[order[-1]] = np.inf
    return scores.astype(np.float32).reshape(energy.shape)


def _spare_one(energy: Scores) -> Scores:
    """Return the energies with the largest out of reach: without it the net would be cut in two."""
    scores = energy.copy()
    scores.reshape(-1)[int(np.argmax(energy))] = np.inf
    return scores
