import re

import pytest
from page_reports import NASTY, full_report
from small_reports import cpu_target, jetson_target, report, unbuilt_target

from compress.errors import ExitCode
from compress.report.github import COMMENT_BYTES, SUMMARY_BYTES, render_comment, render_summary
from compress.report.markdown import render_sections
from compress.report.record import Report, VerdictRecord

FAILED = VerdictRecord(status="fail", exit_code=ExitCode(10), reasons=("The drop of top1 is +3.00 points.",))


def large(targets: int, name: str = "target", reasons: int = 1) -> Report:
    """Return a report of many targets with twelve layers each, whose names are long."""
    whole, _ = full_report()
    named = (whole.targets[0].model_copy(update={"target": f"{name}-{number}"}) for number in range(targets))
    verdict = VerdictRecord(status="fail", exit_code=ExitCode(10), reasons=("ü" * 3000,) * reasons)
    return whole.model_copy(update={"targets": tuple(named), "verdict": verdict})


def test_a_comment_has_a_hidden_line_and_then_the_verdict() -> None:
    lines = render_comment(report(verdict=FAILED)).splitlines()
    assert lines[:5] == [
        "<!-- edge-compress model.pt -->",
        "",
        "### FAIL: accuracy: model.pt",
        "",
        "**FAIL: accuracy** (exit code 10)",
    ]
    assert "- The drop of top1 is +3.00 points." in lines


def test_every_target_is_a_row_before_anything_is_folded() -> None:
    text = render_summary(report(cpu_target(), jetson_target(), unbuilt_target()))
    head = text.split("<details>")[0]
    rows = [line.strip("| ").split(" | ") for line in head.splitlines() if line.startswith("| ")][2:]
    drop = "drop +0.30 points (+0.10 to +0.50)"
    faster, smaller = "2.00 ms, 2.00× faster (1.95× to 2.05×)", "312 KB, 0.26× the size"
    assert rows[0] == ["cpu", "PASS", f"top1: {drop}", faster, smaller]
    board = ["PASS", f"top1 (simulated): {drop}", "not measured (no device)", "330 KB, 0.28× the size"]
    assert rows[1] == ["jetson-orin-nano", *board]
    assert rows[2] == ["rtx-ada", "FAIL: the target cannot be built or reached here"]


def test_the_rest_of_the_report_is_folded() -> None:
    titles = re.findall("<details><summary>(.*?)</summary>", render_summary(report()))
    assert titles == [part.title for part in render_sections(report())]
    assert titles == [
        "cpu: PASS",
        "jetson-orin-nano: PASS",
        "Steps",
        "Data",
        "Source model",
        "Machines",
        "Files",
        "Reproduce",
    ]


def test_a_report_that_is_too_long_loses_its_last_sections_and_says_which() -> None:
    text = render_comment(large(40))
    assert len(text.encode()) <= COMMENT_BYTES
    assert text.count("<details>") == text.count("</details>") > 3
    assert re.search(r"\*Left out for want of room: target-\d+: PASS, .* …\.\*\n$", text)
    whole = render_summary(large(40))
    assert "Left out" not in whole
    assert len(whole.encode()) > COMMENT_BYTES


@pytest.mark.parametrize(
    ("record", "limit"),
    [
        (large(400), SUMMARY_BYTES),
        (large(400), COMMENT_BYTES),
        (large(60, name="@" * 3000, reasons=60), COMMENT_BYTES),
        (large(60, name="<" * 30_000, reasons=60), SUMMARY_BYTES),
    ],
)
def test_no_report_is_above_the_limit(record: Report, limit: int) -> None:
    text = render_comment(record) if limit == COMMENT_BYTES else render_summary(record)
    assert limit // 2 < len(text.encode()) <= limit


def test_names_of_models_are_no_html_and_end_no_comment() -> None:
    whole, _ = full_report()
    nasty = f'--> {NASTY} "quoted" \\'
    source = whole.source.model_copy(update={"path": nasty})
    target = whole.targets[0].model_copy(update={"target": nasty})
    text = render_comment(whole.model_copy(update={"source": source, "targets": (target,)}))
    first, rest = text.split("\n", 1)
    assert re.fullmatch(r"<!-- edge-compress [\w%./~-]* -->", first)
    assert "-->" not in first.removesuffix("-->")
    assert "<script" not in rest
    assert "<img" not in rest


def test_a_comment_calls_nobody() -> None:
    whole = report(cpu_target().model_copy(update={"target": "@somebody"}))
    assert "@somebody" not in render_comment(whole)
    assert "@\u2060somebody" in render_comment(whole)


def test_the_marker_can_be_chosen() -> None:
    assert render_comment(report(), marker="nets/a b.pt").startswith("<!-- edge-compress nets/a%20b.pt -->\n")
