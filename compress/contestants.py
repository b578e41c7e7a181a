"""Who takes part in the contest for the fastest engine, who may race, and how each of them fared."""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal, cast

from compress.data.samples import Batch
from compress.errors import CompressError
from compress.measure.fidelity import FidelityMeter, Outputs
from compress.measure.race import Race, RaceLimits, race_engines
from compress.model import JsonValue, Model
from compress.report.speed_record import Contestant
from compress.runtimes import Feed, Session
from compress.runtimes.batching import in_batches
from compress.runtimes.engine_options import EngineOptions, FloatPrecision
from compress.runtimes.variants import VariantRuntime

Graph = Literal["compressed", "original"]

FLOAT_SQNR_DB: Final[dict[FloatPrecision, float]] = {"float32": 40.0, "bfloat16": 20.0}
"""How near an engine that computes a float graph must be to what the default provider computes, in dB."""
PROVIDER_LOSS_DB: Final = 2.0
"""How much less faithful a compressed graph may be on another provider than on the default one: kernels that fuse
differently round differently."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A candidate: a graph, its precision in words, its file, and how it is run."""

    graph: Graph
    precision: str
    path: Path
    options: EngineOptions

    @property
    def how(self) -> str:
        """The candidate in words."""
        return f"{self.precision} on {self.options.describe()}"


@dataclass(frozen=True, slots=True)
class Stage:
    """What every candidate meets: the inputs of the race, the samples of the check, and what counts as right.

    Attributes:
        truth: The original model's outputs for ``checked``, on the default provider.
        compressed_db: Fidelity of the compressed graph there, in dB: what others are measured against.
    """

    runtime: VariantRuntime
    original: Model
    feed: Feed
    checked: Batch
    truth: Outputs
    compressed_db: float
    scratch: Path
    seed: int

    def floor_db(self, entry: Entry) -> float:
        """Return the least fidelity with which a candidate may race.

        The compressed graph may lose a little by another provider's rounding. The original in float32 must be itself;
        in bfloat16 it must be at least as faithful as the compressed graph, or it would win by giving up accuracy.
        """
        if entry.graph == "compressed":
            return min(self.compressed_db - PROVIDER_LOSS_DB, FLOAT_SQNR_DB[entry.options.precision])
        return FLOAT_SQNR_DB["float32"] if entry.options.precision == "float32" else self.compressed_db

    @contextmanager
    def open(self, entry: Entry) -> Iterator[Session]:
        """Yield a session of a candidate that takes any batch up to the graph's own.

        Raises:
            CompressError: It cannot be opened.
        """
        session = self.runtime.open_variant(entry.path, entry.options, self.scratch)
        with in_batches(session, self.original) as opened:
            yield opened


def fidelity_db(truth: Outputs, found: Outputs, samples: int) -> float:
    """Return the SQNR of outputs in dB, infinite where they are equal.

    Raises:
        CompressError: They differ in names or shapes, or are not finite.
    """
    meter = FidelityMeter(("the original model", "this engine"))
    meter.add(truth, found, samples)
    sqnr = meter.result().sqnr_db
    return math.inf if sqnr is None else sqnr


def race_entries(
    stage: Stage, entries: Sequence[Entry], limits: RaceLimits
) -> tuple[int | None, tuple[Contestant, ...]]:
    """Return which candidate won, None where none could run, and how each one fared.

    Args:
        stage: What all of them meet.
        entries: In the order of preference: of candidates that are as fast, the first wins.
        limits: Of the race; opening and checking come on top of its seconds.
    """
    with ExitStack() as stack:
        admitted = [_admit(stage, entry, stack) for entry in entries]
        racing = [index for index, (session, _) in enumerate(admitted) if session is not None]
        if not racing:
            return None, tuple(told for _, told in admitted)
        sessions = [session for session, _ in admitted if session is not None]
        calls = [partial(session.run, stage.feed) for session in sessions]
        race = race_engines(calls, limits=limits, seed=stage.seed)
    told = [contestant for _, contestant in admitted]
    for place, index in enumerate(racing):
        told[index] = told[index].model_copy(update=_fared(race, place, limits.margin, stage.seed))
    return racing[race.winner], tuple(told)


def _admit(stage: Stage, entry: Entry, stack: ExitStack) -> tuple[Session | None, Contestant]:
    """Return the session of a candidate that may race, None for one that may not, and what is known of it so far."""
    told = Contestant(
        graph=entry.graph,
        how=entry.how,
        options=cast("dict[str, JsonValue]", asdict(entry.options)),
        outcome="undecided",
    )
    try:
        session = stack.enter_context(stage.open(entry))
        found = session.run(stage.checked.inputs)
        sqnr = fidelity_db(stage.truth, found, len(stage.checked))
    except CompressError as error:
        return None, told.model_copy(update={"outcome": "refused", "reason": error.message})
    known = {"sqnr_db": None if math.isinf(sqnr) else sqnr}
    floor = stage.floor_db(entry)
    if sqnr < floor:
        reason = f"its outputs are {sqnr:.1f} dB from the original's, and {floor:.1f} dB are the least"
        return None, told.model_copy(update={**known, "outcome": "unfaithful", "reason": reason})
    return session, told.model_copy(update=known)


def _fared(race: Race, place: int, margin: float, seed: int) -> dict[str, object]:
    lane, ratio = race.lanes[place], race.ratio(place, seed=seed)
    outcome = "undecided"
    if place == race.winner:
        outcome = "won"
    elif lane.dropped:
        outcome = "slower"
    elif ratio.value <= 1 + margin:
        outcome = "as fast"
    return {
        "outcome": outcome,
        "seconds": race.median(place),
        "ratio": ratio.value,
        "interval": (ratio.low, ratio.high),
        "rounds": len(lane.seconds),
    }
