"""A walk through a quantized graph, layer by layer, that holds the activations of all samples in between."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from compress.data.samples import Array
from compress.model import Model
from compress.runtimes import Session

OpenPiece = Callable[[bytes], Session]
"""Opens a session of a serialized piece of the graph."""

HELD_BYTES = 256 << 20
"""Activations that are held at once; where those of all samples are more, the last samples are left out."""

_FREE = "DequantizeLinear"


@dataclass(slots=True)
class _Graph:
    """A graph as lists: what each node needs, and who needs a value last."""

    proto: onnx.ModelProto
    nodes: list[onnx.NodeProto]
    producers: dict[str, int]
    free: set[int]
    last_use: dict[str, int]

    @classmethod
    def read(cls, model: Model) -> "_Graph":
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
            for name in _reads(node):
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
        read = dict.fromkeys(name for node in needed for name in _reads(node))
        return [name for name in read if name not in made and name not in constants]


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for body in (attribute.g, *attribute.graphs):
            inner = {name for each in body.node for name in each.output} | {value.name for value in body.input}
            inner |= {tensor.name for tensor in body.initializer}
            yield from (name for each in body.node for name in _reads(each) if name not in inner)


class Walk:
    """Runs a quantized graph in pieces, in the runtime's own integer kernels.

    A piece goes from one stop to the next; between pieces the activations of all samples are held, as integers where
    they are quantized. So each layer is computed once, however many stops there are, and a layer that was changed
    at its stop is seen changed by all that follow.
    """

    def __init__(self, model: Model, open_piece: OpenPiece, batches: Sequence[Mapping[str, Array]]) -> None:
        """Start at the inputs.

        Args:
            model: The quantized graph.
            open_piece: How to run a piece of it.
            batches: Inputs of all samples, by name.
        """
        self._graph = _Graph.read(model)
        self._open = open_piece
        self._held = [dict(batch) for batch in batches]
        self._position = 0

    @property
    def batches(self) -> int:
        """How many batches are still held."""
        return len(self._held)

    def advance(self, stop: str) -> None:
        """Compute everything before the node of that name."""
        names = [node.name for node in self._graph.nodes]
        target = names.index(stop)
        piece = [self._graph.nodes[index] for index in range(self._position, target) if index not in self._graph.free]
        self._position = target
        made = {name for node in piece for name in node.output}
        last = self._graph.last_use
        wanted = [name for name in made if last.get(name, -1) >= target]
        if wanted:
            self._run(piece, sorted(wanted), keep=True)
        for held in self._held:
            for name in [name for name in held if last.get(name, -1) < target]:
                del held[name]
        self._bound_memory()

    def outputs(self, stop: str) -> Iterator[Array]:
        """Yield the output of the node where the walk stands, for each batch."""
        node = self._graph.nodes[self._position]
        assert node.name == stop, f"the walk stands at {node.name}"  # noqa: S101
        yield from (found[node.output[0]] for found in self._run([node], [node.output[0]], keep=False))

    def constant(self, name: str) -> NDArray[np.generic]:
        """Return a constant as it is now."""
        return onnx.numpy_helper.to_array(self._tensor(name))

    def change(self, name: str, array: NDArray[np.generic]) -> None:
        """Give a constant other values."""
        self._tensor(name).CopyFrom(onnx.numpy_helper.from_array(array, name))

    def node(self, name: str) -> onnx.NodeProto:
        """Return a node by name."""
        return next(node for node in self._graph.nodes if node.name == name)

    def producer(self, name: str) -> onnx.NodeProto | None:
        """Return the node that makes a value, None for constants and inputs."""
        index = self._graph.producers.get(name)
        return None if index is None else self._graph.nodes[index]

    def model(self) -> onnx.ModelProto:
        """Return the graph as it is now."""
        return self._graph.proto

    def _tensor(self, name: str) -> onnx.TensorProto:
        found: onnx.TensorProto = next(each for each in self._graph.proto.graph.initializer if each.name == name)
        return found

    def _run(self, nodes: list[onnx.NodeProto], outputs: list[str], *, keep: bool) -> list[dict[str, Array]]:
        inputs = self._graph.held_inputs(nodes)
        piece = self._piece(nodes, inputs, outputs)
        found = []
        with self._open(piece) as session:
            for held in self._held:
                made = session.run({name: held[name] for name in inputs})
                if keep:
                    held.update(made)
                else:
                    found.append(made)
        return found

    def _piece(self, nodes: list[onnx.NodeProto], inputs: list[str], outputs: list[str]) -> bytes:
        """Return a serialized model of some nodes."""
        needed = self._graph.needed(nodes)
        read = {name for node in needed for name in _reads(node)}
        proto = self._graph.proto
        graph = onnx.helper.make_graph(
            needed,
            "piece",
            [_declare(name, self._held[0][name]) for name in inputs],
            [onnx.ValueInfoProto(name=name) for name in outputs],
            [tensor for tensor in proto.graph.initializer if tensor.name in read],
        )
        model = onnx.helper.make_model(graph, opset_imports=proto.opset_import, ir_version=proto.ir_version)
        return bytes(model.SerializeToString())

    def _bound_memory(self) -> None:
        held = [sum(array.nbytes for array in each.values()) for each in self._held]
        while len(held) > 1 and sum(held) > HELD_BYTES:
            held.pop()
            self._held.pop()


def _declare(name: str, array: Array) -> onnx.ValueInfoProto:
    kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
    return onnx.helper.make_tensor_value_info(name, kind, [None, *array.shape[1:]] if array.ndim else [])
