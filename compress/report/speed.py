"""Where an engine's time goes and how near it is to the roofline, as rows and sentences."""

from collections.abc import Sequence

from compress.report.speed_record import Attribution, LayerBound, Roofline
from compress.report.units import format_bytes, format_seconds, format_share

KIND_HEAD = ("the time goes to", "nodes", "time", "share")
FLOAT_HEAD = ("stayed float", "operator", "why", "time", "share")
BOUND_HEAD = ("held back most", "operator", "precision", "takes", "bound", "limited by")

KINDS = {
    "integer": "integer layers",
    "float": "float layers",
    "reformatting": "quantizing, dequantizing and changing layouts",
    "other": "other operators, in float",
    "provider": "what the execution provider fused, without telling its layers apart",
}
REASONS = {
    "not fused": "quantized in the graph, and the runtime computes it in float all the same",
    "excluded": "left in float",
    "unsupported": "of a kind that has no integer form here",
}
_SHOWN = 5


def kind_rows(attribution: Attribution) -> list[tuple[str, str, str, str]]:
    """Return a row for every kind of work, the largest first."""
    return [
        (KINDS[kind.kind], str(kind.nodes), format_seconds(kind.seconds), format_share(kind.share))
        for kind in attribution.kinds
    ]


def float_rows(attribution: Attribution) -> list[tuple[str, str, str, str, str]]:
    """Return a row for each of the slowest layers that stayed float, and one for the rest."""
    shown, rest = attribution.float_layers[:_SHOWN], attribution.float_layers[_SHOWN:]
    rows = [
        (
            layer.name,
            layer.op,
            REASONS[layer.reason],
            "" if layer.seconds is None else format_seconds(layer.seconds),
            "" if layer.share is None else format_share(layer.share),
        )
        for layer in shown
    ]
    if rest:
        seconds, share = sum(layer.seconds or 0.0 for layer in rest), sum(layer.share or 0.0 for layer in rest)
        rows.append((f"{len(rest)} more", "", "", format_seconds(seconds), format_share(share)))
    return rows


def rank_layers(layers: Sequence[LayerBound]) -> list[LayerBound]:
    """Return the layers whose time is known, the one that loses most time against its bound first."""
    timed = [layer for layer in layers if layer.seconds is not None]
    return sorted(timed, key=lambda layer: layer.bound_seconds - (layer.seconds or 0.0))


def bound_rows(roofline: Roofline) -> list[tuple[str, str, str, str, str, str]]:
    """Return a row for each of the layers that lose most time against their bounds."""
    return [
        (
            layer.name,
            layer.op,
            layer.precision,
            format_seconds(layer.seconds or 0.0),
            format_seconds(layer.bound_seconds),
            "arithmetic" if layer.limited_by == "compute" else "memory",
        )
        for layer in rank_layers(roofline.layers)[:_SHOWN]
    ]


def describe_rates(roofline: Roofline) -> str:
    """Return the device's rates in words."""
    peaks = ", ".join(f"{name} {rate / 1e9:.0f} GOPS" for name, rate in roofline.operations_per_second.items())
    memory = ", ".join(
        f"{format_bytes(level.bytes)} at {level.bytes_per_second / 1e9:.1f} GB/s" for level in roofline.bandwidths
    )
    return f"Rates: {peaks}; memory: {memory} ({roofline.source.removesuffix('.')})."
