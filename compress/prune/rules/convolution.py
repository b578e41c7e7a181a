"""Convolutions: plain, grouped, depthwise, transposed."""

import onnx_ir as ir

from compress.prune.kept import Kept
from compress.prune.labels import WINDOW, Ids, Labels, NoRuleError, Ragged
from compress.prune.rules import Operator


def relate_convolution(node: ir.Node, labels: Labels) -> None:
    """Relate channels of x [N, C, …], kernel [O, C/g, …], bias [O] and y [N, O, …].

    1. Without groups, columns of the kernel read the channels of x, its rows make those of y.
    2. Depthwise (one channel a group): each channel of x goes with the rows that read it.
    3. Grouped: of each group's channels the same number is cut, in x and in y.
    """
    x, kernel, y = node.inputs[0], node.inputs[1], node.outputs[0]
    _relate_outer(node, labels)
    labels.equate_axes(y, 1, kernel, 0)
    groups, columns = _groups(node), labels.shape(kernel)[1]
    channels = labels.ids(x, 1)
    if groups == 1:
        labels.equate(channels, labels.ids(kernel, 1))
        labels.read(kernel, 1)
    elif columns == 1:
        labels.equate(channels.repeat(labels.shape(y)[1] // groups), labels.ids(y, 1))
    else:
        labels.blocks += [channels.reshape(groups, columns), labels.ids(y, 1).reshape(groups, -1)]
        _add_ragged(labels, kernel, channels.reshape(groups, columns))


def relate_transposed(node: ir.Node, labels: Labels) -> None:
    """Relate channels of x [N, C, …], kernel [C, O/g, …], bias [O] and y [N, O, …]; groups as in a convolution."""
    x, kernel, y = node.inputs[0], node.inputs[1], node.outputs[0]
    _relate_outer(node, labels)
    labels.equate_axes(x, 1, kernel, 0)
    groups, columns = _groups(node), labels.shape(kernel)[1]
    channels = labels.ids(y, 1)
    if groups == 1:
        labels.equate(channels, labels.ids(kernel, 1))
        labels.read(kernel, 0)
    elif groups == labels.shape(x)[1]:
        if columns > 1:
            labels.ids(kernel, 1)
            labels.pin(labels.ids(kernel, 1), "is what each channel is spread over")
        labels.equate(labels.ids(x, 1).repeat(columns), channels)
    else:
        labels.blocks += [channels.reshape(groups, columns), labels.ids(x, 1).reshape(groups, -1)]
        _add_ragged(labels, kernel, channels.reshape(groups, columns))
        labels.read(kernel, 0)


def trim_groups(node: ir.Node, kept: Kept) -> None:
    """Set the number of groups where each channel is a group of its own."""
    groups = _groups(node)
    if groups > 1 and groups == kept.old_shape(node.inputs[0])[1]:
        node.attributes["group"] = ir.AttrInt64("group", kept.new_shape(node.inputs[0])[1])


def _groups(node: ir.Node) -> int:
    return node.attributes.get_int("group", 1)


def _relate_outer(node: ir.Node, labels: Labels) -> None:
    x, kernel, y = node.inputs[0], node.inputs[1], node.outputs[0]
    labels.equate_axes(x, 0, y, 0)
    for axis in range(2, len(labels.shape(kernel))):
        labels.pin(labels.ids(kernel, axis), WINDOW)
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        labels.equate_axes(node.inputs[2], 0, y, 1)


def _add_ragged(labels: Labels, kernel: ir.Value | None, columns: Ids) -> None:
    source = _kernel_source(kernel)
    labels.pin(labels.ids(kernel, 1), "is shared by the groups of a convolution")
    labels.ragged.append(Ragged(str(source.name), columns))


def _kernel_source(kernel: ir.Value | None) -> ir.Value:
    """Return the initializer that holds a kernel: itself or what is dequantized with one scale or one a row."""
    if kernel is not None and kernel.is_initializer():
        return kernel
    producer = None if kernel is None else kernel.producer()
    if producer is None or producer.op_type != "DequantizeLinear" or producer.attributes.get_int("axis", 1) != 0:
        raise NoRuleError
    return _kernel_source(producer.inputs[0])


OPERATORS = {
    "Conv": Operator(relate_convolution, trim_groups),
    "ConvTranspose": Operator(relate_transposed, trim_groups),
}
