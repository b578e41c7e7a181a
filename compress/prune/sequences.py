"""Splits that exporters write as sequences of tensors, written as what they are."""

import numpy as np
import onnx_ir as ir

from compress.prune.concrete import Concrete, Shape


def write_splits(graph: ir.Graph, concrete: Concrete) -> dict[str, Shape]:
    """Replace each SplitToSequence whose parts are all read at constant places by a Split, in place.

    Returns:
        The shapes of all parts of what was replaced, by name.
    """
    shapes: dict[str, Shape] = {}
    for node in tuple(graph):
        if node.op_type == "SplitToSequence" and node.domain in ("", "ai.onnx"):
            shapes |= _write_split(graph, node, concrete)
    return shapes


def _write_split(graph: ir.Graph, node: ir.Node, concrete: Concrete) -> dict[str, Shape]:
    x = node.inputs[0]
    whole = concrete.shapes.get("" if x is None else x.name or "")
    axis = node.attributes.get_int("axis", 0)
    readers = [use.node for use in node.outputs[0].uses()]
    places = [_place(reader) for reader in readers]
    if x is None or whole is None or concrete.dynamic[x.name or ""][axis] or None in places:
        return {}
    sizes = _sizes(node, whole[axis])
    if sizes is None or node.outputs[0].is_graph_output() or any(reader.graph is not graph for reader in readers):
        return {}
    vector = ir.tensor(np.array(sizes, np.int64), name=f"{node.name}.sizes")
    held = ir.Value(name=f"{node.outputs[0].name}.sizes", const_value=vector)
    graph.register_initializer(held)
    split = ir.node("Split", [x, held], {"axis": axis}, num_outputs=len(sizes), name=node.name)
    graph.insert_before(node, split)
    shapes: dict[str, Shape] = {str(held.name): (len(sizes),)}
    for index, part in enumerate(split.outputs):
        part.name = f"{node.outputs[0].name}.{index}"
        size = list(whole)
        size[axis] = sizes[index]
        shapes[part.name] = tuple(size)
    for reader, place in zip(readers, places, strict=True):
        assert place is not None  # noqa: S101 - checked above
        part = split.outputs[place % len(sizes)]
        for user, index in tuple(reader.outputs[0].uses()):
            user.replace_input_with(index, part)
    graph.remove([*dict.fromkeys(readers), node], safe=True)
    return shapes


def _place(reader: ir.Node) -> int | None:
    """Return which part a node takes, None where it does something else or is the graph's output."""
    if reader.op_type != "SequenceAt" or reader.outputs[0].is_graph_output():
        return None
    index = reader.inputs[1]
    if index is None or index.const_value is None:
        return None
    return int(index.const_value.numpy())


def _sizes(node: ir.Node, length: int) -> list[int] | None:
    if len(node.inputs) < 2 or node.inputs[1] is None:
        return None
    constant = node.inputs[1].const_value
    if constant is None:
        return None
    given = constant.numpy()
    if given.ndim:
        return [int(size) for size in given]
    step = int(given)
    return [min(step, length - start) for start in range(0, length, step)]
