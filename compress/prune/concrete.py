"""Shapes of every value of a graph, and values that depend on nothing but shapes, from two runs of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compress.errors import CompressError, PruneError
from compress.model import BATCH, Model, TensorSpec
from compress.prune.names import free_name, names_of

Array = NDArray[np.generic]
Shape = tuple[int, ...]

_BATCHES = (2, 1)
_SIZES = ((16, 24), (64, 96), (224, 256), (8, 12), (4, 6), (1, 1))
"""Sizes of other dynamic dimensions in the two runs, tried in this order: what a graph takes is not known before."""

_LARGE = 4096


@dataclass(frozen=True, slots=True)
class Concrete:
    """What two runs at different sizes of the dynamic dimensions say about a graph.

    Attributes:
        shapes: Of every tensor of the first run, by name; initializers too.
        dynamic: For each of them, which axes had another size in the second run.
        values: What depends on constants and shapes alone, in the first run.
        static: Names of those that were the same in the second run.
        fixed: For those that are vectors of as many numbers in both runs, which of the numbers were the same.
    """

    shapes: Mapping[str, Shape]
    dynamic: Mapping[str, tuple[bool, ...]]
    values: Mapping[str, Array]
    static: frozenset[str]
    fixed: Mapping[str, NDArray[np.bool_]]

    def is_vector_of_sizes(self, name: str) -> bool:
        """Return whether a value is a vector of integers that depends on shapes alone."""
        return name in self.values and self.values[name].ndim == 1 and self.values[name].dtype == np.int64


def make_concrete(model: Model) -> Concrete:
    """Return what is known about every value of the main graph.

    Raises:
        PruneError: ONNX Runtime cannot run the graph at any size that was tried.
    """
    derived = _shape_derived(model.graph.graph)
    first, second = _run_twice(model, derived)
    constants = {str(value.name): value for value in model.graph.graph.initializers.values()}
    shapes = {name: _initializer_shape(value) for name, value in constants.items()}
    shapes |= {name: array.shape for name, array in first.items()}
    dynamic = {
        name: _differing(shape, second[name].shape if name in second else shape) for name, shape in shapes.items()
    }
    values = {name: first[name] for name in derived if name in first}
    static = frozenset(name for name in values if name in second and _same(values[name], second[name]))
    vectors = {name: array for name, array in values.items() if array.ndim == 1 and name in second}
    fixed = {name: array == second[name] for name, array in vectors.items() if array.shape == second[name].shape}
    return Concrete(shapes, dynamic, values, static, fixed)


def _initializer_shape(value: ir.Value) -> Shape:
    assert value.const_value is not None  # noqa: S101 - an initializer
    return tuple(value.const_value.shape.numpy())


def _differing(one: Shape, other: Shape) -> tuple[bool, ...]:
    if len(one) != len(other):
        return (True,) * len(one)
    return tuple(left != right for left, right in zip(one, other, strict=True))


def _same(one: Array, other: Array) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype and one.tobytes() == other.tobytes()


def _shape_derived(graph: ir.Graph) -> set[str]:
    """Return the names of values that depend on constants and on shapes, never on what an input holds."""
    names: set[str] = set()
    for node in graph:
        reads = [value for value in node.inputs if value is not None]
        random = node.op_type.startswith(("Random", "Bernoulli", "Multinomial", "If", "Loop", "Scan"))
        known = all(value.is_initializer() or value.name in names for value in reads) and not random
        if known or node.op_type in ("Shape", "Size"):
            names.update(str(value.name) for value in node.outputs if value.name)
    return names


def _run_twice(model: Model, derived: set[str]) -> tuple[dict[str, Array], dict[str, Array]]:
    from compress.runtimes.onnxruntime import open_graph

    graph = _light_copy(model, derived)
    names = [str(value.name) for node in graph.graph for value in node.outputs if value.name]
    if not names:
        return {}, {}
    problem: CompressError | None = None
    try:
        with open_graph(Model.from_ir(graph).to_bytes(), threads=1, outputs=names) as session:
            for first, second in _sizes(model.inputs):
                try:
                    feeds = _feed(model.inputs, first), _feed(model.inputs, second)
                    found = session.run(feeds[0]), session.run(feeds[1])
                except CompressError as error:
                    problem = problem or error
                else:
                    return feeds[0] | _tensors(found[0]), feeds[1] | _tensors(found[1])
    except CompressError as error:
        problem = error
    raise PruneError(
        f"the graph cannot be analysed for pruning: {problem.message if problem else 'it does not run'}",
        hint="it must run in ONNX Runtime; check it with `compress inspect`",
    )


def _tensors(found: Mapping[str, Array]) -> dict[str, Array]:
    return {name: array for name, array in found.items() if isinstance(array, np.ndarray)}


def _light_copy(model: Model, derived: set[str]) -> ir.Model:
    """Return a copy whose large weights are made of zeros when it runs: their values change no shape."""
    copy = model.copy_graph()
    graph = copy.graph
    taken = names_of(graph)
    for name, value in tuple(graph.initializers.items()):
        constant = value.const_value
        if constant is None or constant.size < _LARGE or value.is_graph_output() or not _is_float(constant.dtype):
            continue
        readers = [node for node, _ in value.uses()]
        if any(node.graph is not graph or node.outputs[0].name in derived for node in readers):
            continue
        size_name = free_name(f"{name}.shape", taken)
        sizes = ir.Value(
            name=size_name, const_value=ir.tensor(np.array(constant.shape.numpy(), np.int64), name=size_name)
        )
        zero = np.zeros(1, constant.dtype.numpy())
        node = ir.node("ConstantOfShape", [sizes], {"value": ir.tensor(zero, dtype=constant.dtype)})
        node.outputs[0].name = free_name(f"{name}.zeros", taken)
        del graph.initializers[name]
        graph.register_initializer(sizes)
        graph.insert_before(graph[0], node)
        for user, index in tuple(value.uses()):
            user.replace_input_with(index, node.outputs[0])
    return copy


def _is_float(dtype: ir.DataType) -> bool:
    return dtype in (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16)


def _sizes(inputs: tuple[TensorSpec, ...]) -> Iterator[tuple[dict[str, int], dict[str, int]]]:
    """Yield sizes of the named dimensions for two runs; where both cannot change, the batch alone does."""
    named = list(dict.fromkeys(size for spec in inputs for size in spec.shape if isinstance(size, str)))
    first_axes = {spec.shape[0] for spec in inputs if spec.shape and isinstance(spec.shape[0], str)}
    batches = {name for name in named if name == BATCH or name in first_axes}
    for both in (True, False):
        for one, other in _SIZES:
            first = {name: _BATCHES[0] if name in batches else one for name in named}
            second = {name: _BATCHES[1] if name in batches else (other if both else one) for name in named}
            yield first, second


def _feed(inputs: tuple[TensorSpec, ...], sizes: Mapping[str, int]) -> dict[str, Array]:
    random = np.random.default_rng(0)
    feed: dict[str, Array] = {}
    for spec in inputs:
        shape = [size if isinstance(size, int) else sizes[size] for size in spec.shape]
        dtype = np.dtype(spec.dtype)
        # One is a valid token, a valid type of token and a mask that hides nothing.
        values = random.standard_normal(shape) if np.issubdtype(dtype, np.floating) else np.ones(shape)
        feed[spec.name] = np.asarray(values, dtype)
    return feed
