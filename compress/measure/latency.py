"""Latency of the compressed engine beside the original, measured in turn in one run."""

import time
from collections.abc import Callable

from compress.measure.machine import Pressure, read_pressure
from compress.measure.stability import describe_instability
from compress.measure.statistics import Floats, percentile, ratio_of_medians, speed_ratio
from compress.measure.timings import Call, Clock, Limits, Timings, time_interleaved
from compress.report.record import Latency, OpenInterval, Percentiles


def measure_latency(
    baseline: Call,
    compressed: Call,
    *,
    threads: int,
    batch: int,
    limits: Limits | None = None,
    seed: int = 0,
    clock: Clock = time.perf_counter,
    pressure: Callable[[], Pressure] = read_pressure,
) -> Latency:
    """Return the latency of two calls timed in turn, each one run of an engine on one batch.

    Args:
        baseline: Runs the original once.
        compressed: Runs the compressed engine once.
        threads: That both engines use; for the report.
        batch: Samples a call; for the report.
        limits: When to stop; by default after ten seconds at the latest.
        seed: Of the bootstrap of the ratio.
        clock: Seconds; tests give their own.
        pressure: How busy the machine is; tests give their own.
    """
    limits = limits or Limits()
    timings = time_interleaved(baseline, compressed, limits=limits, seed=seed, clock=clock, pressure=pressure)
    return summarize_timings(timings, threads=threads, batch=batch, limits=limits, seed=seed)


def summarize_timings(timings: Timings, *, threads: int, batch: int, limits: Limits, seed: int) -> Latency:
    """Return the percentiles, the ratio of medians and the notes on stability of raw timings."""
    rounds = ratio_of_medians(timings.baseline, timings.compressed, seed=seed)
    ratio = speed_ratio(timings.baseline, timings.compressed, seed=seed)
    return Latency(
        baseline=_percentiles(timings.baseline),
        compressed=_percentiles(timings.compressed),
        speedup=ratio.value,
        interval=(ratio.low, ratio.high),
        threads=threads,
        batch=batch,
        notes=describe_instability(timings, rounds, limits=limits),
    )


def _percentiles(seconds: Floats) -> Percentiles:
    p50, p50_interval = _with_interval(seconds, 0.5)
    p90, p90_interval = _with_interval(seconds, 0.9)
    p99, p99_interval = _with_interval(seconds, 0.99)
    return Percentiles(
        p50=p50,
        p50_interval=p50_interval,
        p90=p90,
        p90_interval=p90_interval,
        p99=p99,
        p99_interval=p99_interval,
        runs=len(seconds),
    )


def _with_interval(seconds: Floats, share: float) -> tuple[float, OpenInterval]:
    value, low, high = percentile(seconds, share)
    return value, (low, high)
