"""What people read of one target: rows of original against compressed, as text, for every kind of output."""

from dataclasses import dataclass

from compress.errors import ExitCode
from compress.report.record import Accuracy, Fidelity, Latency, PeakMemory, Size, TargetRecord, VerdictRecord
from compress.report.speed_record import Energy
from compress.report.units import (
    format_bytes,
    format_fraction,
    format_joules,
    format_points,
    format_ratio,
    format_seconds,
    format_value,
)

NOT_MEASURED = "not measured"
DIFFERENCE = "difference (95 % interval)"
"""Head of the last column; intervals are at this level until policies can choose another."""

_OUTCOMES = {
    ExitCode.PASS: "PASS",
    ExitCode.ACCURACY: "FAIL: accuracy",
    ExitCode.LATENCY: "FAIL: latency",
    ExitCode.SIZE: "FAIL: size, memory or energy",
    ExitCode.TARGET: "FAIL: the target cannot be built or reached here",
}
_UNDECIDED = {"inconclusive": "INCONCLUSIVE", "unmeasured": "NOT MEASURED"}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the comparison; a cell may be empty."""

    what: str
    original: str
    compressed: str
    difference: str


def name_outcome(verdict: VerdictRecord) -> str:
    """Return the verdict in capital words, with what failed: ``"FAIL: latency"``."""
    code = verdict.exit_code
    return _UNDECIDED.get(verdict.status, "") or _OUTCOMES.get(code, code.name)


def name_compressed(target: TargetRecord) -> str:
    """Return what to call the compressed engine: ``INT8`` where a node of it computes so."""
    return "INT8" if target.engine is not None and target.engine.nodes.get("int8", 0) > 0 else "compressed"


def compare_rows(target: TargetRecord) -> tuple[Row, ...]:
    """Return the rows of a target: accuracy, outputs, latency, size, memory, energy; what nobody measured says so."""
    return (
        *_accuracy_rows(target.accuracy),
        *_fidelity_rows(target.fidelity),
        *_latency_rows(target.latency, _absent_latency(target.device.measured_on)),
        *_size_rows(target.size),
        *_memory_rows(target.memory),
        *_energy_rows(target.energy),
    )


def _accuracy_rows(accuracy: Accuracy | None) -> tuple[Row, ...]:
    if accuracy is None:
        return (Row("accuracy", "", "", f"{NOT_MEASURED} (no labelled samples)"),)
    low, high = accuracy.interval
    if accuracy.unit == "fraction":
        before, after = format_fraction(accuracy.baseline), format_fraction(accuracy.compressed)
        drop = f"drop {format_points(accuracy.drop)} points ({format_points(low)} to {format_points(high)})"
    else:
        before, after = format_value(accuracy.baseline), format_value(accuracy.compressed)
        ends = f"{format_value(low, signed=True)} to {format_value(high, signed=True)}"
        drop = f"drop {format_value(accuracy.drop, signed=True)} ({ends})"
    simulated = accuracy.measured_on == "simulated"
    return (Row(f"{accuracy.metric} (simulated)" if simulated else accuracy.metric, before, after, drop),)


def _fidelity_rows(fidelity: Fidelity | None) -> tuple[Row, ...]:
    if fidelity is None:
        return ()
    stated = describe_fidelity(fidelity)
    return (Row("outputs", "", "", f"{stated}, made-up samples" if fidelity.synthetic else stated),)


def describe_fidelity(fidelity: Fidelity) -> str:
    """Return a fidelity in words: ``"SQNR 24.1 dB, agreement 97.20 %"``."""
    if fidelity.sqnr_db is None:
        return "equal"
    sqnr = f"SQNR {fidelity.sqnr_db:.1f} dB"
    return sqnr if fidelity.agreement is None else f"{sqnr}, agreement {format_fraction(fidelity.agreement)}"


def _absent_latency(measured_on: str | None) -> str | None:
    """Return why there is no latency, or None where nobody asked for one."""
    if measured_on is None:
        return "no device"
    return "emulated" if measured_on.startswith("emulated:") else None  # a board tells why in the notes


def _latency_rows(latency: Latency | None, why: str | None) -> tuple[Row, ...]:
    if latency is None:
        absent = NOT_MEASURED if why is None else f"{NOT_MEASURED} ({why})"
        return (Row("latency", "", "", absent),)
    low, high = latency.interval
    if high < 1:
        slower = format_ratio(1 / latency.speedup)
        ratio = f"{slower} slower ({format_ratio(1 / high)} to {format_ratio(1 / low)})"
    else:
        word = "faster" if low > 1 else "as fast"
        ratio = f"{format_ratio(latency.speedup)} {word} ({format_ratio(low)} to {format_ratio(high)})"
    before, after = latency.baseline, latency.compressed
    return (
        Row("latency p50", format_seconds(before.p50), format_seconds(after.p50), ratio),
        Row("latency p99", format_seconds(before.p99), format_seconds(after.p99), ""),
    )


def _size_rows(size: Size | None) -> tuple[Row, ...]:
    if size is None:
        return ()
    ratio = f"{format_ratio(size.compressed / size.baseline)} the size" if size.baseline else ""
    return (Row("size", format_bytes(size.baseline), format_bytes(size.compressed), ratio),)


def _memory_rows(memory: PeakMemory | None) -> tuple[Row, ...]:
    if memory is None:
        return ()
    before, after = memory.baseline_peak, memory.compressed_peak
    ratio = f"{format_ratio(after / before)} the memory" if before else ""
    return (Row("peak memory", format_bytes(before), format_bytes(after), ratio),)


def describe_memory(memory: PeakMemory | None) -> tuple[str, ...]:
    """Return a sentence about how the peaks were measured, none where they were not."""
    return () if memory is None or not memory.method else (f"Peak memory: {memory.method}.",)


def _energy_rows(energy: Energy | None) -> tuple[Row, ...]:
    """Return power, energy and throttling of a device that tells them; nothing for one that does not."""
    if energy is None:
        return ()
    rows = []
    if energy.compressed_watts is not None:
        rows.append(Row("power", _watts(energy.baseline_watts), _watts(energy.compressed_watts), ""))
    if energy.compressed_joules is not None:
        before, after = energy.baseline_joules, energy.compressed_joules
        less = f"{format_ratio(before / after)} less" if before else ""
        rows.append(
            Row("energy an inference", "" if before is None else format_joules(before), format_joules(after), less)
        )
    if energy.throttled:
        rows.append(Row("THROTTLED", "", "", ", ".join(energy.throttled)))
    return tuple(rows)


def _watts(watts: float | None) -> str:
    return "" if watts is None else f"{watts:.3g} W"


def describe_attempts(target: TargetRecord) -> tuple[str, ...]:
    """Return a sentence about each attempt of the recipe, none where there was one only."""
    sentences = []
    for attempt in target.attempts:
        lost = "accuracy not measured"
        if attempt.drop is not None and target.accuracy is not None:
            points = target.accuracy.unit == "fraction"
            lost = f"drop {format_points(attempt.drop)} points" if points else f"drop {format_value(attempt.drop)}"
        near = "" if attempt.sqnr_db is None else f", SQNR {attempt.sqnr_db:.1f} dB"
        kept = ", kept" if attempt.kept else ""
        sentences.append(f"Attempt {' → '.join(attempt.steps) or 'float'}: {lost}{near}{kept}.")
    return tuple(sentences)
