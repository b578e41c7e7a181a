import json

import jsonschema
import pytest
from page_reports import NASTY, full_report
from small_reports import cpu_target, jetson_target, report, step
from two_reports import hits, target_of, with_target

from compress.errors import ExitCode
from compress.report.diff.compare import compare_reports
from compress.report.diff.layers import compare_layers
from compress.report.diff.markdown import render_difference
from compress.report.diff.record import Difference
from compress.report.diff.rows import change_rows, layer_rows, summarize, target_rows
from compress.report.layer_record import LayerRecord
from compress.report.measurements import RawMeasurements
from compress.report.record import Fidelity, PeakMemory, Report, Size, TargetRecord, Tool, VerdictRecord
from compress.report.schema import schema_path
from compress.report.speed_record import Energy, LayerBound

FAILED = VerdictRecord(status="fail", exit_code=ExitCode(10), reasons=("Too much was lost.",))


def compare(before: Report, after: Report, *raw: RawMeasurements) -> Difference:
    stored = tuple({"cpu": each} for each in raw) if raw else ({}, {})
    return compare_reports(before, after, (stored[0], stored[1]), ("a", "b"))


def test_a_report_against_itself_has_no_changes() -> None:
    found = compare(report(), report())
    assert found.changes == ()
    assert [target.layers for target in found.targets] == [(), ()]
    assert summarize(found) == "The verdict is still PASS (0)."
    assert "Nothing." in render_difference(found)


def test_what_changed_is_told_with_a_word_for_each() -> None:
    before, after = hits(10), hits(60)
    second = target_of(
        after,
        verdict=FAILED,
        size=Size(baseline=1_200_000, compressed=156_000),
        fidelity=Fidelity(sqnr_db=20.12, agreement=0.9, max_abs_error=1.0, samples=1000),
    )
    found = compare(with_target(target_of(before)), with_target(second, verdict=FAILED), before, after)
    rows = {row.what: row.cells[1:] for row in target_rows(found.targets[0])}
    assert rows == {
        "verdict": ("PASS (0)", "FAIL: accuracy (10)", "", "changed"),
        "top1": ("99.00 %", "94.00 %", "-5.00 points (-6.53 to -3.81)", "worse"),
        "outputs, SQNR": ("24.1 dB", "20.1 dB", "-4.0 dB", "worse"),
        "latency p50": ("2.00 ms", "2.00 ms", "1.00× as fast (0.97× to 1.04×)", "no sure difference"),
        "size": ("312 KB", "156 KB", "0.50× the size", "better"),
    }
    assert summarize(found) == "The verdict was PASS (0) and is now FAIL: accuracy (10)."


@pytest.mark.parametrize(
    ("size", "word"), [(312_000, "equal"), (313_000, "about equal"), (309_000, "about equal"), (316_000, "worse")]
)
def test_a_size_is_worse_or_better_from_one_percent_on(size: int, word: str) -> None:
    second = cpu_target().model_copy(update={"size": Size(baseline=1_200_000, compressed=size)})
    (row,) = (row for row in target_rows(compare(report(), with_target(second)).targets[0]) if row.what == "size")
    assert (row.before, row.word) == ("312 KB", word)


def test_reports_of_two_models_say_so_before_any_number() -> None:
    def of(**source: object) -> Report:
        return report().model_copy(update={"source": report().source.model_copy(update=source)})

    assert compare(report(), report()).notes == ()
    again = compare(report(), of(sha256="ef" * 32))
    assert again.notes == (
        "The model files differ and are of one size: if one network was trained twice, that is in it too.",
    )
    other = compare(report(), of(sha256="ef" * 32, path="small.pt", parameters=1234, macs=5678))
    (note,) = other.notes
    told = "small.pt (1,234 parameters, 5,678 MACs): the differences are not those of the compression alone."
    assert note.endswith(told)
    text = render_difference(other)
    assert text.index("- The reports are of two models") < text.index("## cpu")


def test_targets_are_matched_by_name() -> None:
    found = compare(report(cpu_target()), report(jetson_target()))
    assert [(target.target, target.before is None, target.after is None) for target in found.targets] == [
        ("cpu", False, True),
        ("jetson-orin-nano", True, False),
    ]
    assert [target_rows(target)[0].word for target in found.targets] == ["removed", "added"]


def test_settings_of_steps_are_compared_wherever_they_stand() -> None:
    own = with_target(cpu_target().model_copy(update={"steps": (step("quantize"), step("qat"))}), steps=())
    shared = with_target(cpu_target().model_copy(update={"steps": (step("qat"),)}), steps=(step("quantize"),))
    assert compare(own, shared).changes == ()
    changed = step("quantize").model_copy(update={"settings": {"observer": "entropy", "percentile": None}})
    other = with_target(cpu_target().model_copy(update={"steps": (changed,)}), steps=())
    rows = change_rows(compare(own, other).changes)
    assert ("recipe", "order", '["quantize", "qat"]', '["quantize"]') in rows
    assert ("recipe", "quantize.observer", "mse", "entropy") in rows
    assert ("recipe", "qat.observer", "mse", "–") in rows


def test_versions_data_model_and_machine_are_told() -> None:
    before = report()
    second = jetson_target().model_copy(update={"device": before.targets[0].device})
    after = report(cpu_target(), second).model_copy(
        update={
            "tool": Tool(version="0.2.0", packages={"onnxruntime": "1.32.0", "numpy": "2.4.6"}),
            "source": before.source.model_copy(update={"sha256": "ef" * 32}),
            "seed": 1,
        }
    )
    found = {(one.area, one.target, one.what): (one.before, one.after) for one in compare(before, after).changes}
    assert found == {
        ("source", None, "sha256"): ("cd" * 32, "ef" * 32),
        ("machine", "jetson-orin-nano", "measured on"): (None, "this machine"),
        ("packages", None, "edge-compress"): ("0.1.0", "0.2.0"),
        ("packages", None, "onnxruntime"): ("1.31.1", "1.32.0"),
        ("run", None, "seed"): (0, 1),
    }


