"""The comparison of two reports as data: schema ``compress.diff/1``; seconds, bytes and fractions as in the reports."""

from typing import Annotated, Final, Literal

from pydantic import Field, JsonValue

from compress.errors import ExitCode
from compress.report.base import ADDED_LATER, Fraction, Record
from compress.report.record import Sha256, Status

SCHEMA: Final = "compress.diff/1"

Word = Literal["better", "worse", "no sure difference", "about equal", "equal", "no interval", "not comparable"]
"""What a change means: surely one way or the other, or not surely so; ``equal`` where it is the same to the bit,
``about equal`` where it is known and too small to matter; ``no interval`` where both were read once, so that nobody
knows how sure the change is."""
Area = Literal["source", "data", "steps", "packages", "machine", "run"]


class Side(Record):
    """One of the two reports."""

    path: str
    created: str
    model: str
    sha256: Sha256
    version: str
    status: Status
    exit_code: ExitCode


class Change(Record):
    """A fact that is not the same in both; None where one of them does not have it.

    Attributes:
        area: What it belongs to.
        target: Whose it is; None where it is of the whole run.
        what: ``quantize.observer``, ``onnxruntime``, ``cpu`` ….
    """

    area: Area
    target: str | None
    what: str
    before: JsonValue
    after: JsonValue


class AccuracyChange(Record):
    """The accuracy of both compressed engines.

    Attributes:
        change: After minus before, in the metric's own unit: for most metrics more is better (``higher_is_better``).
        interval: Of the change; None where nothing can be said of it.
        p_value: That both are equally good (McNemar, mid-p); only for a share of the same samples.
        paired: Whether both were compared sample by sample.
        lost: Samples that only the first one got right; None for metrics that do not count samples.
        won: Samples that only the second one got right.
    """

    metric: str
    unit: Literal["fraction", "value"]
    higher_is_better: bool
    before: float
    after: float
    change: float
    interval: tuple[float, float] | None = None
    confidence: Fraction | None = None
    p_value: Fraction | None = None
    paired: bool = False
    samples: tuple[int, int]
    lost: int | None = None
    won: int | None = None
    method: str | None = None
    word: Word
    notes: tuple[str, ...] = ()


class LatencyChange(Record):
    """The latency of both compressed engines, medians in seconds.

    Attributes:
        ratio: How many times faster the second one is; below 1 it is slower. None where it means nothing.
        interval: Of the ratio.
    """

    before: float
    after: float
    ratio: float | None = None
    interval: tuple[float, float] | None = None
    confidence: Fraction | None = None
    method: str | None = None
    word: Word
    notes: tuple[str, ...] = ()


class NumberChange(Record):
    """A number without an interval: bytes, the decibels of the same outputs, a reading of memory or energy."""

    before: float | None
    after: float | None
    word: Word


class LayerChange(Record):
    """One layer, where something about it is known in either report and not the same in both.

    Attributes:
        precision: ``int8``, ``float32`` …; None where it is not known, or the layer is not there.
        sqnr_db: At the layer's output with it alone quantized.
        seconds: In one run; only where both were measured on the same machine.
        word: Whether the layer is in both.
    """

    name: str
    op: str
    word: Literal["changed", "added", "removed"]
    precision: tuple[str | None, str | None]
    sqnr_db: tuple[float | None, float | None]
    seconds: tuple[float | None, float | None]


class TargetDifference(Record):
    """Everything about one target; ``before`` or ``after`` is None where that report does not have it."""

    target: str
    before: Side | None
    after: Side | None
    accuracy: AccuracyChange | None = None
    sqnr_db: NumberChange | None = None
    latency: LatencyChange | None = None
    size: NumberChange | None = None
    memory: NumberChange | None = None
    energy: NumberChange | None = None
    layers: tuple[LayerChange, ...] = ()


class Difference(Record):
    """The whole comparison; ``changes`` are the facts behind the numbers, ``notes`` what holds for all of them."""

    schema_: Annotated[Literal["compress.diff/1"], Field(alias="schema")] = SCHEMA
    before: Side
    after: Side
    targets: tuple[TargetDifference, ...]
    changes: tuple[Change, ...]
    notes: Annotated[tuple[str, ...], ADDED_LATER] = ()

    def to_json(self) -> str:
        """Return it as JSON."""
        return self.model_dump_json(indent=2, by_alias=True) + "\n"
