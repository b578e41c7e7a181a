"""What became of the latency. The two engines did not run in turns: they were timed in two runs.

Where both were timed in turns with the same original engine, on the same machine, it is the yardstick: the ratio of the
two speed-ups, in which cancels out what made one of the runs slow as a whole. Otherwise the medians are compared as
they are.
"""

from typing import Final

from compress.measure.statistics import CONFIDENCE, Estimate, independent_ratio
from compress.report.diff.record import LatencyChange, Word
from compress.report.record import Latency, Machine, Percentiles, Report, TargetRecord
from compress.report.units import format_share

LEAST_CHANGE: Final = 0.10
"""A ratio of two runs that is nearer to 1 is no sure difference, whatever its interval: a process is as fast as the
memory that it happened to get, which no interval of one run knows. Measured: ten runs of the example, the same engine,
on a loaded machine with two cores; in 26 of the 45 pairs the interval alone would have claimed a difference, the ratios
were between 0.955 and 1.061."""
LEAST_CHANGE_ALONE: Final = 0.20
"""The same without an original in common: the medians of those pairs had ratios between 0.87 and 1.11."""

_SAME: Final = ("measured_on", "cpu", "isa", "cores", "governor", "virtual")
_RUNTIMES: Final = ("onnxruntime", "tensorrt", "tensorrt-rtx-cu13-bindings", "onnxruntime-ep-openvino")


def same_machine(before: Machine, after: Machine) -> bool:
    """Return whether times of both machines may be compared: the same device, as far as the facts tell."""
    return all(getattr(before, name) == getattr(after, name) for name in _SAME)


def compare_latency(before: TargetRecord, after: TargetRecord, reports: tuple[Report, Report]) -> LatencyChange | None:
    """Return the change from one engine's latency to another's; None where either was not measured."""
    first, second = before.latency, after.latency
    if first is None or second is None:
        return None
    change = LatencyChange(before=first.compressed.p50, after=second.compressed.p50, word="not comparable")
    why = _differences(before.device, after.device, first, second)
    if why:
        return change.model_copy(update={"notes": tuple(why)})
    if have_one_yardstick(before, after, reports):
        least, note = LEAST_CHANGE, "both against the original in the same run"
        ratio = independent_ratio(_speedup(second), _speedup(first))
    else:
        medians = _median(first.compressed), _median(second.compressed)
        if medians[0] is None or medians[1] is None:
            return change.model_copy(update={"notes": ("too few rounds for an interval",)})
        least, note = LEAST_CHANGE_ALONE, "in two runs, without an original in common"
        ratio = independent_ratio(medians[0], medians[1])
    return change.model_copy(
        update={
            "ratio": ratio.value,
            "interval": (ratio.low, ratio.high),
            "confidence": ratio.confidence,
            "method": ratio.method,
            "word": _find_word(ratio, least),
            "notes": (f"{note}; less than {format_share(least)} is not sure between two runs",),
        }
    )


def _find_word(ratio: Estimate, least: float) -> Word:
    if ratio.low > 1 and ratio.value >= 1 + least:
        return "better"
    if ratio.high < 1 and ratio.value <= 1 / (1 + least):
        return "worse"
    return "no sure difference"


def machine_differences(before: Machine, after: Machine) -> str:
    """Return which facts of two machines are not the same, with both values; empty where times may be compared."""
    names = {name: (getattr(before, name), getattr(after, name)) for name in _SAME}
    return ", ".join(f"{name.replace('_', ' ')} {a} and {b}" for name, (a, b) in names.items() if a != b)


def _differences(before: Machine, after: Machine, first: Latency, second: Latency) -> list[str]:
    found = []
    if others := machine_differences(before, after):
        found.append(f"other machines: {others}")
    if first.threads != second.threads:
        found.append(f"{first.threads} and {second.threads} threads")
    if first.batch != second.batch:
        found.append(f"batches of {first.batch} and {second.batch}")
    return found


def have_one_yardstick(before: TargetRecord, after: TargetRecord, reports: tuple[Report, Report]) -> bool:
    """Return whether the original engine was the same in both runs: the same model, the same runtime."""
    sources = {report.source.sha256 for report in reports}
    versions = {tuple(report.tool.packages.get(name) for name in _RUNTIMES) for report in reports}
    return len(sources) == 1 and len(versions) == 1 and before.runtime == after.runtime


def _speedup(latency: Latency) -> Estimate:
    low, high = latency.interval
    return Estimate(latency.speedup, low, high, CONFIDENCE, "")


def _median(percentiles: Percentiles) -> Estimate | None:
    low, high = percentiles.p50_interval
    return None if high is None else Estimate(percentiles.p50, low, high, CONFIDENCE, "")
