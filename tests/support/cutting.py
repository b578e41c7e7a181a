"""Cutting groups of small graphs, and what the result has to equal."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from masked_reference import masked_reference
from torch import Tensor

from compress.model import Model
from compress.prune.coupling import analyse
from compress.prune.groups import Coupling, Cuts, Group
from compress.prune.prepare import prepare
from compress.prune.surgery import cut

TOLERANCE = 1e-5
"""Largest difference allowed, as a share of the largest output; the worst measured is 3e-7."""

Feed = dict[str, Tensor]


def half_of(group: Group, seed: int = 0) -> tuple[int, ...]:
    """Return half of a group's units at random, as many of each block."""
    random, run = np.random.default_rng(seed), group.units // group.blocks
    chosen = [block * run + random.permutation(run)[: max(1, run // 2)] for block in range(group.blocks)]
    return tuple(sorted(int(unit) for unit in np.concatenate(chosen)))


def all_cuts(coupling: Coupling) -> list[Cuts]:
    """Return one cut for each group, and one of all groups at once."""
    each = {group.name: half_of(group, number) for number, group in enumerate(coupling.groups)}
    return [*({name: units} for name, units in each.items()), each] if each else []


def assert_cut_equals_masked(
    model: Model, coupling: Coupling, cuts: Cuts, feeds: Iterable[Feed], *, alive: bool = True
) -> Model:
    """Check a cut graph against the masked one, and return it; cutting units that are alive changes something."""
    feeds = list(feeds)
    smaller = cut(model, coupling, cuts)
    assert (smaller.inputs, smaller.outputs) == (model.inputs, model.outputs)
    assert prepare(smaller).digest() == smaller.digest()
    runs = [run_all(each, feeds) for each in (smaller, masked_reference(model, coupling, cuts), model)]
    for found, expected, before in zip(*runs, strict=True):
        for name, output in expected.items():
            scale = float(np.abs(output).max())
            assert found[name].shape == output.shape
            assert float(np.abs(found[name] - output).max()) <= TOLERANCE * scale, (dict(cuts), name)
            assert not alive or float(np.abs(before[name] - output).max()) > 0, f"nothing was cut by {dict(cuts)}"
    return smaller


def run_all(model: Model, feeds: Iterable[Feed]) -> list[dict[str, np.ndarray[Any, Any]]]:
    """Return ONNX Runtime's outputs for several inputs, without its own graph optimisations."""
    from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions

    options = SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.graph_optimization_level = GraphOptimizationLevel.ORT_DISABLE_ALL
    session = InferenceSession(model.to_bytes(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return [
        dict(zip(names, session.run(names, {name: tensor.numpy() for name, tensor in feed.items()}), strict=True))
        for feed in feeds
    ]


def assert_every_cut_equals_masked(model: Model, feeds: Iterable[Feed], *, alive: bool = True) -> Coupling:
    """Check the cut of each group, and of all at once; return the coupling."""
    coupling = analyse(model)
    for cuts in all_cuts(coupling):
        assert_cut_equals_masked(model, coupling, cuts, feeds, alive=alive)
    return coupling


def prunable_share(model: Model, coupling: Coupling) -> float:
    """Return the share of the elements of weights (constants of more than one number) that some group's slices hold."""
    arrays = {
        name: np.zeros(value.const_value.shape.numpy(), bool)
        for name, value in prepare(model).graph.graph.initializers.items()
        if value.const_value is not None and value.const_value.dtype.is_floating_point() and value.const_value.size > 1
    }
    for group in coupling.groups:
        for part in group.slices:
            if part.initializer in arrays:
                arrays[part.initializer][(slice(None),) * part.axis + (part.positions.ravel(),)] = True
    return sum(int(array.sum()) for array in arrays.values()) / sum(array.size for array in arrays.values())


def described(coupling: Coupling) -> dict[str, tuple[Any, ...]]:
    """Return family, units and blocks of each group by name."""
    return {group.name: (group.family, group.units, group.blocks) for group in coupling.groups}


def reasons(coupling: Coupling) -> Mapping[tuple[str, int], str]:
    """Return why axes are protected."""
    return {(each.initializer, each.axis): each.reason for each in coupling.protected}
