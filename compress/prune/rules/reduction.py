"""Operators that reduce or sort along some axes and treat the others position by position."""

from collections.abc import Callable

import onnx_ir as ir

from compress.prune.labels import Labels, NoRuleError
from compress.prune.rules import Operator, Rule

_SUMS = ("ReduceL1", "ReduceL2", "ReduceMean", "ReduceSum", "ReduceSumSquare")
_EXTREMES = ("ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMin", "ReduceProd")


def relate_reduced(node: ir.Node, labels: Labels) -> None:
    """Relate the axes that are kept; sums and means over an axis leave cut units out, extremes keep it whole."""
    x, y = node.inputs[0], node.outputs[0]
    rank = len(labels.shape(x))
    axes = _axes(node, labels, rank)
    keep = node.attributes.get_int("keepdims", 1)
    place = 0
    for axis in range(rank):
        if axis not in axes:
            labels.equate_axes(x, axis, y, axis if keep else place)
            place += 1
        elif node.op_type in _SUMS:
            labels.mark("normalized", labels.ids(x, axis))


def _axes(node: ir.Node, labels: Labels, rank: int) -> set[int]:
    if "axes" in node.attributes:
        given = list(node.attributes["axes"].as_ints())
    elif len(node.inputs) > 1 and node.inputs[1] is not None:
        given = [int(axis) for axis in labels.constant(node.inputs[1]).ravel()]
    else:
        given = []
    if not given and not node.attributes.get_int("noop_with_empty_axes", 0):
        return set(range(rank))
    return {axis % rank for axis in given}


def relate_index_of_extreme(node: ir.Node, labels: Labels) -> None:
    """Relate the axes along which nothing is searched."""
    x, y = node.inputs[0], node.outputs[0]
    rank = len(labels.shape(x))
    reduced = node.attributes.get_int("axis", 0) % rank
    keep = node.attributes.get_int("keepdims", 1)
    for axis in range(rank):
        if axis != reduced:
            labels.equate_axes(x, axis, y, axis if keep or axis < reduced else axis - 1)


def _along(axis_of: Callable[[ir.Node, Labels, int], int], from_there_on: bool = False) -> Rule:
    """Return the rule of an operator that works along an axis, or from it to the last, and keeps the shape."""

    def relate(node: ir.Node, labels: Labels) -> None:
        rank = len(labels.shape(node.inputs[0]))
        whole = axis_of(node, labels, rank) % rank
        for axis in range(rank):
            if axis < whole or (axis > whole and not from_there_on):
                for output in node.outputs:
                    if output.name:
                        labels.equate_axes(node.inputs[0], axis, output, axis)

    return relate


def _last_by_default(node: ir.Node, labels: Labels, rank: int) -> int:  # noqa: ARG001 one of several
    return node.attributes.get_int("axis", -1)


def _second_by_default(node: ir.Node, labels: Labels, rank: int) -> int:  # noqa: ARG001 one of several
    return node.attributes.get_int("axis", 1)


def _constant_axis(node: ir.Node, labels: Labels, rank: int) -> int:  # noqa: ARG001 one of several
    return int(labels.constant(node.inputs[1]).ravel()[0])


def _triangle(node: ir.Node, labels: Labels, rank: int) -> int:  # noqa: ARG001 one of several
    return rank - 2


def relate_softmax(node: ir.Node, labels: Labels) -> None:
    """Keep the axis whole that probabilities sum to one along; before version 13 all axes from it on."""
    version = node.version or (node.graph.opset_imports.get("", 13) if node.graph is not None else 13)
    if version >= 13:
        _along(_last_by_default)(node, labels)
    else:
        _along(_second_by_default, from_there_on=True)(node, labels)


def relate_top(node: ir.Node, labels: Labels) -> None:
    """Keep the axis whole that is sorted."""
    if len(node.outputs) != 2:
        raise NoRuleError
    _along(_last_by_default)(node, labels)


OPERATORS = {
    **dict.fromkeys((*_SUMS, *_EXTREMES), Operator(relate_reduced)),
    **dict.fromkeys(("ArgMax", "ArgMin"), Operator(relate_index_of_extreme)),
    **dict.fromkeys(("Hardmax", "LogSoftmax", "Softmax"), Operator(relate_softmax)),
    "CumSum": Operator(_along(_constant_axis)),
    "TopK": Operator(relate_top),
    "Trilu": Operator(_along(_triangle, from_there_on=True)),
}
