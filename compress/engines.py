"""The engine and its opponent: build both, measure both side by side."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from compress.data.samples import SampleSet
from compress.data.subset import take
from compress.devices.cpus import EmulatedCpu
from compress.devices.facts import describe_bounds, describe_emulated
from compress.devices.session import open_emulated
from compress.errors import TargetError
from compress.machine import core_count
from compress.measure.accuracy import measure_accuracy
from compress.measure.latency import summarize_timings
from compress.measure.outcomes import OutcomeCollector
from compress.measure.timings import Limits, Timings, time_interleaved
from compress.measured import MEMORY_METHOD, Measured
from compress.model import Model
from compress.onboard import measure_on_board
from compress.options import Plan
from compress.report.record import Latency, PeakMemory, Size
from compress.report.speed_record import Contest
from compress.runtimes import Availability, Engine, Runtime, Session, load_runtime, open_graph
from compress.runtimes.batching import fill_batch, fixed_batch, in_batches
from compress.runtimes.build_settings import DEFAULT, BuildSettings
from compress.runtimes.engine_options import EngineOptions
from compress.runtimes.tensorrt_profile import TimedOnGpu, describe_gpu
from compress.runtimes.variants import describe_feed, load_variants
from compress.steps import Progress
from compress.targets import Target

log = logging.getLogger("compress")

_BATCH_BYTES = 16 << 20
_MAX_BATCH = 64
_EMULATED_BATCH = 8
_EMULATED_SAMPLES = 64


@dataclass(frozen=True, slots=True)
class Engines:
    """The compressed engine, and the original model as the same runtime would run it.

    Attributes:
        model: The compressed model.
        compressed: The engine in its folder: the compressed graph, or what the contest chose.
        shipped: What the contest chose; None before it, and for a runtime that has one way to run an engine.
        baseline: None where the runtime only made a build kit.
    """

    target: Target
    original: Model
    model: Model
    runtime: Runtime
    available: Availability
    compressed: Engine
    baseline: Engine | None
    shipped: "Shipped | None" = None
    contest: Contest | None = None

    @property
    def shipped_model(self) -> Model:
        """The graph that the engine runs."""
        return self.original if self.shipped is not None and self.shipped.graph == "original" else self.model


@dataclass(frozen=True, slots=True)
class Shipped:
    """What the contest for the fastest engine came to: which graph is the engine, and how it is run."""

    graph: Literal["compressed", "original"]
    options: EngineOptions


def build_engines(
    original: Model,
    compressed: Model,
    target: Target,
    folder: Path,
    progress: Progress,
    settings: BuildSettings = DEFAULT,
) -> Engines:
    """Return the engines of the compressed model, in the folder, and of the original, in one beside it.

    Raises:
        TargetError: The runtime cannot build here, or its compiler refuses the graph.
    """
    task = f"{target.name}: build"
    progress(task, 0, 2)
    runtime = load_runtime(target.runtime)
    engine = runtime.build(compressed, target, _made(folder), settings)
    progress(task, 1, 2)
    baseline = None
    if engine.kind != "build-kit":
        # The original is in float32, which an accelerator beside the GPU does not compute.
        plain = replace(settings, dla=False)
        baseline = runtime.build(original, target, _made(folder.with_name(f"{folder.name}-original")), plain)
    progress(task, 2, 2)
    for line in engine.log:
        log.info("%s: %s", target.runtime, line)
    return Engines(target, original, compressed, runtime, runtime.available(target), engine, baseline)


def _made(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


def measure_engines(engines: Engines, samples: SampleSet, plan: Plan, progress: Progress) -> Measured:
    """Return accuracy, fidelity, latency, size and peak memory of a pair of engines.

    Where the engine cannot run here, accuracy is simulated on its ONNX graph and latency is not measured.
    """
    if plan.emulated is not None:
        return _measure_emulated(engines, plan.emulated, samples, plan, progress)
    if plan.board is not None:
        return measure_on_board(plan.board, engines.compressed, engines.original, samples, plan, progress)
    task = f"{engines.target.name}: accuracy"
    batch = fixed_batch(engines.original) or _batch_size(samples)
    measured_on: Literal["engine", "simulated"] = "engine" if _runs_here(engines) else "simulated"
    collector = OutcomeCollector(plan.metric)
    original, compressed = _open_pair(engines, core_count())
    with in_batches(original, engines.original) as first, in_batches(compressed, engines.original) as second:
        accuracy, fidelity = measure_accuracy(
            first,
            second,
            samples,
            plan.metric,
            batch=batch,
            measured_on=measured_on,
            seed=plan.options.seed,
            progress=lambda done, total: progress(task, done, total),
            collector=collector,
        )
    latency, timings = _time_engines(engines, samples, plan, progress) if _runs_here(engines) else (None, None)
    raw = collector.result(samples, timings)
    memory, notes = _measure_memory(engines, samples, plan, progress) if _runs_here(engines) else (None, ())
    return Measured(accuracy, fidelity, latency, _sizes(engines), raw, notes=notes, memory=memory)


def _measure_emulated(
    engines: Engines, cpu: EmulatedCpu, samples: SampleSet, plan: Plan, progress: Progress
) -> Measured:
    """Return accuracy, fidelity and size: the engine runs on the emulated CPU, the original on this one."""
    judged = take(samples, plan.options.device_samples or _EMULATED_SAMPLES)
    collector = OutcomeCollector(plan.metric)
    batch = fixed_batch(engines.original) or min(_batch_size(samples), _EMULATED_BATCH)
    original = open_graph(engines.original.to_bytes(), threads=core_count())
    compressed = open_emulated(cpu, engines.compressed.main)
    with in_batches(original, engines.original) as first, in_batches(compressed, engines.original) as second:
        accuracy, fidelity = measure_accuracy(
            first,
            second,
            judged,
            plan.metric,
            batch=batch,
            measured_on="engine",
            seed=plan.options.seed,
            progress=lambda done, total: progress(f"{engines.target.name}: accuracy on {cpu.device}", done, total),
            collector=collector,
        )
    notes = describe_bounds(cpu, compressed, len(judged), len(samples))
    return Measured(accuracy, fidelity, None, _sizes(engines), collector.result(judged), describe_emulated(cpu), notes)


def _runs_here(engines: Engines) -> bool:
    return engines.available.run and engines.baseline is not None


def _open_pair(engines: Engines, threads: int, *, as_shipped: bool = False) -> tuple[Session, Session]:
    """Return sessions of the original and of the engine; ``as_shipped`` leaves the engine the threads that it chose."""
    if engines.baseline is not None and engines.available.run:
        opened = _open_shipped(engines, None if as_shipped else threads, threads)
        return engines.runtime.open(engines.baseline, threads=threads), opened
    original = open_graph(engines.original.to_bytes(), threads=threads)
    return original, open_graph(engines.compressed.graph, threads=threads, simulate=True)


def _open_shipped(engines: Engines, threads: int | None, default: int) -> Session:
    """Return a session of the engine as it was chosen, the number of threads apart where one is given."""
    variants = load_variants(engines.target.runtime)
    if variants is None or engines.shipped is None:
        return engines.runtime.open(engines.compressed, threads=threads or default)
    options = engines.shipped.options
    return variants.open_packed(engines.compressed, replace(options, threads=threads or options.threads))


def _time_engines(engines: Engines, samples: SampleSet, plan: Plan, progress: Progress) -> tuple[Latency, Timings]:
    task = f"{engines.target.name}: latency"
    progress(task, 0, 1)
    batch = fixed_batch(engines.original) or plan.options.batch
    feed = next(iter(samples.batches(batch))).inputs
    original, compressed = _open_pair(engines, plan.options.threads, as_shipped=True)
    with in_batches(original, engines.original) as first, in_batches(compressed, engines.original) as second:
        limits, seed = Limits(seconds=plan.options.latency_seconds), plan.options.seed
        timings = time_interleaved(lambda: first.run(feed), lambda: second.run(feed), limits=limits, seed=seed)
    size = len(next(iter(feed.values())))
    latency = summarize_timings(timings, threads=plan.options.threads, batch=size, limits=limits, seed=seed)
    if isinstance(compressed, TimedOnGpu) and compressed.gpu_seconds:
        latency = latency.model_copy(update={"notes": (describe_gpu(compressed.gpu_seconds), *latency.notes)})
    progress(task, 1, 1)
    return latency, timings


def _measure_memory(
    engines: Engines, samples: SampleSet, plan: Plan, progress: Progress
) -> tuple[PeakMemory | None, tuple[str, ...]]:
    """Return the peaks of both engines, each loaded as users load it, or None and why."""
    variants = load_variants(engines.target.runtime)
    if variants is None or engines.baseline is None or engines.shipped is None:
        return None, ()
    task, fixed = f"{engines.target.name}: memory", fixed_batch(engines.original)
    progress(task, 0, 2)
    feed = fill_batch(next(iter(samples.batches(fixed or plan.options.batch))).inputs, fixed)
    plain = EngineOptions(threads=plan.options.threads)
    try:
        baseline = variants.pack_engine(engines.baseline, engines.baseline.graph, plain, describe_feed(feed))
        before = variants.measure_peak(baseline, feed)
        progress(task, 1, 2)
        after = variants.measure_peak(engines.compressed, feed)
    except TargetError as error:
        log.warning("%s: %s", engines.target.name, error.message)
        return None, (f"Peak memory was not measured: {error.message}.",)
    progress(task, 2, 2)
    return PeakMemory(baseline_peak=before, compressed_peak=after, method=MEMORY_METHOD), ()


def _batch_size(samples: SampleSet) -> int:
    first = next(iter(samples.batches(1)))
    each = sum(array.nbytes for array in first.inputs.values())
    return max(1, min(_MAX_BATCH, _BATCH_BYTES // max(each, 1)))


def _sizes(engines: Engines) -> Size:
    original = engines.baseline.size() if engines.baseline else len(engines.original.to_bytes())
    return Size(baseline=original, compressed=engines.compressed.size())
