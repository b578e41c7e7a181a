"""What a report says that somebody should look at, apart from the rules of the gate: one finding for each."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from compress.report.layers import describe_worst, worst_layers
from compress.report.record import Report, TargetRecord

Level = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding.

    Attributes:
        rule: Its identifier, ``lint/…``.
        message: A sentence.
        target: Whose it is; empty where it is of the whole run.
        layer: Of the graph; empty where it is of no single one.
    """

    rule: str
    message: str
    target: str = ""
    layer: str = ""


def find_findings(report: Report) -> tuple[Finding, ...]:
    """Return the findings of a report: its data, its model, then target by target."""
    return (
        *(Finding("lint/data", _sentence(note)) for note in report.data.notes),
        *(Finding("lint/model", _sentence(note)) for note in report.source.notes),
        *(finding for target in report.targets for finding in _of_target(target)),
    )


def _of_target(target: TargetRecord) -> Iterator[Finding]:
    name = target.target
    if target.contest is not None and any(
        one.outcome == "won" and one.graph == "original" for one in target.contest.engines
    ):
        yield Finding("lint/float-is-fastest", _sentence(target.contest.finding), name)
    if target.attribution is not None:
        for layer in target.attribution.float_layers:
            if layer.reason == "not fused":
                share = "" if layer.share is None else f", which takes {100 * layer.share:.0f} % of the time"
                text = f"{layer.name} ({layer.op}) is quantized, and the runtime computes it in float{share}."
                yield Finding("lint/not-fused", text, name, layer.name)
    if target.verdict.status != "pass":
        # In a passing model there is a noisiest layer too; nobody has to look at it.
        known = [layer for layer in target.layers if layer.sqnr_db is not None]
        for layer_record, text in zip(worst_layers(known, len(known)), describe_worst(known), strict=False):
            yield Finding("lint/noisy-layer", text, name, layer_record.name)
    if target.latency is not None:
        yield from (Finding("lint/latency", _sentence(note), name) for note in target.latency.notes)
    if target.engine is not None:
        yield from (Finding("lint/engine", _sentence(note), name) for note in target.engine.notes)


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
