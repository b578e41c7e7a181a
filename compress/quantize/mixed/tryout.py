"""Tries one choice of float layers: compares its outputs for as long as it takes, and measures its latency."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from compress.data.samples import Batch, SampleSet
from compress.data.subset import take
from compress.errors import CompressError
from compress.measure.sequential import Decision, decide, plan_looks
from compress.measure.statistics import Estimate, Floats
from compress.model import Model
from compress.quantize.layers import FloatConstants, keep_float
from compress.quantize.mixed.archive import Archive, Names, Trial
from compress.quantize.mixed.goals import Goal, Outputs, agreements, classifying, powers
from compress.quantize.mixed.half import to_float16
from compress.runtimes import Session, open_graph
from compress.runtimes.batching import fixed_batch, in_batches
from compress.targets import DialectName

Clock = Callable[[], float]
MeasureLatency = Callable[[Model, Names], float]
"""Returns the latency of a model with these layers in float, relative to the original's."""

log = logging.getLogger("compress")

_BATCH = 16


@dataclass(frozen=True, slots=True)
class Reference:
    """Samples with the original's outputs; they are held in memory, so there are not many."""

    batches: Sequence[Batch]
    outputs: Sequence[Outputs]

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return sum(map(len, self.batches))


def make_reference(original: Model, samples: SampleSet, count: int, threads: int) -> Reference:
    """Return at most ``count`` samples, evenly picked, with the original's outputs."""
    size = fixed_batch(original) or min(_BATCH, count)
    batches = tuple(take(samples, min(count, len(samples))).batches(size))
    with open_graph(original.to_bytes(), threads=threads) as session:
        run = in_batches(session, original).run
        return Reference(batches, tuple(run(batch.inputs) for batch in batches))


@dataclass(frozen=True, slots=True)
class Compared:
    """What samples say of a candidate, as far as they were looked at."""

    decision: Decision
    excess: float
    sqnr_db: float | None
    agreement: float | None
    samples: int


@dataclass(frozen=True, slots=True)
class Subject:
    """The quantized model of a search.

    Attributes:
        model: As the steps before left it.
        dialect: Of the model.
        constants: Float weights and biases of its layers.
        threads: Of the sessions that outputs are compared in.
        simulate: Whether Q/DQ are computed as they are written, for a runtime that is not this machine's.
        half: Magnitudes of activations by name where layers that are not integer are float16 as far as these allow;
            None where they are float32.
    """

    model: Model
    dialect: DialectName
    constants: FloatConstants
    threads: int
    simulate: bool
    half: Mapping[str, float] | None = None

    def with_float(self, names: Names) -> Model:
        """Return the model with these layers in float."""
        model = keep_float(self.model, names, self.constants, self.dialect)
        return model if self.half is None else to_float16(model, names, self.half)