def test_what_changed_in_all_targets_is_told_once() -> None:
    def on(cpu: str) -> Report:
        device = cpu_target().device.model_copy(update={"cpu": cpu})
        return report(*(target.model_copy(update={"device": device}) for target in (cpu_target(), jetson_target())))

    (change,) = compare(on("one"), on("two")).changes
    assert (change.area, change.target, change.before, change.after) == ("machine", None, "one", "two")


def layered(*layers: tuple[str, str, float, float]) -> TargetRecord:
    """Return a target with layers of a name, a precision, a noise in dB and a time in seconds."""
    whole = full_report()[0].targets[0]
    bounds = [
        LayerBound(
            name=name, op="Conv", precision=precision, bound_seconds=1e-6, limited_by="compute", seconds=seconds,
            share_of_bound=None,
        )
        for name, precision, _, seconds in layers
    ]  # fmt: skip
    noise = [
        LayerRecord(
            name=name, op="Conv", sqnr_db=db, weight_sqnr_db=db, input_sqnr_db=db, output_sqnr_db=db,
            arriving_sqnr_db=db, blame=None,
        )
        for name, _, db, _ in layers
    ]  # fmt: skip
    assert whole.roofline is not None
    roofline = whole.roofline.model_copy(update={"layers": tuple(bounds)})
    return whole.model_copy(update={"roofline": roofline, "layers": tuple(noise)})


def test_layers_that_changed_come_first_and_those_that_did_not_are_left_out() -> None:
    before = layered(
        ("a", "int8", 30, 1e-4), ("b", "int8", 30, 1e-4), ("c", "int8", 30, 1e-4), ("old", "int8", 9, 1e-4)
    )
    after = layered(
        ("a", "int8", 30.2, 1.1e-4), ("b", "int8", 25, 1e-4), ("c", "float32", 30, 3e-4), ("new", "int8", 9, 1e-4)
    )
    found = compare_layers(before, after, same_machine=True)
    assert [(one.name, one.word) for one in found] == [
        ("c", "changed"),
        ("new", "added"),
        ("old", "removed"),
        ("b", "changed"),
    ]
    assert layer_rows(found)[0] == ("c (Conv)", "int8 → float32", "30.0 dB", "100 µs → 300 µs", "")
    elsewhere = compare_layers(before, after, same_machine=False)
    assert {one.seconds for one in elsewhere} == {(None, None)}


def test_only_ten_layers_are_shown() -> None:
    before = layered(*((str(k), "int8", 30, 1e-4) for k in range(12)))
    after = layered(*((str(k), "float32", 30, 1e-4) for k in range(12)))
    rows = layer_rows(compare_layers(before, after, same_machine=True))
    assert len(rows) == 11
    assert rows[-1][0] == "2 more"


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [(None, 30.0, "worse"), (None, None, "equal"), (30.0, 30.1, "no sure difference"), (30.0, None, "better")],
)
def test_outputs_without_any_error_are_better_than_any_decibels(
    before: float | None, after: float | None, word: str
) -> None:
    first, second = (
        report(
            cpu_target().model_copy(
                update={"fidelity": Fidelity(sqnr_db=db, agreement=1.0, max_abs_error=0, samples=9)}
            )
        )
        for db in (before, after)
    )
    change = compare(first, second).targets[0].sqnr_db
    assert change is not None
    assert change.word == word
    other = second.model_copy(update={"data": second.data.model_copy(update={"evaluation": None})})
    apart = compare(first, other).targets[0].sqnr_db
    assert apart is not None
    assert apart.word == "not comparable"


def test_text_from_a_report_is_no_markdown() -> None:
    before = full_report()[0]
    after = before.model_copy(update={"source": before.source.model_copy(update={"path": NASTY, "kind": "a|b`c"})})
    text = render_difference(compare(before, after))
    assert "<script>" not in text
    assert "a\\|b\\`c" in text


@pytest.mark.parametrize(("cpu", "word"), [("Imaginary CPU", "no interval"), ("Another", "not comparable")])
def test_readings_without_an_interval_are_shown_and_not_judged(cpu: str, word: str) -> None:
    device = cpu_target().device.model_copy(update={"cpu": cpu})
    readings = [
        {
            "memory": PeakMemory(baseline_peak=9_000_000, compressed_peak=peak),
            "energy": Energy(compressed_joules=joules, method="a test"),
        }
        for peak, joules in ((4_000_000, 0.002), (3_000_000, 0.001))
    ]
    before = report(cpu_target().model_copy(update=readings[0]))
    after = report(cpu_target().model_copy(update={**readings[1], "device": device}))
    rows = {row.what: row.cells[1:] for row in target_rows(compare(before, after).targets[0])}
    assert rows["peak memory"] == ("4.00 MB", "3.00 MB", "0.75× the memory", word)
    assert rows["energy of a call"] == ("2.00 mJ", "1.00 mJ", "0.50× the energy", word)


def test_json_is_what_the_comparison_is() -> None:
    before, after = hits(10), hits(60)
    found = compare(with_target(target_of(before)), with_target(target_of(after)), before, after)
    content = json.loads(found.to_json())
    assert content["schema"] == "compress.diff/1"
    assert content["targets"][0]["accuracy"]["word"] == "worse"
    jsonschema.validate(content, json.loads(schema_path(content["schema"]).read_text(encoding="utf-8")))
    assert Difference.model_validate_json(found.to_json()) == found
