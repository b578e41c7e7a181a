import numpy as np
import pytest
from small_reports import accuracy
from two_reports import hits

from compress.measure.statistics import PairedTable, mcnemar_p_value, paired_difference
from compress.report.diff.accuracy import compare_accuracy
from compress.report.diff.record import AccuracyChange
from compress.report.measurements import RawMeasurements
from compress.report.record import Accuracy


def of(raw: RawMeasurements, **changes: object) -> Accuracy:
    assert raw.compressed_score is not None
    right = float(raw.compressed_score.mean())
    return accuracy(samples=raw.samples).model_copy(update={"compressed": right, **changes})


def compare(before: RawMeasurements, after: RawMeasurements, **changes: object) -> AccuracyChange:
    found = compare_accuracy(of(before, **changes), of(after, **changes), (before, after), same_data=True)
    assert found is not None
    return found


def test_samples_are_compared_one_by_one() -> None:
    found = compare(hits(20), hits(30, first=15))
    table = PairedTable(both=955, only_baseline=25, only_compressed=15, neither=5)
    estimate = paired_difference(table)
    assert (found.paired, found.lost, found.won, found.word) == (True, 25, 15, "no sure difference")
    assert found.change == pytest.approx(-0.01)
    assert found.interval == pytest.approx((-estimate.high, -estimate.low))
    assert found.p_value == pytest.approx(mcnemar_p_value(table))


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [
        (hits(10), hits(60), "worse"),
        (hits(60), hits(10), "better"),
        (hits(10), hits(10), "equal"),
        (hits(10), hits(10, first=500), "no sure difference"),
    ],
)
def test_the_word_says_what_is_sure(before: RawMeasurements, after: RawMeasurements, word: str) -> None:
    assert compare(before, after).word == word


def test_less_error_is_better() -> None:
    rng = np.random.default_rng(0)
    first = rng.uniform(1, 2, 200).astype(np.float32)
    before, after = RawMeasurements(compressed_score=first), RawMeasurements(compressed_score=first * np.float32(0.9))
    kind = {"metric": "mse", "unit": "value", "higher_is_better": False}
    found = compare(before, after, **kind)
    assert (found.word, found.paired, found.p_value, found.lost) == ("better", True, None, None)
    assert found.interval is not None
    assert found.interval[0] < found.change < found.interval[1] < 0


def test_a_metric_of_all_samples_together_is_computed_from_their_rows() -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(0, 3, 300)
    rows = np.stack([true, true], axis=1).astype(np.float32)
    worse = rows.copy()
    worse[:60, 0] = (worse[:60, 0] + 1) % 3
    before, after = (
        RawMeasurements(compressed_score=np.ones(300, np.float32), compressed_rows=each) for each in (rows, worse)
    )
    found = compare(before, after, metric="f1")
    assert (found.word, found.paired, found.lost) == ("worse", True, None)
    named = compare(before, after, metric="python:evil:score")
    assert (named.word, named.interval) == ("not comparable", None)
    assert named.notes == ("not paired: the metric python:evil:score is code, which a report may not name",)


@pytest.mark.parametrize(
    ("after", "why"),
    [
        ("measurements/cpu.npz does not lie beside b", "not paired: measurements/cpu.npz does not lie beside b"),
        (hits(60, samples=500), "not paired: 1000 and 500 samples are stored"),
        (RawMeasurements(label=np.ones(1000, np.int32)), "not paired: the samples are stored in another order"),
        (RawMeasurements(label=hits(0).label), "not paired: no scores of single samples are stored"),
    ],
)
def test_what_cannot_be_paired_has_the_wider_interval_of_two_measurements(
    after: RawMeasurements | str, why: str
) -> None:
    records = of(hits(10)), of(hits(25))
    apart = compare_accuracy(*records, (hits(10), after), same_data=True)
    paired = compare_accuracy(*records, (hits(10), hits(25)), same_data=True)
    assert apart is not None
    assert paired is not None
    assert (apart.paired, apart.word, apart.notes) == (False, "worse", (why,))
    assert apart.interval is not None
    assert paired.interval is not None
    assert apart.interval[0] < paired.interval[0]
    assert apart.interval[1] > paired.interval[1]


def test_other_samples_say_nothing() -> None:
    found = compare_accuracy(of(hits(10)), of(hits(500)), (hits(10), hits(500)), same_data=False)
    assert found is not None
    assert (found.word, found.interval) == ("not comparable", None)
    assert "the samples are not the same" in found.notes[0]


def test_a_simulated_accuracy_beside_a_measured_one_is_said() -> None:
    raw = hits(10)
    found = compare_accuracy(of(raw), of(raw, measured_on="simulated"), (raw, raw), same_data=True)
    assert found is not None
    assert found.notes == ("the first was measured on the engine, the second simulated",)


def test_another_metric_or_none_is_no_comparison() -> None:
    raw = hits(10), hits(10)
    assert compare_accuracy(of(raw[0]), of(raw[1], metric="top5"), raw, same_data=True) is None
    assert compare_accuracy(None, of(raw[1]), raw, same_data=True) is None


@pytest.mark.parametrize(("baseline", "drop", "higher"), [(0.9, 0.1, True), (0.7, 0.1, False), (0.8, 0.0, True)])
def test_older_reports_tell_their_direction_by_the_drop(baseline: float, drop: float, higher: bool) -> None:
    raw = hits(200)
    record = of(raw, metric="python:mine:score", baseline=baseline, drop=drop, higher_is_better=None)
    found = compare_accuracy(record, record, (raw, raw), same_data=True)
    assert found is not None
    assert found.higher_is_better is higher


def test_older_reports_of_a_known_metric_need_no_drop() -> None:
    raw = RawMeasurements(compressed_score=np.linspace(1, 2, 50).astype(np.float32))
    record = of(raw, metric="mse", unit="value", baseline=1.5, drop=0.0, higher_is_better=None)
    found = compare_accuracy(record, record, (raw, raw), same_data=True)
    assert found is not None
    assert found.higher_is_better is False