class Tryout:
    """Makes trials of one quantized model; what is in the archive is not done again."""

    def __init__(
        self,
        subject: Subject,
        reference: Reference,
        goals: Sequence[Goal],
        archive: Archive,
        measure_latency: MeasureLatency,
        *,
        limit: float | None,
        clock: Clock = time.perf_counter,
    ) -> None:
        """Make a tryout.

        Args:
            subject: The quantized model, and how to run it.
            reference: What candidates are compared with.
            goals: What candidates have to keep.
            archive: Where trials are kept.
            measure_latency: How latency is measured.
            limit: Latency above which a candidate's accuracy is of no interest; None without a limit.
            clock: Seconds; tests give their own.
        """
        self._subject, self._reference, self._goals = subject, reference, goals
        self._measure_latency, self._limit, self._clock = measure_latency, limit, clock
        self.archive = archive
        self.longest = 0.0

    def run(self, names: Names, *, always_timed: bool = False) -> Trial:
        """Return the trial of these layers in float.

        Args:
            names: Of the layers.
            always_timed: Measure the latency also of what loses too much, and fail where the model cannot be run.
        """
        known = self.archive.trials.get(names)
        if known is not None:
            return known
        start = self._clock()
        model = self._subject.with_float(names)
        try:
            latency, compared = self._measure(model, names, always_timed)
        except CompressError as error:
            if always_timed:
                raise
            # One candidate that cannot be built, or overflows, is no reason to give up the others.
            log.info("mixed: %s in float: %s", ", ".join(sorted(names)), error.message)
            latency, compared = None, None
        seconds = self._clock() - start
        self.longest = max(self.longest, seconds)
        trial = Trial(
            layers=tuple(sorted(names)),
            decision=compared.decision if compared else None,
            excess=compared.excess if compared else 0.0,
            sqnr_db=compared.sqnr_db if compared else None,
            agreement=compared.agreement if compared else None,
            samples=compared.samples if compared else 0,
            latency=latency,
            bytes=len(model.to_bytes()),
            seconds=seconds,
        )
        self.archive.add_trial(trial)
        return trial

    def _measure(self, model: Model, names: Names, always_timed: bool) -> tuple[float | None, Compared | None]:
        """Return latency and accuracy; what costs more is left out where the other one has decided already."""
        latency = None if self._limit is None else self._measure_latency(model, names)
        if latency is not None and self._limit is not None and latency > self._limit and not always_timed:
            return latency, None
        compared = self._compare(model)
        if latency is None and (compared.decision != "rejected" or always_timed):
            latency = self._measure_latency(model, names)
        return latency, compared

    def screen(self, names: Names, count: int) -> float:
        """Return the error power of the outputs, relative to the signal, on the first ``count`` samples."""
        known = self.archive.gains.get(names)
        if known is not None:
            return known
        start = self._clock()
        rows, seen = [], 0
        model = self._subject.with_float(names)
        with self._open(model) as session:
            for batch, expected in zip(self._reference.batches, self._reference.outputs, strict=True):
                rows.append(powers(expected, session.run(batch.inputs)))
                seen += len(batch)
                if seen >= count:
                    break
        sums = np.concatenate(rows).sum(axis=0)
        error = float(sums[0] / max(sums[1], np.finfo(np.float64).tiny))
        seconds = self._clock() - start
        self.longest = max(self.longest, seconds)
        self.archive.add_gain(names, error, seconds)
        return error

    def _open(self, model: Model) -> Session:
        subject = self._subject
        return in_batches(open_graph(model.to_bytes(), threads=subject.threads, simulate=subject.simulate), model)

    def _compare(self, model: Model) -> Compared:
        """Compare outputs in growing numbers of samples until the intervals decide."""
        looks = plan_looks(self._reference.samples)
        seen = _Seen(self._goals)
        decision: Decision = "undecided"
        due = 0
        with self._open(model) as session:
            for batch, expected in zip(self._reference.batches, self._reference.outputs, strict=True):
                seen.add(expected, session.run(batch.inputs), batch)
                if self._goals and seen.samples >= looks.counts[due]:
                    decision = decide(seen.excesses(looks.confidence))
                    due = sum(count <= seen.samples for count in looks.counts)
                if decision != "undecided":
                    break
        if not self._goals:
            decision = "accepted"
        excess = max((each.value for each in seen.excesses(looks.confidence)), default=0.0)
        classifies = bool(classifying(self._reference.outputs[0]))
        return Compared(decision, excess, seen.sqnr_db(), seen.agreement() if classifies else None, seen.samples)


class _Seen:
    """What was seen of a candidate so far."""

    def __init__(self, goals: Sequence[Goal]) -> None:
        self._goals = goals
        self._rows: list[list[Floats]] = [[] for _ in goals]
        self._noise: list[Floats] = []
        self._same: list[Floats] = []
        self.samples = 0

    def add(self, expected: Outputs, found: Outputs, batch: Batch) -> None:
        for name, array in found.items():
            if not np.isfinite(array).all():
                raise CompressError(f"output `{name}` is not finite", hint="keep other layers in float, or in float32")
        self._noise.append(powers(expected, found))
        self._same.append(agreements(expected, found))
        for kept, goal in zip(self._rows, self._goals, strict=True):
            kept.append(goal.rows(expected, found, batch.labels))
        self.samples += len(batch)

    def excesses(self, confidence: float) -> list[Estimate]:
        pairs = zip(self._goals, self._rows, strict=True)
        return [goal.excess(np.concatenate(kept), confidence) for goal, kept in pairs]

    def sqnr_db(self) -> float | None:
        error, signal = np.concatenate(self._noise).sum(axis=0)
        return float(10 * np.log10(max(signal, np.finfo(np.float64).tiny) / error)) if error > 0 else None

    def agreement(self) -> float:
        return float(np.concatenate(self._same).mean())
