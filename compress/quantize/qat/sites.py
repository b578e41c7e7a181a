"""What a quantized graph has to learn: where its Q/DQ pairs are, and the float graph that is left without them."""

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compress.model import Model
from compress.quantize.dialects import Dialect
from compress.quantize.qat.bounds import Bounds, bounds_of, largest_scale

_Floats = NDArray[np.float32]
_STEP = 1
"""Codes by which a stored weight may differ from the original, rounded: rounding may be chosen, more is a change."""
_INSIDE = 0.499
"""Steps from a code within which a weight is surely rounded to it."""


@dataclass(frozen=True, slots=True)
class ActivationSite:
    """One scale and zero point, and all places where activations pass through them.

    Attributes:
        scale: Name of the initializer in the quantized graph.
        zero_point: Likewise.
        nodes: Names of the nodes of the float graph that stand for Q and DQ; more than one where scales are tied.
        low: Lowest code.
        high: Highest code.
        largest_scale: Beyond it the grid would pass the Clip or Relu in front, which a runtime then could not drop.
        moves_zero: Whether the zero point may be learned.
    """

    scale: str
    zero_point: str
    nodes: tuple[str, ...]
    low: int
    high: int
    largest_scale: float
    moves_zero: bool


@dataclass(frozen=True, slots=True)
class WeightSite:
    """One weight that is stored as integers.

    Attributes:
        stored: Name of the integer initializer in the quantized graph.
        scale: Name of its scale, [channels].
        latent: Name of the float initializer in the float graph.
        node: Name of the node of the float graph that stands for DQ.
        axis: Of the channels.
        low: Lowest code.
        high: Highest code.
    """

    stored: str
    scale: str
    latent: str
    node: str
    axis: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class BiasSite:
    """One int32 bias, with the scale of its input and its weight: names as in :class:`WeightSite`."""

    stored: str
    scale: str
    latent: str
    node: str
    input_scale: str
    weight_scale: str


@dataclass(frozen=True, slots=True)
class QuantizedSites:
    """A quantized graph taken apart.

    Attributes:
        model: The float graph: every Q/DQ pair, and every DQ of a constant, is an Identity with a name of its own.
        from_original: How many of the weights start from the original's values; the others from the stored integers.
    """

    model: Model
    activations: tuple[ActivationSite, ...]
    weights: tuple[WeightSite, ...]
    biases: tuple[BiasSite, ...]
    from_original: int


def find_sites(quantized: Model, original: Model, dialect: Dialect) -> QuantizedSites:
    """Return the Q/DQ of a quantized graph and the float graph without them.

    1. The latent weight starts from the float model's where the stored integers are its rounded values, from the
       nearest value that is rounded to the integer where that is one step off, and from the stored integers
       where a step has changed them since.
    2. Biases start from their int32 codes: these are precise, and may have been corrected.
    3. A Relu or Clip that the grid behind it makes redundant goes, as it does in a runtime; the grid stays within it.

    Args:
        quantized: As the step `quantize` leaves it.
        original: The float model that it was made from, with nodes of the same names.
        dialect: The one that the graph was quantized in.
    """
    return _Opener(quantized, original, dialect).open()


