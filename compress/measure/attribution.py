"""Is it really faster, and if not, why: which layers compute in integers, which stayed float, where the time goes."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import onnx_ir as ir

from compress.model import Model
from compress.precision import COMPUTE, precision_of
from compress.report.speed import KINDS, REASONS
from compress.report.speed_record import Attribution, FloatLayer, KindShare
from compress.report.units import format_share
from compress.runtimes.variants import RanNode

Kind = Literal["integer", "float", "reformatting", "other", "provider"]

_INTEGER = re.compile(r"QLinear|QGemm|QAttention|MatMulInteger|ConvInteger|DynamicQuantizeMatMul|DynamicQuantizeLSTM")
_FLOAT_COMPUTE = COMPUTE | {"FusedConv", "FusedGemm", "FusedMatMul", "MultiHeadAttention", "MatMulNBits"}
_QUANTIZING = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})
_REFORMATTING = _QUANTIZING | {"Transpose", "Cast", "ReorderInput", "ReorderOutput"}
# What ONNX Runtime adds to the name of the node that it made another one from.
_MADE_FROM = re.compile(r"(_token_\d+|_nchwc|_quant|/MatMulAddFusion|/GemmActivationFusion|/ConvActivationFusion)+$")
_PASSED_THROUGH = frozenset({"QuantizeLinear", "DequantizeLinear"})


@dataclass(frozen=True, slots=True)
class LayerRun:
    """A compute layer of the graph and the node that runs it, None where none could be found for it."""

    node: ir.Node
    ran: RanNode | None

    @property
    def is_integer(self) -> bool | None:
        """Whether an integer kernel computes it; None where that is not known."""
        return None if self.ran is None else bool(_INTEGER.match(self.ran.op))


def match_layers(model: Model, ran: Sequence[RanNode]) -> tuple[LayerRun, ...]:
    """Return every compute layer of a graph with the node that runs it.

    ONNX Runtime names a fused node after one of those that it took in, or after its output: the layer itself, or the
    activation behind it.
    """
    by_name: dict[str, RanNode] = {}
    for node in ran:
        by_name.setdefault(_MADE_FROM.sub("", node.name), node)
        by_name.setdefault(node.name, node)
    layers = [node for node in model.graph.graph if node.op_type in COMPUTE]
    return tuple(LayerRun(layer, _find(layer, by_name)) for layer in layers)


def _find(layer: ir.Node, by_name: Mapping[str, RanNode]) -> RanNode | None:
    """Return the node that runs a layer: named after it or its output, or after what follows and was taken in."""
    current: ir.Node | None = layer
    while current is not None:
        names = [name for name in (current.name, current.outputs[0].name) if name]
        found = next((by_name[name] for name in names if name in by_name), None)
        if found is not None and (current is layer or _computes(found)):
            return found
        uses = current.outputs[0].uses()
        current = next(iter(uses))[0] if len(uses) == 1 else None
        if current is not None and current.op_type in COMPUTE:
            return None
    return None


def _computes(ran: RanNode) -> bool:
    return ran.op in _FLOAT_COMPUTE or bool(_INTEGER.match(ran.op))


def attribute_time(model: Model, ran: Sequence[RanNode], *, weighted: Collection[str]) -> Attribution:
    """Return where an engine's time goes and which layers stayed float, each with the reason.

    In a graph without any quantized layer nothing *stayed* float, and none is listed.

    Args:
        model: The graph that the engine was made from.
        ran: What ran.
        weighted: Operators with a constant weight that the dialect has an integer form of.
    """
    layers = match_layers(model, ran)
    total = sum(node.seconds for node in ran) or 1.0
    kinds = _sum_kinds(ran, total)
    stayed: list[FloatLayer] = []
    if any(precision_of(layer.node) == "int8" for layer in layers):
        stayed = [_describe_float(layer, weighted, total) for layer in layers if _stayed_float(layer)]
        stayed.sort(key=lambda layer: -(layer.seconds or 0.0))
    integer = sum(layer.is_integer is True or _inside_provider(layer) for layer in layers)
    return Attribution(
        finding=_state_finding(kinds, stayed, integer, layers),
        layers=len(layers),
        integer_layers=integer,
        kinds=kinds,
        float_layers=tuple(stayed),
    )


def _inside_provider(layer: LayerRun) -> bool:
    """Return whether a quantized layer has no node of its own: the provider that took it in does not tell."""
    return layer.ran is None and precision_of(layer.node) == "int8"


def _stayed_float(layer: LayerRun) -> bool:
    return layer.is_integer is False or (layer.ran is None and precision_of(layer.node) != "int8")


def _describe_float(layer: LayerRun, weighted: Collection[str], total: float) -> FloatLayer:
    reason: Literal["not fused", "excluded", "unsupported"] = "unsupported"
    if precision_of(layer.node) == "int8":
        reason = "not fused"
    elif layer.node.op_type in weighted and _has_constant_weight(layer.node):
        reason = "excluded"
    seconds = None if layer.ran is None else layer.ran.seconds
    return FloatLayer(
        name=layer.node.name or "",
        op=layer.node.op_type,
        reason=reason,
        seconds=seconds,
        share=None if seconds is None else seconds / total,
    )


def _has_constant_weight(node: ir.Node) -> bool:
    weight = node.inputs[1] if len(node.inputs) > 1 else None
    while weight is not None and (producer := weight.producer()) is not None:
        if producer.op_type not in _PASSED_THROUGH:
            return False
        weight = producer.inputs[0]
    return weight is not None and weight.const_value is not None


def kind_of(node: RanNode) -> Kind:
    """Return what kind of work a node does."""
    if node.provider != "CPUExecutionProvider":
        return "provider"
    if _INTEGER.match(node.op):
        return "integer"
    if node.op in _FLOAT_COMPUTE:
        return "float"
    return "reformatting" if node.op in _REFORMATTING else "other"


def _sum_kinds(ran: Sequence[RanNode], total: float) -> tuple[KindShare, ...]:
    shares = []
    for kind in get_args(Kind):
        nodes = [node for node in ran if kind_of(node) == kind]
        seconds = sum(node.seconds for node in nodes)
        if nodes:
            shares.append(KindShare(kind=kind, nodes=len(nodes), seconds=seconds, share=seconds / total))
    return tuple(sorted(shares, key=lambda share: -share.seconds))


def _state_finding(
    kinds: Sequence[KindShare], stayed: Sequence[FloatLayer], integer: int, layers: Sequence[LayerRun]
) -> str:
    first, *others = [(format_share(share.share), KINDS[share.kind]) for share in kinds]
    where = ", ".join([f"{first[0]} of the time goes to {first[1]}", *(f"{share} to {kind}" for share, kind in others)])
    # Of what a provider fused it is known what is written in the graph, not what it made of it.
    how = "quantized" if any(_inside_provider(layer) for layer in layers) else "integer"
    sentence = f"{integer} of {len(layers)} compute layers are {how}; {where}"
    timed = [layer for layer in stayed if layer.share is not None]
    if timed:
        worst = timed[0]
        share = format_share(worst.share or 0.0)
        sentence += f"; of the {len(stayed)} that stayed float `{worst.name}` ({worst.op}) takes most, {share}: "
        sentence += f"it is {REASONS[worst.reason]}"
    return f"{sentence}."
