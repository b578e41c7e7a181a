"""The roofline: how fast an engine of this graph could be at best, how near it is, and which layers hold it back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from compress.measure.attribution import LayerRun
from compress.measure.cost import LayerCost, count_cost
from compress.measure.peaks import Rates
from compress.model import Model
from compress.precision import COMPUTE, precision_of
from compress.report.speed import rank_layers
from compress.report.speed_record import Bandwidth, Bound, LayerBound, Roofline
from compress.report.units import format_seconds, format_share

_BYTES: Final = {"int8": 1, "bfloat16": 2, "float16": 2}
"""Bytes of an element of an activation where a layer works in that precision; float32 has four."""
_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class Work:
    """What one layer has to do at least.

    Attributes:
        operations: 2 for each multiply-accumulate.
        bytes: Its weights and activations, each moved once, in the layer's own precision.
    """

    name: str
    op: str
    precision: str
    operations: int
    bytes: int


def count_work(model: Model, *, batch: int, sizes: Mapping[str, int], floats: str = "float32") -> tuple[Work, ...]:
    """Return the work of every compute layer; all other operators could be fused into one of them, and count nothing.

    Args:
        model: The graph that the engine runs.
        batch: Samples a call.
        sizes: Sizes of other named dimensions.
        floats: In which precision the engine computes what is not quantized.
    """
    nodes = [node for node in model.graph.graph if node.op_type in COMPUTE]
    costs = [cost for cost in count_cost(model, batch, sizes) if cost.op in COMPUTE]
    return tuple(_work(cost, precision_of(node), floats) for node, cost in zip(nodes, costs, strict=True))


def _work(cost: LayerCost, precision: str, floats: str) -> Work:
    precision = floats if precision == "float32" else precision
    moved = cost.activation_bytes * _BYTES.get(precision, 4) // 4
    # Weights are counted as they are stored; an integer layer's are integers already.
    weights = cost.weight_bytes if precision == "int8" else cost.weight_bytes * _BYTES.get(precision, 4) // 4
    return Work(cost.name, cost.op, precision, 2 * cost.macs, moved + weights)


def bound_layers(
    work: Sequence[Work], rates: Rates, runs: Sequence[LayerRun] = (), *, seconds: float | None = None
) -> tuple[Bound, Roofline] | None:
    """Return the bound of an engine and what it rests on; None without anything to compute, or without a peak for it.

    A layer takes at least as long as its arithmetic at the peak rate, and as its bytes at the bandwidth of the cache
    that all of them would fit into.

    Args:
        work: Of every compute layer.
        rates: Of the device.
        runs: What ran each layer, where that is known.
        seconds: Measured latency of a call.

    Source: S. Williams, A. Waterman, D. Patterson, "Roofline: an insightful visual performance model for multicore
        architectures", CACM 52 (2009), 65-76.
    """
    if not work or any(layer.precision not in rates.operations_per_second for layer in work):
        return None
    measured = {run.node.name or "": run.ran.seconds for run in runs if run.ran is not None}
    layers = tuple(_bound_layer(layer, rates, measured.get(layer.name)) for layer in work)
    total = sum(layer.bound_seconds for layer in layers)
    by_compute = sum(layer.bound_seconds for layer in layers if layer.limited_by == "compute")
    limited_by: Literal["compute", "memory"] = "compute" if by_compute >= total / 2 else "memory"
    share = None if seconds is None or seconds <= 0 else min(1.0, total / seconds)
    return Bound(seconds=total, limited_by=limited_by, share_of_bound=share), Roofline(
        operations_per_second=dict(rates.operations_per_second),
        bandwidths=tuple(Bandwidth(bytes=size, bytes_per_second=rate) for size, rate in rates.bandwidths),
        source=rates.source,
        layers=layers,
        finding=_state_finding(layers, total, limited_by, share),
    )


def _bound_layer(work: Work, rates: Rates, seconds: float | None) -> LayerBound:
    compute = work.operations / rates.operations_per_second[work.precision]
    memory = work.bytes / rates.bytes_per_second(work.bytes)
    bound = max(compute, memory)
    return LayerBound(
        name=work.name,
        op=work.op,
        precision=work.precision,
        bound_seconds=bound,
        limited_by="compute" if compute >= memory else "memory",
        seconds=seconds,
        share_of_bound=None if seconds is None or seconds <= 0 else min(1.0, bound / seconds),
    )


def _state_finding(
    layers: Sequence[LayerBound], total: float, limited_by: Literal["compute", "memory"], share: float | None
) -> str:
    kind = "arithmetic" if limited_by == "compute" else "memory bandwidth"
    if share is None:
        return (
            f"Roofline bound, not a latency: no engine of this graph can take less than {format_seconds(total)}"
            f" on the device, limited by {kind}; nobody measured how long one takes."
        )
    sentence = f"No engine of this graph is faster than {format_seconds(total)} here, limited by {kind}"
    sentence += f"; this one reaches {format_share(share)} of that bound"
    worst = [
        f"`{layer.name}` ({format_seconds(layer.seconds or 0.0)} where {format_seconds(layer.bound_seconds)} would do)"
        for layer in rank_layers(layers)[:_NAMED]
    ]
    return f"{sentence}; held back most by {', '.join(worst)}." if worst else f"{sentence}."
