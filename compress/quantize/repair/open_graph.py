"""A quantized graph as protobuf lists: nodes by name, constants that can be changed, pieces that can be cut out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from compress.model import Model

_FREE = "DequantizeLinear"


@dataclass(slots=True)
class OpenGraph:
    """A graph as lists: what each node needs, and who needs a value last.

    Attributes:
        proto: The graph; constants are changed in it.
        nodes: In graph order.
        producers: Position of the node that makes a value, by the value's name.
        free: Positions of the DequantizeLinear nodes: they are computed again wherever they are needed.
        last_use: Position of the last node that needs a value, through DequantizeLinear or not.
    """

    proto: onnx.ModelProto
    nodes: list[onnx.NodeProto]
    producers: dict[str, int]
    free: set[int]
    last_use: dict[str, int]

    @classmethod
    def read(cls, model: Model) -> "OpenGraph":
        """Return the graph of a model, as a copy."""
        proto = onnx.ModelProto.FromString(model.to_bytes())
        nodes = list(proto.graph.node)
        producers = {name: index for index, node in enumerate(nodes) for name in node.output}
        free = {index for index, node in enumerate(nodes) if node.op_type == _FREE}
        graph = cls(proto, nodes, producers, free, {})
        for index, node in enumerate(nodes):
            if index not in free:
                for name in graph.held_inputs([node]):
                    graph.last_use[name] = index
        return graph

    def needed(self, nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
        """Return nodes and, before each, the DequantizeLinear that it reads through."""
        found: dict[int, None] = {}
        for node in nodes:
            for name in reads(node):
                producer = self.producers.get(name)
                if producer is not None and producer in self.free:
                    found[producer] = None
            found[self.producers[node.output[0]]] = None
        return [self.nodes[index] for index in found]

    def held_inputs(self, nodes: Sequence[onnx.NodeProto]) -> list[str]:
        """Return the values that some nodes read and that neither they make nor the graph holds as constants."""
        constants = {tensor.name for tensor in self.proto.graph.initializer}
        needed = self.needed(nodes)
        made = {name for node in needed for name in node.output}
        read = dict.fromkeys(name for node in needed for name in reads(node))
        return [name for name in read if name not in made and name not in constants]

    def constant(self, name: str) -> NDArray[np.generic]:
        """Return a constant as it is now."""
        return onnx.numpy_helper.to_array(self._tensor(name))

    def change(self, name: str, array: NDArray[np.generic]) -> None:
        """Give a constant other values."""
        self._tensor(name).CopyFrom(onnx.numpy_helper.from_array(array, name))

    def node(self, name: str) -> onnx.NodeProto:
        """Return a node by name."""
        return next(node for node in self.nodes if node.name == name)

    def producer(self, name: str) -> onnx.NodeProto | None:
        """Return the node that makes a value, None for constants and inputs."""
        index = self.producers.get(name)
        return None if index is None else self.nodes[index]

    def dequantized(self, node: onnx.NodeProto) -> NDArray[np.float64]:
        """Return the float values of a constant that a DequantizeLinear without zero point, or with zeros, reads."""
        stored, scale = (self.constant(node.input[index]).astype(np.float64) for index in (0, 1))
        shape = [1] * stored.ndim
        shape[next((each.i for each in node.attribute if each.name == "axis"), 1)] = -1
        return np.asarray(stored * scale.reshape(shape), np.float64)

    def to_bytes(self) -> bytes:
        """Return the graph as it is now, serialized."""
        return bytes(self.proto.SerializeToString(deterministic=True))

    def _tensor(self, name: str) -> onnx.TensorProto:
        found: onnx.TensorProto = next(each for each in self.proto.graph.initializer if each.name == name)
        return found


def reads(node: onnx.NodeProto) -> Iterator[str]:
    """Yield the names of what a node reads, in its bodies too."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for body in (attribute.g, *attribute.graphs):
            inner = {name for each in body.node for name in each.output} | {value.name for value in body.input}
            inner |= {tensor.name for tensor in body.initializer}
            yield from (name for each in body.node for name in reads(each) if name not in inner)
