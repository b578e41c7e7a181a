"""Every layer in one row: what INT8 costs there, how long it takes, in which precision, how near to its bound."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from compress.report.layer_record import LayerRecord
from compress.report.record import TargetRecord
from compress.report.speed import REASONS
from compress.report.speed_record import FloatLayer, LayerBound
from compress.report.units import format_seconds, format_share

ROWS_OF_A_PAGE = 4_000
"""Layers in all tables together, so that a page of many targets stays small."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What is shown, and the number that it is sorted by; None sorts last."""

    text: str
    value: float | None = None


@dataclass(frozen=True, slots=True)
class LayerRow:
    """A layer of the engine; numbers in dB, seconds, and fractions.

    Attributes:
        number: Its place in the graph, from 1.
        name: As the graph calls it.
        op: Operator.
        precision: In which the engine computes it; empty where that is not known.
        why: Why it stayed float; empty where it did not.
        sqnr_db: Of its output, it alone quantized.
        alone_sqnr_db: Of the model's outputs, it alone quantized.
        seconds: In one run.
        share: Of the time of all layers whose time is known.
        share_of_bound: How near it is to its roofline bound: 1 is as fast as the device allows.
    """

    number: int
    name: str
    op: str
    precision: str
    why: str
    sqnr_db: float | None
    alone_sqnr_db: float | None
    seconds: float | None
    share: float | None
    share_of_bound: float | None

    @property
    def cells(self) -> tuple[Cell, ...]:
        """What follows the name, in the order of :data:`HEAD`."""
        return (
            Cell(self.op),
            Cell(f"{self.precision} ({self.why})" if self.why else self.precision),
            Cell(_db(self.sqnr_db), self.sqnr_db),
            Cell(_db(self.alone_sqnr_db), self.alone_sqnr_db),
            Cell("" if self.seconds is None else format_seconds(self.seconds), self.seconds),
            Cell("" if self.share is None else f"{100 * self.share:.1f} %", self.share),
            Cell("" if self.share_of_bound is None else format_share(self.share_of_bound), self.share_of_bound),
        )


HEAD = (
    ("operator", False),
    ("precision", False),
    ("SQNR here", True),
    ("SQNR of the model, it alone INT8", True),
    ("time", True),
    ("share of time", True),
    ("share of roofline", True),
)
"""Heads of the columns after the name, and whether they hold numbers."""


def join_layers(target: TargetRecord) -> list[LayerRow]:
    """Return the layers that anything is known of, in the order of the graph."""
    bounds = {} if target.roofline is None else {layer.name: layer for layer in target.roofline.layers}
    kept = {} if target.attribution is None else {layer.name: layer for layer in target.attribution.float_layers}
    noise = {layer.name: layer for layer in target.layers}
    # The roofline has every compute layer in the order of the graph, so it comes first.
    every: list[LayerBound | LayerRecord | FloatLayer] = [*bounds.values(), *noise.values(), *kept.values()]
    operators = {layer.name: layer.op for layer in every}
    rows = [
        _join(number, name, op, bounds.get(name), kept.get(name), noise.get(name))
        for number, (name, op) in enumerate(operators.items(), 1)
    ]
    total = sum(row.seconds or 0.0 for row in rows)
    if total == 0:
        return rows
    return [row if row.seconds is None else replace(row, share=row.seconds / total) for row in rows]


def select_layers(rows: Sequence[LayerRow], limit: int) -> list[LayerRow]:
    """Return at most so many layers in their order: those that take longest, where all would be too many."""
    if len(rows) <= limit:
        return list(rows)
    longest = sorted(rows, key=lambda row: -(row.seconds or 0.0))[:limit]
    return sorted(longest, key=lambda row: row.number)


def _join(
    number: int, name: str, op: str, bound: LayerBound | None, kept: FloatLayer | None, noise: LayerRecord | None
) -> LayerRow:
    seconds = None if bound is None else bound.seconds
    return LayerRow(
        number,
        name,
        op,
        precision=bound.precision if bound is not None else "int8" if kept is None else "float",
        why="" if kept is None else REASONS[kept.reason],
        sqnr_db=None if noise is None else noise.sqnr_db,
        alone_sqnr_db=None if noise is None else noise.alone_sqnr_db,
        seconds=kept.seconds if seconds is None and kept is not None else seconds,
        share=None,
        share_of_bound=None if bound is None else bound.share_of_bound,
    )


def _db(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} dB"
