"""What one layer of a pruned graph reads, and what of the original layer's output it misses, summed over samples."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compress.data.samples import Array, SampleSet
from compress.model import Model
from compress.prune.least_squares import Sums
from compress.prune.linear_rows import count_rows, input_rows, output_rows, pick_rows
from compress.runtimes import open_graph
from compress.runtimes.batching import fixed_batch
from compress.weight_matrices import WeightMatrix

_BATCH = 16
_CHECKED = 4
_ROWS_PER_FEATURE = 8
_ROWS = (4096, 16384)


@dataclass(slots=True)
class LayerSums:
    """Sums over the rows of a layer.

    Attributes:
        training: Three of four batches.
        checking: The fourth. With fewer batches every second row.
        energy: Σ ‖y‖² of the outputs that the original's layer gives and the pruned one has too.
    """

    training: Sums
    checking: Sums
    energy: float = 0.0


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer in the original and in the pruned graph.

    Attributes:
        matrix: Its weight in the pruned graph.
        kept: Which of the original's outputs the pruned layer has.
    """

    matrix: WeightMatrix
    kept: NDArray[np.int64]


def sum_layer(
    original: Model, pruned: Model, layer: Layer, samples: SampleSet, *, threads: int, seed: int
) -> LayerSums:
    """Return the sums of one layer over all samples, at random places of large outputs."""
    node, before = (find_node(model, layer.matrix.node) for model in (pruned, original))
    shape = shape_of(pruned, layer.matrix)
    features, outputs = prod(shape) // shape[layer.matrix.outputs], shape[layer.matrix.outputs]
    found = LayerSums(Sums(features, outputs), Sums(features, outputs))
    each = fixed_batch(original) or max(1, min(_BATCH, len(samples) // _CHECKED))
    count = max(1, len(samples) // each)
    wanted = -(-min(max(_ROWS[0], _ROWS_PER_FEATURE * features), _ROWS[1]) // count)
    generator = np.random.default_rng(seed)
    runs = _run_both(original, pruned, (before, node), samples, each, threads=threads)
    for number, (target, reads, gives) in enumerate(runs):
        rows = pick_rows(count_rows(gives, layer.matrix), wanted, generator)
        windows = input_rows(node, layer.matrix, reads, shape, gives.shape, rows)
        expected = output_rows(target, layer.matrix, rows)[:, layer.kept]
        missing = expected - output_rows(gives, layer.matrix, rows)
        found.energy += float(np.vdot(expected, expected))
        if count < _CHECKED:
            found.training.add(windows[::2], missing[::2])
            found.checking.add(windows[1::2], missing[1::2])
        else:
            part = found.checking if number % _CHECKED == _CHECKED - 1 else found.training
            part.add(windows, missing)
    return found


def find_node(model: Model, name: str) -> ir.Node:
    """Return the node of a name that the graph has."""
    return next(node for node in model.graph.graph if node.name == name)


def shape_of(model: Model, matrix: WeightMatrix) -> tuple[int, ...]:
    """Return the shape of a weight."""
    constant = model.graph.graph.initializers[matrix.initializer].const_value
    assert constant is not None  # noqa: S101 - the matrix was found by it
    return tuple(constant.shape.numpy())


def _run_both(
    original: Model, pruned: Model, nodes: tuple[ir.Node, ir.Node], samples: SampleSet, each: int, *, threads: int
) -> Iterator[tuple[Array, Array, Array]]:
    """Yield, batch by batch, the original layer's output, the pruned layer's input, and its output."""
    target, gives = (str(node.outputs[0].name) for node in nodes)
    reads = nodes[1].inputs[0]
    assert reads is not None  # noqa: S101 - a layer has an input
    computed = [] if reads.is_graph_input() else [str(reads.name)]
    with (
        open_graph(original.to_bytes(), threads=threads, outputs=[target]) as first,
        open_graph(pruned.to_bytes(), threads=threads, outputs=[*computed, gives]) as second,
    ):
        for batch in samples.batches(each):
            if len(batch) < each and fixed_batch(original):
                continue
            values = {**batch.inputs, **second.run(batch.inputs)}
            yield first.run(batch.inputs)[target], values[str(reads.name)], values[gives]
