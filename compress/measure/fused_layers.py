"""TensorRT's layers and those of the graph: which of them a fused one computes."""

import re
from collections.abc import Mapping, Sequence

import onnx_ir as ir

from compress.measure.attribution import LayerRun
from compress.model import Model
from compress.precision import COMPUTE
from compress.report.units import format_seconds, format_share
from compress.runtimes.variants import RanNode

_SLOWEST = 3
# TensorRT joins the names of fused nodes: "conv1 + relu1", "PWN(PWN(a), b)", "{ForeignNode[a...b]}".
_NAMES = re.compile(r"[^\s+(){}\[\],]+")


def match_fused(model: Model, ran: Sequence[RanNode]) -> tuple[LayerRun, ...]:
    """Return every compute layer of a graph with the TensorRT layer that runs it.

    None where no layer is named after it, or one is named after several compute layers: its time is not any one's.
    """
    layers = [node for node in model.graph.graph if node.op_type in COMPUTE]
    known = {layer.name: layer for layer in layers if layer.name}
    owners: dict[str, RanNode] = {}
    for node in ran:
        mine = [name for name in _NAMES.findall(node.name) if name in known]
        if len(set(mine)) == 1:
            owners.setdefault(mine[0], node)
    return tuple(LayerRun(layer, _owner(layer, owners)) for layer in layers)


def _owner(layer: ir.Node, owners: Mapping[str, RanNode]) -> RanNode | None:
    return owners.get(layer.name) if layer.name else None


def describe_slowest(ran: Sequence[RanNode]) -> str | None:
    """Return a sentence about the layers that take most of the time, or None where none was timed."""
    total = sum(node.seconds for node in ran)
    if not ran or total <= 0:
        return None
    slowest = sorted(ran, key=lambda node: -node.seconds)[:_SLOWEST]
    said = [f"`{node.name}` {format_seconds(node.seconds)} ({format_share(node.seconds / total)})" for node in slowest]
    return f"Of {len(ran)} layers TensorRT's slowest are {', '.join(said)}, timed one by one in a run of its own."
