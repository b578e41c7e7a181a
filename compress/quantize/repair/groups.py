"""Groups of values whose channels can be divided by a scale, with who must be scaled so that nothing else changes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from compress.model import Model
from compress.quantize.repair.scalable import (
    CONSUMERS,
    PRODUCERS,
    NotScalableError,
    clip_bounds,
    constant_of,
    constant_size,
    is_standard,
    rank_of,
)

Edge = tuple[ir.Node, int]

_ELEMENTWISE = frozenset({"Clip", "Dropout", "Identity", "LeakyRelu", "Relu"})
_POOLS = frozenset({"AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"})
_RESHAPES = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze"})


@dataclass(slots=True)
class ChannelGroup:
    """Values that are divided together, channel by channel: f(x / s) = f(x) / s for all that is between them.

    Attributes:
        axis: Of the channels, in all the values.
        channels: How many there are.
        values: In no particular order.
        producers: Conv, ConvTranspose, Gemm, MatMul, LayerNormalization: their weights are divided by the scale.
        constants: Operands that are added on the way: they are divided too.
        consumers: Conv, Gemm, MatMul: their weights are multiplied by the scale.
        clips: Clip nodes on the way: a channel that one of them cuts must keep its scale.
    """

    axis: int
    channels: int
    values: list[ir.Value] = field(default_factory=list)
    producers: list[ir.Node] = field(default_factory=list)
    constants: list[Edge] = field(default_factory=list)
    consumers: list[ir.Node] = field(default_factory=list)
    clips: list[ir.Node] = field(default_factory=list)


def with_shapes(model: Model) -> ir.Model:
    """Return a copy of a graph in which the shapes of all values are inferred."""
    graph = model.copy_graph()
    common.ShapeInferencePass(check_type=False, data_prop=True)(graph)
    return graph


def find_groups(graph: ir.Graph) -> list[ChannelGroup]:
    """Return the groups of a float graph with shapes, in graph order.

    1. A value is divided by its producer's weights and multiplied again by those of its consumers: all constant.
    2. Relu, LeakyRelu, pools, Clip from 0 on, and data movement that keeps the channels, carry the scale on.
    3. What an Add adds shares one scale; a constant operand is divided like what it is added to.
    4. A value that anything else reads or makes, the graph's interface included, belongs to no group.
    """
    groups, seen = [], set[ir.Node]()
    for node in graph:
        kind = PRODUCERS.get(node.op_type) if is_standard(node) else None
        if kind is None or node in seen:
            continue
        try:
            group = _grow(node, kind)
        except NotScalableError:
            continue
        seen.update(group.producers)
        groups.append(group)
    return groups


def _grow(node: ir.Node, kind: Callable[[ir.Node], tuple[int, int]]) -> ChannelGroup:
    axis, channels = kind(node)
    group = ChannelGroup(axis, channels)
    waiting, seen = [node.outputs[0]], {node.outputs[0]}
    while waiting:
        value = waiting.pop()
        group.values.append(value)
        for other in (*_back(value, group), *_forth(value, group)):
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    if not group.consumers:
        raise NotScalableError
    return group


def _back(value: ir.Value, group: ChannelGroup) -> Iterator[ir.Value]:
    """Note what makes a value; yield the values that it is made of in the same scale."""
    node = value.producer()
    if node is None or not is_standard(node) or node.outputs[0] is not value:
        raise NotScalableError
    if node.op_type in PRODUCERS:
        if PRODUCERS[node.op_type](node) != (group.axis, group.channels):
            raise NotScalableError
        if node not in group.producers:
            group.producers.append(node)
        return
    yield from _carried(node, group)


def _forth(value: ir.Value, group: ChannelGroup) -> Iterator[ir.Value]:
    """Note what reads a value; yield the values that are made of it in the same scale."""
    if value.is_graph_output():
        raise NotScalableError
    for node, index in value.uses():
        if not is_standard(node) or node.graph is not value.graph:
            raise NotScalableError
        if node.op_type in CONSUMERS:
            if index != 0 or CONSUMERS[node.op_type](node) != (group.axis, group.channels):
                raise NotScalableError
            if node not in group.consumers:
                group.consumers.append(node)
            continue
        yield from _carried(node, group)
        yield node.outputs[0]


def _carried(node: ir.Node, group: ChannelGroup) -> list[ir.Value]:
    """Return the inputs of a node that carries a scale on; note its constants.

    Raises:
        NotScalableError: It is no such node.
    """
    first = node.inputs[0]
    assert first is not None  # noqa: S101 - all these operators have a first input
    if node.op_type == "Add":
        return _added(node, group)
    if node.op_type in ("Mul", "Div") and first.const_value is None and constant_size(node, 1) == 1:
        return [first]
    if node.op_type in _ELEMENTWISE:
        if node.op_type == "Clip" and node not in group.clips:
            if clip_bounds(node)[0] != 0.0:
                raise NotScalableError
            group.clips.append(node)
        return [first]
    if (node.op_type in _POOLS and group.axis == 1) or _keeps_channels(node, group):
        return [first]
    raise NotScalableError


def _added(node: ir.Node, group: ChannelGroup) -> list[ir.Value]:
    values = []
    for index, value in enumerate(node.inputs):
        assert value is not None  # noqa: S101 - Add has two inputs
        if value.const_value is None:
            values.append(value)
        elif _along_channels(value, node.outputs[0], group):
            if (node, index) not in group.constants:
                group.constants.append((node, index))
        else:
            raise NotScalableError
    if any(value.shape is None or len(value.shape) != rank_of(node.outputs[0]) for value in values):
        raise NotScalableError
    return values


def _along_channels(constant: ir.Value, result: ir.Value, group: ChannelGroup) -> bool:
    """Return whether a constant has one element for each channel of the value that it is added to."""
    shape = () if constant.const_value is None else constant.const_value.shape.numpy()
    place = group.axis - (rank_of(result) - len(shape))
    return place >= 0 and int(np.prod(shape)) == shape[place] == group.channels


def _keeps_channels(node: ir.Node, group: ChannelGroup) -> bool:
    """Return whether a change of shape, or a mean, leaves the channels where they are."""
    before, after = node.inputs[0], node.outputs[0]
    if before is None or before.shape is None or after.shape is None or len(after.shape) <= group.axis:
        return False
    if after.shape[group.axis] != group.channels or before.shape[group.axis] != group.channels:
        return False
    if node.op_type in ("ReduceMean", "ReduceSum", "ReduceMax"):
        return group.axis == 1 and group.axis not in _axes(node, len(before.shape))
    leading = group.axis == 1 and before.shape[0] == after.shape[0]
    return node.op_type in _RESHAPES and leading and all(size == 1 for size in (*before.shape[2:], *after.shape[2:]))


def _axes(node: ir.Node, rank: int) -> set[int]:
    """Return the axes of a reduction; all, where they are not known."""
    given = constant_of(node, 1)
    if given is None and "axes" in node.attributes:
        given = np.array(node.attributes["axes"].as_ints())
    keeps = node.attributes.get_int("keepdims", 1) == 1
    found = set(range(rank)) if given is None else {int(axis) % rank for axis in given.reshape(-1)}
    # Without axis 0 the channels would move to its place.
    return found if keeps or 0 not in found else set(range(rank))
