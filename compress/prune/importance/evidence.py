"""What a criterion may look at, and the part of a tensor that belongs to each unit."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compress.data.samples import SampleSet
from compress.model import Model
from compress.prune.groups import Group, Slice

Scores = NDArray[np.float64]
"""[units]: larger is worth more, not finite where a unit cannot be judged."""

Weight = NDArray[np.generic]

_FLOATS = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE})


@dataclass(frozen=True, slots=True)
class Evidence:
    """What criteria may look at.

    Attributes:
        model: The graph that the groups are of.
        groups: Those that are to be judged.
        teacher: The model whose outputs are to be kept.
        samples: Unlabelled, bound to the inputs of both.
        count: How many samples a criterion may use at most.
        seed: Of everything random.
        threads: Of PyTorch.
    """

    model: Model
    groups: tuple[Group, ...]
    teacher: Model
    samples: SampleSet
    count: int
    seed: int
    threads: int


@dataclass(frozen=True, slots=True)
class SliceScores:
    """Scores of one slice of a group."""

    slice: Slice
    scores: Scores


Criterion = Callable[[Evidence], Mapping[str, tuple[SliceScores, ...]]]
"""Judges the groups of the evidence: scores of the slices that it can judge, by name of the group; they are brought
together by :mod:`compress.prune.importance.aggregation`. A group without any cannot be judged."""


def float_weights(model: Model) -> dict[str, Weight]:
    """Return the float initializers of a graph by name, in their own types."""
    values = model.graph.graph.initializers.items()
    constants = {name: value.const_value for name, value in values if value.const_value is not None}
    return {name: constant.numpy() for name, constant in constants.items() if constant.dtype in _FLOATS}


def unit_rows(weight: Weight, part: Slice) -> NDArray[np.float64]:
    """Return what each unit owns of a weight: [units, elements]."""
    owned = np.moveaxis(weight, part.axis, 0)[part.positions]
    return owned.reshape(len(part.positions), -1).astype(np.float64)


def is_kernel(weight: Weight, part: Slice) -> bool:
    """Return whether a weight has other axes than the one that is cut: a kernel or a matrix, no bias and no gain."""
    return int(weight.size) > int(weight.shape[part.axis])


def kernel_slices(group: Group, weights: Mapping[str, Weight]) -> tuple[Slice, ...]:
    """Return the slices of kernels and matrices, or those of any weights where a group has no others."""
    floats = tuple(part for part in group.slices if part.initializer in weights)
    return tuple(part for part in floats if is_kernel(weights[part.initializer], part)) or floats
