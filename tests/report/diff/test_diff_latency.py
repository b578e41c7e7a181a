import math

import pytest
from small_reports import cpu_target, latency, machine, report

from compress.report.diff.latency import compare_latency
from compress.report.diff.record import LatencyChange
from compress.report.record import Report, Tool


def compare(
    first: dict[str, object], second: dict[str, object], reports: tuple[Report, Report] | None = None
) -> LatencyChange:
    before, after = (cpu_target().model_copy(update=changes) for changes in (first, second))
    found = compare_latency(before, after, reports or (report(), report()))
    assert found is not None
    return found


def timed(speedup: float, p99: float = 0.004, share: float = 0.01) -> dict[str, object]:
    return {"latency": latency(p99=p99, speedup=speedup, interval=(speedup * (1 - share), speedup * (1 + share)))}


@pytest.mark.parametrize(
    ("speedup", "share", "word"),
    [
        (2.0, 0.01, "no sure difference"),
        (2.18, 0.001, "no sure difference"),  # 9 % between two runs is nothing, however sure each of them is
        (2.22, 0.001, "better"),
        (1.81, 0.001, "worse"),
        (2.2, 0.2, "no sure difference"),
    ],
)
def test_the_original_in_both_runs_is_the_yardstick(speedup: float, share: float, word: str) -> None:
    found = compare(timed(2.0, share=share), timed(speedup, p99=0.008, share=share))
    assert found.word == word
    assert found.ratio == pytest.approx(speedup / 2.0)  # the second machine was half as fast as a whole
    assert found.interval is not None
    assert found.interval[0] < speedup / 2.0 < found.interval[1]
    assert found.notes[0].startswith("both against the original in the same run; less than 10 % is not sure")


def test_the_interval_of_the_ratio_joins_both() -> None:
    found = compare(timed(2.0), timed(2.0))
    assert found.interval is not None
    assert math.log(found.interval[1]) == pytest.approx(math.hypot(math.log(1.01), math.log(1 / 0.99)), rel=1e-9)


@pytest.mark.parametrize("other", ["model", "runtime"])
def test_without_an_original_in_common_the_medians_are_compared(other: str) -> None:
    second = report()
    if other == "model":
        second = second.model_copy(update={"source": second.source.model_copy(update={"sha256": "ef" * 32})})
    else:
        second = second.model_copy(update={"tool": Tool(version="0.1.0", packages={"onnxruntime": "1.32.0"})})
    found = compare(timed(2.0), timed(2.0, p99=0.008), (report(), second))
    assert found.ratio == pytest.approx(0.5)
    assert found.word == "worse"
    assert found.notes[0].startswith("in two runs, without an original in common; less than 20 % is not sure")


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"device": machine().model_copy(update={"cpu": "Another"})}, "other machines: cpu Imaginary CPU and Another"),
        ({"device": machine("emulated:x")}, "other machines: measured on this machine and emulated:x"),
        ({"latency": latency().model_copy(update={"threads": 4})}, "1 and 4 threads"),
        ({"latency": latency().model_copy(update={"batch": 8})}, "batches of 1 and 8"),
    ],
)
def test_times_of_other_machines_threads_or_batches_are_not_compared(changes: dict[str, object], note: str) -> None:
    found = compare({}, changes)
    assert (found.word, found.ratio, found.interval) == ("not comparable", None, None)
    assert found.notes == (note,)


def test_what_was_not_measured_is_no_comparison() -> None:
    assert (
        compare_latency(cpu_target(), cpu_target().model_copy(update={"latency": None}), (report(), report())) is None
    )
