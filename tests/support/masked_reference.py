"""The graph that a cut has to equal: what would be cut is zero, and norms and means leave cut units out."""

import numpy as np
import onnx_ir as ir

from compress.model import Model
from compress.prune import surgery
from compress.prune.groups import Coupling, Cuts
from compress.prune.kept import Kept


def masked_reference(model: Model, coupling: Coupling, cuts: Cuts) -> Model:
    """Return the masked graph; normalisations over cut axes are written out with a mask of ones and zeros."""
    _, _, kept = surgery._start(model, coupling, cuts)
    masked = surgery.mask(model, coupling, cuts).copy_graph()
    before = {node.outputs[0].name: node.inputs for node in surgery.mask(model, coupling, cuts).graph.graph}
    for node in tuple(masked.graph):
        x = before[node.outputs[0].name][0] if node.inputs else None
        if x is None:
            continue
        if node.op_type.startswith("Reduce"):
            _mask_reduction(masked.graph, node, kept, x)
        elif node.op_type in ("LayerNormalization", "RMSNormalization"):
            _write_layer_norm(masked.graph, node, kept, x)
        elif node.op_type == "GroupNormalization":
            _write_group_operator(masked.graph, node, kept, x)
        elif node.op_type == "InstanceNormalization":
            _write_group_norm(masked.graph, node, kept, x)
    return Model.from_ir(masked)


class _Writer:
    """Adds nodes in front of one."""

    def __init__(self, graph: ir.Graph, before: ir.Node) -> None:
        self.graph, self.before, self.count = graph, before, 0

    def constant(self, array: np.ndarray) -> ir.Value:
        name = f"{self.before.outputs[0].name}.reference.{len(self.graph.initializers)}"
        value = ir.Value(name=name, const_value=ir.tensor(array, name=name))
        self.graph.register_initializer(value)
        return value

    def add(self, op: str, *operands: ir.Value | np.ndarray | float, **attributes: int) -> ir.Value:
        inputs = [
            each if isinstance(each, ir.Value) else self.constant(np.asarray(each, getattr(each, "dtype", np.float32)))
            for each in operands
        ]
        node = ir.node(op, inputs, attributes)
        self.count += 1
        node.outputs[0].name = f"{self.before.outputs[0].name}.{op}.{self.count}"
        self.graph.insert_before(self.before, node)
        return node.outputs[0]


def _mask(kept: Kept, value: ir.Value, axis: int) -> np.ndarray:
    rank = len(kept.old_shape(value))
    mask = kept.mask(value, axis).astype(np.float32)
    return mask.reshape([-1 if each == axis % rank else 1 for each in range(rank)])


def _mask_reduction(graph: ir.Graph, node: ir.Node, kept: Kept, x: ir.Value) -> None:
    writer = _Writer(graph, node)
    given = node.inputs[1].const_value if len(node.inputs) > 1 and node.inputs[1] is not None else None
    axes = node.attributes.get_ints("axes", ()) if given is None else given.numpy().ravel().tolist()
    share = 1.0
    for axis in axes:
        mask = _mask(kept, x, axis)
        if not mask.all():
            node.replace_input_with(0, writer.add("Mul", node.inputs[0], mask))  # type: ignore[arg-type]
            share *= mask.size / mask.sum()
    if share != 1.0 and node.op_type == "ReduceMean":
        readers = tuple(node.outputs[0].uses())
        scaled = ir.node("Mul", [node.outputs[0], writer.constant(np.asarray(share, np.float32))])
        scaled.outputs[0].name = f"{node.outputs[0].name}.scaled"
        graph.insert_after(node, scaled)
        for user, index in readers:
            user.replace_input_with(index, scaled.outputs[0])


def _write_layer_norm(graph: ir.Graph, node: ir.Node, kept: Kept, x: ir.Value) -> None:
    writer, mask = _Writer(graph, node), _mask(kept, x, -1)
    if mask.all():
        return
    x = node.inputs[0]  # type: ignore[assignment]
    axes = np.array([-1], np.int64)
    left = writer.add("Mul", x, mask)
    if node.op_type == "LayerNormalization":
        mean = writer.add("Div", writer.add("ReduceSum", left, axes), float(mask.sum()))
        left = writer.add("Mul", writer.add("Sub", x, mean), mask)
    variance = writer.add("Div", writer.add("ReduceSum", writer.add("Mul", left, left), axes), float(mask.sum()))
    spread = writer.add("Sqrt", writer.add("Add", variance, node.attributes.get_float("epsilon", 1e-5)))
    result = writer.add("Mul", writer.add("Div", left, spread), node.inputs[1])  # type: ignore[arg-type]
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        result = writer.add("Add", result, node.inputs[2])
    _replace(graph, node, result)


def _write_group_norm(graph: ir.Graph, node: ir.Node, kept: Kept, x: ir.Value) -> None:
    """Write out an instance normalisation of [N, G, rest] whose rows are the channels of a group."""
    writer, split = _Writer(graph, node), x.producer()
    if split is None or split.op_type != "Reshape" or split.inputs[0] is None:
        return
    mask = _mask(kept, split.inputs[0], 1)
    if mask.all():
        return
    x = node.inputs[0]  # type: ignore[assignment]
    split = x.producer()
    assert split is not None
    assert split.inputs[1] is not None
    there = writer.add("Reshape", _filled(writer, split.inputs[0], mask), split.inputs[1])
    _replace(graph, node, _normalized(writer, x, there, node))


def _write_group_operator(graph: ir.Graph, node: ir.Node, kept: Kept, x: ir.Value) -> None:
    """Write out a group normalisation of [N, C, H, W]."""
    writer, mask = _Writer(graph, node), _mask(kept, x, 1)
    x = node.inputs[0]  # type: ignore[assignment]
    groups = np.array([0, node.attributes["num_groups"].as_int(), -1], np.int64)
    there = writer.add("Reshape", _filled(writer, x, mask), groups)
    result = _normalized(writer, writer.add("Reshape", x, groups), there, node)
    result = writer.add("Reshape", result, writer.add("Shape", x))
    for op, value in zip(("Mul", "Add"), node.inputs[1:], strict=True):
        result = writer.add(op, result, writer.add("Reshape", value, np.array([-1, 1, 1], np.int64)))  # type: ignore[arg-type]
    _replace(graph, node, result)


def _filled(writer: _Writer, x: ir.Value | None, mask: np.ndarray) -> ir.Value:
    """Return a mask repeated to the shape of a tensor."""
    assert x is not None
    return writer.add("Mul", writer.add("Add", writer.add("Mul", x, 0.0), 1.0), mask)


def _normalized(writer: _Writer, x: ir.Value, there: ir.Value, node: ir.Node) -> ir.Value:
    """Return rows of [N, G, rest] with mean 0 and variance 1 over what is there."""
    axes = np.array([2], np.int64)
    count = writer.add("ReduceSum", there, axes)
    mean = writer.add("Div", writer.add("ReduceSum", writer.add("Mul", x, there), axes), count)
    left = writer.add("Mul", writer.add("Sub", x, mean), there)
    variance = writer.add("Div", writer.add("ReduceSum", writer.add("Mul", left, left), axes), count)
    spread = writer.add("Sqrt", writer.add("Add", variance, node.attributes.get_float("epsilon", 1e-5)))
    return writer.add("Div", left, spread)


def _replace(graph: ir.Graph, node: ir.Node, result: ir.Value) -> None:
    for user, index in tuple(node.outputs[0].uses()):
        user.replace_input_with(index, result)
    graph.remove(node, safe=True)
