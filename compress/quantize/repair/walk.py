"""A walk through a quantized graph, layer by layer, that holds the activations of all samples in between."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import onnx

from compress.data.samples import Array
from compress.quantize.repair.open_graph import OpenGraph, reads
from compress.runtimes import Session

OpenPiece = Callable[[bytes], Session]
"""Opens a session of a serialized piece of the graph."""

HELD_BYTES = 256 << 20
"""Activations that are held at once; where those of all samples are more, the last samples are left out."""


class Walk:
    """Runs a quantized graph in pieces, in the runtime's own integer kernels.

    A piece goes from one stop to the next; between pieces the activations of all samples are held, as integers where
    they are quantized. So each layer is computed once, however many stops there are, and a layer that was changed
    at its stop is seen changed by all that follow.
    """

    def __init__(self, graph: OpenGraph, open_piece: OpenPiece, batches: Sequence[Mapping[str, Array]]) -> None:
        """Start at the inputs.

        Args:
            graph: The quantized graph; its constants may be changed between pieces.
            open_piece: How to run a piece of it.
            batches: Inputs of all samples, by name.
        """
        self._graph = graph
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

    def inputs(self, stop: str) -> Iterator[Array]:
        """Yield what the node where the walk stands reads first, for each batch, dequantized."""
        node = self._graph.node(stop)
        name = node.input[0]
        if name in self._held[0]:
            yield from (held[name] for held in self._held)
        else:
            yield from (found[name] for found in self._run([node], [name], keep=False))

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
        read = {name for node in needed for name in reads(node)}
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
