"""Where INT8 loses accuracy, for people: the noisiest layers as a table and in words."""

from collections.abc import Sequence
from typing import Final

from compress.report.layer_record import Channel, LayerRecord
from compress.report.record import Step

WORST: Final = 3
"""Layers that are described in words."""
SHOWN: Final = 10
"""Layers in the table; all of them are in ``report.json``."""
_STANDS_OUT: Final = 4.0
"""A channel with this many times the median's range takes two bits from the others."""

HEAD: Final = ("layer", "own SQNR", "weight", "inputs", "output", "the model, it alone INT8", "gain without INT8")

_CURES: Final = {
    "equalize": "cross-layer equalization",
    "bias_correction": "bias correction",
    "smooth": "scale migration",
    "rounding": "compensated rounding",
}
"""Settings of the step `quantize` that repair, and what they are called."""
_LATER: Final = {"mixed": "layers kept in float", "qat": "quantization-aware training"}


def worst_layers(layers: Sequence[LayerRecord], count: int) -> tuple[LayerRecord, ...]:
    """Return the layers that cost most: those measured by the model's outputs first, then by their own noise."""

    def rank(layer: LayerRecord) -> tuple[bool, float]:
        sqnr = layer.sqnr_db if layer.alone_sqnr_db is None else layer.alone_sqnr_db
        return layer.alone_sqnr_db is None, float("inf") if sqnr is None else sqnr

    return tuple(sorted(layers, key=rank)[:count])


def layer_rows(layers: Sequence[LayerRecord]) -> tuple[tuple[str, ...], ...]:
    """Return the rows below :data:`HEAD` for the noisiest layers."""
    return tuple(
        (
            f"{layer.name} ({layer.op})",
            _db(layer.sqnr_db),
            _db(layer.weight_sqnr_db),
            _db(layer.input_sqnr_db),
            _db(layer.output_sqnr_db),
            _db(layer.alone_sqnr_db),
            "" if layer.gain_db is None else f"{layer.gain_db:+.1f} dB",
        )
        for layer in worst_layers(layers, SHOWN)
    )


def describe_layers(layers: Sequence[LayerRecord], steps: Sequence[Step]) -> tuple[str, ...]:
    """Return a sentence for each of the three layers that cost most, and one about what was done against it.

    Args:
        layers: Of a target.
        steps: All steps of the target, those that it shares with others too.
    """
    worst = describe_worst(layers)
    return (*worst, _describe_cures(steps)) if worst else ()


def describe_worst(layers: Sequence[LayerRecord]) -> tuple[str, ...]:
    """Return a sentence for each of the three layers that cost most."""
    return tuple(map(_describe, worst_layers([layer for layer in layers if layer.sqnr_db is not None], WORST)))


def _describe(layer: LayerRecord) -> str:
    parts = [f"The {layer.blame} of {layer.name} ({layer.op}) costs most there: {_db(_blamed(layer))}"]
    if layer.blame == "weight":
        parts += _stands_out(layer.weight_outlier, "input channel", "of the weight")
    elif layer.blame == "output":
        parts += _stands_out(layer.activation_outlier, "channel", "of the output")
    if layer.alone_sqnr_db is not None:
        parts.append(f"alone in INT8 it takes the model's outputs to {_db(layer.alone_sqnr_db)}")
    if layer.gain_db is not None:
        parts.append(f"without INT8 there the outputs change by {layer.gain_db:+.1f} dB")
    return f"{'; '.join(parts)}."


def _blamed(layer: LayerRecord) -> float | None:
    return {"weight": layer.weight_sqnr_db, "input": layer.input_sqnr_db, "output": layer.output_sqnr_db}.get(
        layer.blame or ""
    )


def _stands_out(channel: Channel | None, what: str, where: str) -> list[str]:
    if channel is None or channel.ratio < _STANDS_OUT:
        return []
    return [f"{what} {channel.channel} {where} is {channel.ratio:.0f}× the median one"]


def _describe_cures(steps: Sequence[Step]) -> str:
    settings = next((step.settings for step in steps if step.step == "quantize"), {})
    tried = [words for key, words in _CURES.items() if settings.get(key) not in (None, False, "none", "nearest")]
    later = [words for name, words in _LATER.items() if any(step.step == name for step in steps)]
    done = [*tried, *later]
    return f"Done about it: {', '.join(done)}." if done else "Nothing was done about it: the ranges are as calibrated."


def _db(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} dB"
