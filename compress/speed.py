"""Is it really faster, and could it be faster still: where an engine's time goes, how near the roofline it is."""

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from compress.data.samples import SampleSet
from compress.engines import Engines
from compress.errors import CompressError
from compress.measure.attribution import LayerRun, attribute_time, match_layers
from compress.measure.fused_layers import match_fused
from compress.measure.peaks import Rates, measure_rates, rates_of
from compress.measure.roofline import bound_layers, count_work
from compress.measured import Measured
from compress.options import Plan
from compress.quantize.dialects import DIALECTS
from compress.report.speed_record import Attribution, Bound, Roofline
from compress.runtimes import Feed
from compress.runtimes.batching import fixed_batch
from compress.runtimes.engine_options import EngineOptions
from compress.runtimes.variants import LayerProfiler, Providers, RanNode, load_variants
from compress.steps import Progress

log = logging.getLogger("compress")

_PROFILED_RUNS = 20


@dataclass(frozen=True, slots=True)
class Speed:
    """Why an engine is as fast as it is; None where that could not be found out."""

    attribution: Attribution | None = None
    bound: Bound | None = None
    roofline: Roofline | None = None


def explain_speed(engines: Engines, measured: Measured, samples: SampleSet, plan: Plan, progress: Progress) -> Speed:
    """Return where the time of a chosen engine goes, and the bound of its graph on the device.

    The rates of the device come from its target's file, or are measured where the engine runs here. Nothing of this is
    worth losing a run: what fails is logged and left out.
    """
    task = f"{engines.target.name}: roofline"
    progress(task, 0, 1)
    feed = next(iter(samples.batches(fixed_batch(engines.original) or plan.options.batch))).inputs
    try:
        ran = _profile(engines, feed) if plan.emulated is None and plan.board is None else ()
        speed = _explain(engines, measured, feed, plan, ran)
    except CompressError as error:
        log.warning("%s: the speed cannot be explained: %s", engines.target.name, error.message)
        speed = Speed()
    progress(task, 1, 1)
    return speed


def _profile(engines: Engines, feed: Feed) -> tuple[RanNode, ...]:
    """Return what runs in the engine, nothing where it cannot run here or its runtime does not tell."""
    variants = load_variants(engines.target.runtime)
    if variants is None or engines.shipped is None or not engines.available.run:
        return ()
    with tempfile.TemporaryDirectory() as folder:
        return variants.profile_packed(
            engines.compressed, engines.shipped.options, feed, Path(folder), runs=_PROFILED_RUNS
        )


def _profile_layers(engines: Engines, feed: Feed) -> tuple[RanNode, ...]:
    """Return the layers of an engine whose session times them itself, a GPU's; nothing of any other."""
    if not engines.available.run or engines.compressed.kind != "tensorrt":
        return ()
    with engines.runtime.open(engines.compressed, threads=1) as session:
        return session.profile(feed, _PROFILED_RUNS) if isinstance(session, LayerProfiler) else ()


def _explain(engines: Engines, measured: Measured, feed: Feed, plan: Plan, ran: tuple[RanNode, ...]) -> Speed:
    model, attribution = engines.shipped_model, None
    runs: tuple[LayerRun, ...] = ()
    if ran:
        attribution = attribute_time(model, ran, weighted=DIALECTS[engines.target.dialect].weighted)
        runs = match_layers(model, ran)
    layers = measured.layers or _profile_layers(engines, feed)
    if layers:
        runs = match_fused(model, layers)
    batch, sizes = _sizes(engines, feed)
    rates = rates_of(engines.target)
    if rates is None and ran:
        rates = rates_here(engines.target.runtime, plan.options.threads, plan.engine.providers)
    if rates is None:
        return Speed(attribution)
    options = engines.shipped.options if engines.shipped is not None else EngineOptions()
    work = count_work(model, batch=batch, sizes=sizes, floats=options.precision)
    seconds = measured.latency.compressed.p50 if measured.latency is not None else None
    found = bound_layers(work, rates, runs, seconds=seconds)
    return Speed(attribution) if found is None else Speed(attribution, *found)


@cache
def rates_here(runtime: str, threads: int, providers: Providers) -> Rates | None:
    """Return this machine's rates, measured once in a process; None for a runtime that has no variants.

    Args:
        runtime: Its name.
        threads: That engines use.
        providers: Which execution providers count.
    """
    variants = load_variants(runtime)
    if variants is None:
        return None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ways = variants.list_variants(threads=threads, providers=providers).options
        return measure_rates(
            lambda graph, options: variants.open_variant(graph, options, folder),
            ways,
            folder=folder,
        )


def _sizes(engines: Engines, feed: Feed) -> tuple[int, Mapping[str, int]]:
    """Return the batch of a feed, and the sizes of the other named dimensions in it."""
    named = {
        dimension: size
        for spec in engines.original.inputs
        for dimension, size in zip(spec.shape, feed[spec.name].shape, strict=True)
        if isinstance(dimension, str)
    }
    return len(next(iter(feed.values()))), named
