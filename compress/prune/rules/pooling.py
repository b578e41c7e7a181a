"""Operators that work on each channel of [N, C, …] by itself."""

import onnx_ir as ir

from compress.prune.kept import Kept
from compress.prune.labels import Labels
from compress.prune.rules import Operator
from compress.prune.shapes import trim_sizes


def relate_channels(node: ir.Node, labels: Labels) -> None:
    """Relate N and C of what goes in and what comes out; places stay."""
    for output in node.outputs:
        if output.name:
            labels.equate_axes(node.inputs[0], 0, output, 0)
            labels.equate_axes(node.inputs[0], 1, output, 1)


def relate_resized(node: ir.Node, labels: Labels) -> None:
    """Relate N and C; a size that is given for a channel must be one that can be set."""
    for axis in (0, 1):
        labels.equate_axes(node.inputs[0], axis, node.outputs[0], axis)


def _trim_resize(node: ir.Node, kept: Kept) -> None:
    if len(node.inputs) > 3 and node.inputs[3] is not None and "axes" not in node.attributes:
        trim_sizes(node, 3, kept)


_POOLING = (
    *("AveragePool", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "LpPool", "MaxPool"),
    *("GridSample", "MaxRoiPool", "RoiAlign"),
)

OPERATORS = {
    **dict.fromkeys(_POOLING, Operator(relate_channels)),
    "Resize": Operator(relate_resized, _trim_resize),
    "Upsample": Operator(relate_resized),
}
