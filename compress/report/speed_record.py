"""The part of the report that says which engine is the fastest, and why it is not faster."""

from typing import Literal

from pydantic import Field, JsonValue

from compress.report.base import Count, Fraction, NotNegative, Number, Positive, Record


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
    seconds: Positive | None = None
    ratio: Positive | None = None
    interval: tuple[Positive, Positive] | None = None
    rounds: Count = 0
    sqnr_db: Number | None = None
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
    threads: Count
    batch: Count
    seconds: NotNegative


class KindShare(Record):
    """How much of a run one kind of work takes; ``provider`` is what an execution provider fused and does not tell."""

    kind: Literal["integer", "float", "reformatting", "other", "provider"]
    nodes: Count
    seconds: NotNegative
    share: Fraction


class FloatLayer(Record):
    """A compute layer that the engine computes in float.

    Attributes:
        reason: ``not fused``: quantized in the graph, and the runtime computes it in float all the same; ``excluded``:
            left in float; ``unsupported``: the target's INT8 dialect has no integer form of it.
        seconds: Time in a run, with the share of all the time; None where the runtime does not tell.
    """

    name: str
    op: str
    reason: Literal["not fused", "excluded", "unsupported"]
    seconds: NotNegative | None
    share: Fraction | None


class Attribution(Record):
    """Is it really faster, and why not: from the graph that the runtime made, and from its profile.

    Attributes:
        layers: How many compute layers the graph has.
        integer_layers: How many of them run as integers.
        kinds: Where the time goes, the largest part first.
        float_layers: What stayed float, the slowest first.
    """

    finding: str
    layers: Count
    integer_layers: Count
    kinds: tuple[KindShare, ...]
    float_layers: tuple[FloatLayer, ...]


class Bound(Record):
    """The roofline bound: no engine of this graph can be faster on this device."""

    seconds: NotNegative
    limited_by: Literal["compute", "memory"]
    share_of_bound: Fraction | None


class LayerBound(Record):
    """The bound of one compute layer; ``seconds`` is what it took, None where that is not known."""

    name: str
    op: str
    precision: str
    bound_seconds: NotNegative
    limited_by: Literal["compute", "memory"]
    seconds: NotNegative | None
    share_of_bound: Fraction | None


class Bandwidth(Record):
    """How fast memory moves in a working set of at most that many bytes."""

    bytes: Count
    bytes_per_second: Positive


class Roofline(Record):
    """What the bound rests on: the device's rates, and every compute layer."""

    finding: str
    operations_per_second: dict[str, Positive]
    bandwidths: tuple[Bandwidth, ...]
    source: str
    layers: tuple[LayerBound, ...]


class Energy(Record):
    """Power of the device while the engines ran, and the energy of one inference at the batch of the latency.

    Attributes:
        baseline_joules: Of one inference of the original; None where it was not measured.
        compressed_joules: Of one inference of the engine.
        baseline_watts: Mean power of the module while the original ran.
        compressed_watts: The same for the engine.
        rails: Mean watts by power rail while the engine ran, as the board names them.
        temperature_celsius: Of the hottest sensor while the engine ran.
        throttled: What slowed the device down, in words; those runs are not part of the latency unless all were.
        method: Where the watts come from.
    """

    baseline_joules: NotNegative | None = None
    compressed_joules: NotNegative | None = None
    baseline_watts: NotNegative | None = None
    compressed_watts: NotNegative | None = None
    rails: dict[str, Number] = Field(default_factory=dict)
    temperature_celsius: Number | None = None
    throttled: tuple[str, ...] = ()
    method: str
