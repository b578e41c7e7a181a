"""The part of the report that says which engine is the fastest, and why it is not faster."""

from typing import Literal

from pydantic import JsonValue

from compress.report.base import Record


class Contestant(Record):
    """One way to run an engine on this machine, and how it fared in a race.

    Attributes:
        graph: The compressed graph, or the original one.
        how: Precision, execution provider and settings in words.
        options: The same as data: what :class:`compress.runtimes.engine_options.EngineOptions` holds.
        outcome: ``slower``: surely, by more than the race's margin; ``as fast``: within the margin of the winner, which
            was preferred for being simpler; ``undecided``: the race was too short to be sure of more than that;
            ``unfaithful``: its outputs are too far from what they should be; ``refused``: it could not be opened.
        seconds: Median of a call.
        ratio: Median time as a multiple of the winner's, over the rounds that both ran, with its 95 % interval.
        sqnr_db: Outputs against the original model's, on a few samples; None where they are equal or there are none.
        reason: Why it did not run.
    """

    graph: Literal["compressed", "original"]
    how: str
    options: dict[str, JsonValue]
    outcome: Literal["won", "slower", "as fast", "undecided", "unfaithful", "refused"]
    seconds: float | None = None
    ratio: float | None = None
    interval: tuple[float, float] | None = None
    rounds: int = 0
    sqnr_db: float | None = None
    reason: str | None = None


class Contest(Record):
    """The contest for the fastest engine: first graphs, precisions and providers, then the winner's settings.

    Attributes:
        engines: The first race; one of them won, unless none could run.
        settings: The second: the winner of the first, and the same with one setting changed.
        absent: What could not be had here, a sentence each.
        shipped: The engine that came out, in words.
        finding: The outcome in a sentence.
    """

    engines: tuple[Contestant, ...]
    settings: tuple[Contestant, ...]
    absent: tuple[str, ...]
    shipped: str
    finding: str
    threads: int
    batch: int
    seconds: float
