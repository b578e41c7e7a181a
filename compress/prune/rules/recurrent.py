"""LSTM, GRU and RNN: hidden units are rows of every gate, columns of the recurrence, and the initial states."""

import numpy as np
import onnx_ir as ir

from compress.prune.kept import Kept
from compress.prune.labels import Labels
from compress.prune.rules import Operator

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_STATES = (5, 6)
_PEEPHOLES = 7


def relate_recurrent(node: ir.Node, labels: Labels) -> None:
    """Relate X [seq, batch, in], W [dirs, gates·H, in], R [dirs, gates·H, H], B [dirs, 2·gates·H], states and outputs.

    A unit is the same for both directions: the output holds them in one axis each.
    """
    x, kernel, recurrence = node.inputs[:3]
    gates = _GATES[node.op_type]
    labels.equate_axes(x, 2, kernel, 2)
    labels.read(kernel, 2)
    units = labels.ids(recurrence, 2)
    labels.mark("recurrent", units)
    labels.read(recurrence, 2)
    labels.equate(np.tile(units, gates), labels.ids(kernel, 1))
    labels.equate(np.tile(units, gates), labels.ids(recurrence, 1))
    operands = dict(enumerate(node.inputs))
    if operands.get(3) is not None:
        labels.equate(np.tile(units, 2 * gates), labels.ids(operands[3], 1))
    for index in _STATES:
        if operands.get(index) is not None:
            labels.equate(units, labels.ids(operands[index], 2))
    if operands.get(_PEEPHOLES) is not None:
        labels.equate(np.tile(units, 3), labels.ids(operands[_PEEPHOLES], 1))
    for output in node.outputs:
        if output.name in labels.concrete.shapes:
            labels.equate(units, labels.ids(output, -1))


def trim_hidden_size(node: ir.Node, kept: Kept) -> None:
    """Set the number of hidden units."""
    node.attributes["hidden_size"] = ir.AttrInt64("hidden_size", kept.new_shape(node.inputs[2])[2])


OPERATORS = dict.fromkeys(_GATES, Operator(relate_recurrent, trim_hidden_size))
