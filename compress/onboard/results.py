"""From a board's report to what the gate judges."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from compress.board.kit import ORIGINAL_ENGINE
from compress.board.trtexec import ENGINE
from compress.data.metrics import Metric
from compress.data.samples import SampleSet
from compress.data.subset import take
from compress.devices.ssh.probe import BoardFacts, describe_board_machine, describe_system
from compress.errors import ConfigError
from compress.machine import core_count
from compress.measure.accuracy import measure_accuracy
from compress.measure.fused_layers import describe_slowest
from compress.measure.latency import summarize_timings
from compress.measure.outcomes import OutcomeCollector
from compress.measure.timings import Limits, Timings, replay_timings
from compress.measured import Measured
from compress.model import Model
from compress.report.board_record import NAME, Block, BoardReport
from compress.report.record import Accuracy, Fidelity, Latency, Size
from compress.report.speed_record import Energy
from compress.report.units import format_seconds
from compress.runtimes import Feed, open_graph
from compress.runtimes.batching import fixed_batch, in_batches
from compress.runtimes.tensorrt_profile import PROVIDER
from compress.runtimes.variants import RanNode

_BATCH: Final = 64
_MOST_ROUNDS: Final = 5000
_NO_METHOD: Final = "not measured: no tegrastats there that tells what the module draws"
_METHOD: Final = (
    "mean of the module's input rails in the measured seconds (tegrastats); what it draws idle is part of it"
)


class RecordedSession:
    """Outputs that a board computed, handed out batch by batch in the order of its samples."""

    def __init__(self, outputs: dict[str, NDArray[np.float32]]) -> None:
        self._outputs = outputs
        self._next = 0

    def run(self, feed: Feed) -> dict[str, NDArray[np.generic]]:
        """Return the outputs of the next samples, as many as the feed has."""
        start = self._next
        self._next += len(next(iter(feed.values())))
        return {name: values[start : self._next] for name, values in self._outputs.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return


@dataclass(frozen=True, slots=True)
class Judged:
    """What the outputs of a board are held against.

    Attributes:
        original: The model that came in.
        samples: The evaluation set that the kit's samples were taken from.
        metric: What to score.
        seed: Of the bootstrap.
    """

    original: Model
    samples: SampleSet
    metric: Metric
    seed: int


def measure_from_report(report: BoardReport, judged: Judged, simulated: Fidelity | None, measured_on: str) -> Measured:
    """Return what a board measured, as the report has it.

    Args:
        report: Of the board.
        judged: The original and the samples.
        simulated: The fidelity that was simulated before; kept where the board computed no samples.
        measured_on: What the report says of where it was.

    Raises:
        ConfigError: The outputs are not those of the kit's samples.
    """
    collector = OutcomeCollector(judged.metric)
    accuracy, fidelity, samples = _judge_outputs(report, judged, collector)
    latency, timings = summarize_seconds(report, judged)
    kept = fidelity or simulated
    if kept is None:
        raise ConfigError(f"{NAME} has no outputs", hint="the kit must have samples: run `compress run` again")
    facts = BoardFacts(report.host, report.board, {})
    locked = " The clocks were locked at the mode's maximum (jetson_clocks)." if report.clocks_locked else ""
    system = [line + locked for line in describe_system(report.board)]
    layers = tuple(RanNode(layer.name, "", PROVIDER, layer.seconds) for layer in report.layers or ())
    slowest = describe_slowest(layers)
    notes = (*system, *_alone(report, latency), *([slowest] if slowest else []), *map(_sentence, report.notes))
    original = report.original.bytes if report.original else len(judged.original.to_bytes())
    return Measured(
        accuracy,
        kept,
        latency,
        Size(baseline=original, compressed=report.engine.bytes),
        collector.result(samples, timings),
        describe_board_machine(facts, measured_on),
        notes,
        energy=_energy(report),
        layers=layers,
    )


def _judge_outputs(
    report: BoardReport, judged: Judged, collector: OutcomeCollector
) -> tuple[Accuracy | None, Fidelity | None, SampleSet]:
    outputs = report.arrays()
    counts = {len(values) for values in outputs.values()}
    if not outputs:
        return None, None, judged.samples
    if len(counts) != 1 or not 1 <= (count := counts.pop()) <= len(judged.samples):
        raise ConfigError(
            f"{NAME} has outputs of other samples: {sorted(len(v) for v in outputs.values())} of {len(judged.samples)}",
            hint="give the evaluation samples that the kit was made with: --data SPEC",
        )
    samples = take(judged.samples, count)
    session = open_graph(judged.original.to_bytes(), threads=core_count())
    with in_batches(session, judged.original) as first, RecordedSession(outputs) as second:
        accuracy, fidelity = measure_accuracy(
            first,
            second,
            samples,
            judged.metric,
            batch=fixed_batch(judged.original) or _BATCH,
            measured_on="engine",
            seed=judged.seed,
            collector=collector,
        )
    return accuracy, fidelity, samples


def summarize_seconds(report: BoardReport, judged: Judged) -> tuple[Latency | None, Timings | None]:
    """Return the latency of both engines; None where the board measured no two."""
    baseline, compressed = (report.seconds.get(name, ()) for name in (ORIGINAL_ENGINE, ENGINE))
    if not baseline or not compressed:
        return None, None
    rounds = min(len(baseline), len(compressed), _MOST_ROUNDS)
    timings = replay_timings(_thin(baseline, rounds), _thin(compressed, rounds))
    batch = fixed_batch(judged.original) or 1
    latency = summarize_timings(timings, threads=1, batch=batch, limits=Limits(), seed=judged.seed)
    thinned = f"; {rounds} of {len(compressed)} queries, evenly picked" if rounds < len(compressed) else ""
    note = f"trtexec on the board: copy in, compute, copy out; both engines in turn{thinned}."
    return latency.model_copy(update={"notes": (note, *latency.notes)}), timings


def _thin(seconds: Sequence[float], rounds: int) -> list[float]:
    """Return so many of the values, evenly spread, so that both engines' stand beside each other in time."""
    return [seconds[index * len(seconds) // rounds] for index in range(rounds)]


def _energy(report: BoardReport) -> Energy | None:
    mine = [block for block in report.blocks if block.engine == ENGINE]
    heat = [block.power.temperature_celsius for block in mine if block.power and block.power.temperature_celsius]
    throttled = tuple(sorted({reason for block in report.blocks for reason in block.throttled}))
    latency, original = report.latency, report.original_latency
    if latency is None or (latency.watts is None and not throttled):
        return None
    return Energy(
        baseline_joules=original.joules if original else None,
        compressed_joules=latency.joules,
        baseline_watts=original.watts if original else None,
        compressed_watts=latency.watts,
        rails=_mean_rails(mine),
        temperature_celsius=max(heat, default=None),
        throttled=throttled,
        method=_METHOD if latency.watts is not None else _NO_METHOD,
    )


def _mean_rails(blocks: Sequence[Block]) -> dict[str, float]:
    steady = [block for block in blocks if not block.throttled] or blocks
    sampled = [block.power.rails for block in steady if block.power is not None]
    names = sorted({name for rails in sampled for name in rails})
    return {name: float(np.mean([rails[name] for rails in sampled if name in rails])) for name in names}


def _alone(report: BoardReport, latency: Latency | None) -> list[str]:
    """Return the engine's latency as a sentence where there is none of the original to hold it against."""
    if latency is not None or report.latency is None:
        return []
    p50 = format_seconds(report.latency.p50)
    return [
        f"Latency of the engine alone: p50 {p50} over {report.latency.runs} queries; the original was not measured."
    ]


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."
