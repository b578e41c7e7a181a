import pytest
from small_reports import accuracy, cpu_target, engine, jetson_target, latency

from compress.errors import ExitCode
from compress.report.record import Fidelity, PeakMemory, Status, VerdictRecord
from compress.report.rows import Row, compare_rows, describe_fidelity, describe_memory, name_compressed, name_outcome


def test_a_measured_target_shows_both_sides_and_the_difference() -> None:
    assert compare_rows(cpu_target()) == (
        Row("top1", "92.31 %", "92.01 %", "drop +0.30 points (+0.10 to +0.50)"),
        Row("outputs", "", "", "SQNR 24.1 dB, agreement 97.20 %"),
        Row("latency p50", "4.00 ms", "2.00 ms", "2.00× faster (1.95× to 2.05×)"),
        Row("latency p99", "8.00 ms", "4.00 ms", ""),
        Row("size", "1.20 MB", "312 KB", "0.26× the size"),
    )


def test_memory_is_a_row_where_it_was_measured() -> None:
    known = PeakMemory(baseline_peak=40_000_000, compressed_peak=10_000_000, method="by weighing")
    rows = compare_rows(cpu_target().model_copy(update={"memory": known}))
    assert rows[-1] == Row("peak memory", "40.0 MB", "10.0 MB", "0.25× the memory")
    assert describe_memory(known) == ("Peak memory: by weighing.",)
    assert describe_memory(None) == describe_memory(known.model_copy(update={"method": ""})) == ()


def test_what_no_device_measured_says_so_and_simulated_accuracy_is_marked() -> None:
    assert compare_rows(jetson_target()) == (
        Row("top1 (simulated)", "92.31 %", "92.01 %", "drop +0.30 points (+0.10 to +0.50)"),
        Row("latency", "", "", "not measured (no device)"),
        Row("size", "1.20 MB", "330 KB", "0.28× the size"),
    )


def test_an_accuracy_that_is_unknown_says_why() -> None:
    target = cpu_target().model_copy(update={"accuracy": None, "latency": None, "size": None})
    assert compare_rows(target)[0] == Row("accuracy", "", "", "not measured (no labelled samples)")
    assert compare_rows(target)[-1] == Row("latency", "", "", "not measured")


def test_a_metric_that_is_no_fraction_has_no_points() -> None:
    record = accuracy(-0.25, (-0.3, -0.2), fraction=False, metric="mse")
    row = compare_rows(cpu_target().model_copy(update={"accuracy": record}))[0]
    assert row == Row("mse", "0.9231", "1.173", "drop -0.25 (-0.3 to -0.2)")


def test_an_engine_that_became_slower_is_called_so() -> None:
    record = latency(speedup=0.5, interval=(0.4, 0.8))
    row = compare_rows(cpu_target().model_copy(update={"latency": record}))[2]
    assert row.difference == "2.00× slower (1.25× to 2.50×)"


@pytest.mark.parametrize("speedup", [0.999, 1.0, 1.03])
def test_an_engine_is_not_called_faster_or_slower_where_the_interval_has_both(speedup: float) -> None:
    record = latency(speedup=speedup, interval=(0.95, 1.05))
    row = compare_rows(cpu_target().model_copy(update={"latency": record}))[2]
    assert row.difference == f"{speedup:.2f}× as fast (0.95× to 1.05×)"


def test_fidelity_in_words() -> None:
    assert describe_fidelity(Fidelity(sqnr_db=None, agreement=1.0, max_abs_error=0.0, samples=4)) == "equal"
    made_up = Fidelity(sqnr_db=10.0, agreement=None, max_abs_error=0.1, samples=4, synthetic=True)
    rows = compare_rows(cpu_target().model_copy(update={"fidelity": made_up}))
    assert rows[1].difference == "SQNR 10.0 dB, made-up samples"


def test_an_engine_is_called_int8_only_where_a_node_computes_so() -> None:
    assert name_compressed(cpu_target()) == "INT8"
    plain = engine().model_copy(update={"nodes": {"float32": 3}})
    assert name_compressed(cpu_target().model_copy(update={"engine": plain})) == "compressed"


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        ("pass", ExitCode.PASS, "PASS"),
        ("fail", ExitCode.ACCURACY, "FAIL: accuracy"),
        ("fail", ExitCode.LATENCY, "FAIL: latency"),
        ("fail", ExitCode.SIZE, "FAIL: size, memory or energy"),
        ("fail", ExitCode.TARGET, "FAIL: the target cannot be built or reached here"),
        ("inconclusive", ExitCode.UNDECIDED, "INCONCLUSIVE"),
        ("unmeasured", ExitCode.UNDECIDED, "NOT MEASURED"),
    ],
)
def test_every_verdict_has_words(status: Status, code: ExitCode, words: str) -> None:
    assert name_outcome(VerdictRecord(status=status, exit_code=code, reasons=())) == words