class _Opener:
    def __init__(self, quantized: Model, original: Model, dialect: Dialect) -> None:
        self._history = quantized.history
        self._model = quantized.copy_graph()
        self._graph = self._model.graph
        self._dialect = dialect
        self._originals = {node.name: node for node in original.graph.graph}
        self._activations: dict[str, ActivationSite] = {}
        self._weights: list[WeightSite] = []
        self._biases: list[BiasSite] = []
        self._from_original = 0

    def open(self) -> QuantizedSites:
        # Biases first: they are found by the DQ nodes of input and weight beside them.
        dequantized = [node for node in self._graph if node.op_type == "DequantizeLinear"]
        constants = [node for node in dequantized if node.inputs[0] is not None and node.inputs[0].is_initializer()]
        biases = [node for node in constants if _constant(node, 0).dtype == np.int32]
        for node in biases:
            self._open_bias(node)
        for node in constants:
            if node not in biases:
                self._open_weight(node)
        for node in [node for node in self._graph if node.op_type == "QuantizeLinear"]:
            self._open_activation(node)
        model = Model.from_ir(self._model, self._history)
        activations = tuple(self._activations.values())
        return QuantizedSites(model, activations, tuple(self._weights), tuple(self._biases), self._from_original)

    def _open_bias(self, node: ir.Node) -> None:
        consumer = next(iter(node.outputs[0].uses())).node
        sources = [_name(_producer(consumer, index), 1) for index in (0, 1)]
        stored, scale = _name(node, 0), _name(node, 1)
        self._biases.append(BiasSite(stored, scale, *self._open_constant(node, _dequantize(node)), *sources))

    def _open_weight(self, node: ir.Node) -> None:
        use = next(iter(node.outputs[0].uses()))
        grid = self._dialect.weight
        stored, scale = _constant(node, 0), _constant(node, 1)
        axis = node.attributes.get_int("axis", 1)
        start = _dequantize(node)
        original = self._original_weight(use.node.name, use.idx)
        if original is not None and original.shape == stored.shape:
            steps = original.astype(np.float32) / _along(scale, axis, stored.ndim)
            codes = np.clip(np.rint(steps), grid.low, grid.high)
            if np.abs(codes - stored).max(initial=0) <= _STEP:
                integers = stored.astype(np.float32)
                nearest = np.clip(steps, integers - _INSIDE, integers + _INSIDE) * _along(scale, axis, stored.ndim)
                start = np.where(codes == stored, original, nearest).astype(np.float32)
                self._from_original += 1
        names = _name(node, 0), _name(node, 1)
        latent = self._open_constant(node, start)
        self._weights.append(WeightSite(*names, *latent, axis, grid.low, grid.high))

    def _original_weight(self, node: str | None, index: int) -> NDArray[np.generic] | None:
        found = self._originals.get(node)
        value = found.inputs[index] if found is not None and index < len(found.inputs) else None
        return None if value is None or value.const_value is None else value.const_value.numpy()

    def _open_constant(self, node: ir.Node, start: _Floats) -> tuple[str, str]:
        """Put a float initializer in the place of an integer one; return its name and that of the Identity."""
        name = f"{_name(node, 0)}_latent"
        tensor = ir.tensor(start, name=name)
        value = ir.Value(name=name, const_value=tensor, shape=ir.Shape(start.shape), type=ir.TensorType(tensor.dtype))
        self._graph.register_initializer(value)
        return name, self._stand_in(value, node)

    def _open_activation(self, node: ir.Node) -> None:
        scale, zero = float(_constant(node, 1)), int(_constant(node, 2))
        keys = _name(node, 1), _name(node, 2)
        info = np.iinfo(str(_constant(node, 2).dtype))
        value = node.inputs[0]
        assert value is not None  # noqa: S101 - Q has an input
        producer = value.producer()
        bounds = bounds_of(producer)
        ceiling = largest_scale(bounds, zero, info.min, info.max)
        source = value
        if producer is not None and bounds != Bounds() and scale <= ceiling and _only_use(value):
            source = producer.inputs[0] or value
        names = [self._stand_in(source, use.node) for use in tuple(node.outputs[0].uses())]
        self._graph.remove(node, safe=True)
        if source is not value and producer is not None:
            self._graph.remove(producer, safe=True)
        ceiling = ceiling if scale <= ceiling else math.inf
        moves = not self._dialect.activation.symmetric and bounds == Bounds() and zero > info.min
        before = self._activations.get(keys[0])
        if before is not None:
            names = [*before.nodes, *names]
            ceiling, moves = min(ceiling, before.largest_scale), moves and before.moves_zero
        self._activations[keys[0]] = ActivationSite(*keys, tuple(names), info.min, info.max, ceiling, moves)

    def _stand_in(self, source: ir.Value, node: ir.Node) -> str:
        """Put an Identity that reads ``source`` in the place of a DQ node; return its name."""
        old = node.outputs[0]
        name = f"fake quantization: {old.name}"
        value = ir.Value(name=old.name, type=ir.TensorType(ir.DataType.FLOAT), shape=old.shape)
        old.name = f"{old.name}_replaced"
        identity = ir.Node("", "Identity", [source], outputs=[value], name=name)
        self._graph.insert_before(node, identity)
        ir.convenience.replace_all_uses_with(old, value, replace_graph_outputs=True)
        self._graph.remove(node, safe=True)
        return name


def _only_use(value: ir.Value) -> bool:
    return len(value.uses()) == 1 and not value.is_graph_output()


def _producer(node: ir.Node, index: int) -> ir.Node:
    value = node.inputs[index]
    producer = None if value is None else value.producer()
    assert producer is not None, f"input {index} of {node.name} is not dequantized"  # noqa: S101 - quantize wrote it so
    return producer


def _name(node: ir.Node, index: int) -> str:
    value = node.inputs[index]
    assert value is not None, f"{node.name} has no input {index}"  # noqa: S101 - Q and DQ of ours have all three
    return str(value.name)


def _constant(node: ir.Node, index: int) -> NDArray[np.generic]:
    value = node.inputs[index]
    assert value is not None, f"{node.name} has no input {index}"  # noqa: S101
    assert value.const_value is not None, f"{value.name} is not constant"  # noqa: S101
    return value.const_value.numpy()


def _dequantize(node: ir.Node) -> _Floats:
    """Return the float values of a constant that a DQ node reads."""
    stored, scale = _constant(node, 0), _constant(node, 1)
    axis = node.attributes.get_int("axis", 1)
    return (stored.astype(np.float32) * _along(scale, axis, stored.ndim)).astype(np.float32)


def _along(scale: NDArray[np.generic], axis: int, ndim: int) -> _Floats:
    shape = [1] * ndim
    shape[axis] = -1
    return scale.astype(np.float32).reshape(shape)
