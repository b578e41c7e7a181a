import csv
import io
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from page_reports import full_report
from published_schemas import read_junit, read_sarif
from small_reports import cpu_target, report, unbuilt_target

from compress.cli import main
from compress.errors import ExitCode
from compress.gate import RuleOutcome
from compress.report.csv_table import render_csv
from compress.report.json_file import write_report
from compress.report.junit import render_junit
from compress.report.markdown import render_markdown
from compress.report.record import PeakMemory, VerdictRecord

Output = pytest.CaptureFixture[str]


def show(path: Path, *flags: str) -> int:
    return main(["report", str(path), *flags])


def test_markdown_is_what_the_run_wrote(stored: Path, capsys: Output) -> None:
    assert show(stored) == 0
    assert capsys.readouterr().out == render_markdown(report())


def test_html_is_the_page_in_one_file(stored: Path, capsys: Output) -> None:
    assert show(stored, "--format", "html") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("<!doctype html>")
    assert printed.rstrip().endswith("</html>")


def test_junit_has_a_suite_for_each_target_and_a_case_for_each_rule(stored: Path, capsys: Output) -> None:
    policy = stored.with_name("gate.toml")
    policy.write_text('[gate]\nmax_drop = 1.0\nmax_size = "320KB"\nmax_latency = "8ms"\n', encoding="utf-8")
    assert show(stored, "--format", "junit", "--policy", str(policy)) == 0
    root = ET.fromstring(capsys.readouterr().out)
    assert [suite.get("name") for suite in root] == ["cpu", "jetson-orin-nano"]
    board = root[1]
    assert [case.get("name") for case in board] == ["accuracy", "latency", "size"]
    assert (board.get("tests"), board.get("failures"), board.get("errors")) == ("3", "1", "1")
    outcomes = {case.get("name"): case[0].tag for case in board}
    assert outcomes == {"accuracy": "system-out", "latency": "error", "size": "failure"}
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("6", "1", "1")
    size = board[2][0]
    assert (size.get("type"), size.get("message")) == ("size", "The engine has 330 KB, beyond the limit of 320 KB.")


@pytest.mark.parametrize(
    ("rule", "tag", "kind"),
    [
        (RuleOutcome("accuracy", "inconclusive", ExitCode.UNDECIDED, "open"), "failure", "inconclusive"),
        (RuleOutcome("engine", "fail", ExitCode.TARGET, "refused"), "error", "engine"),
    ],
)
def test_what_is_not_a_pass_never_looks_like_one(rule: RuleOutcome, tag: str, kind: str) -> None:
    case = ET.fromstring(render_junit("report.json", {"cpu": [rule]}))[0][0]
    assert (case[0].tag, case[0].get("type")) == (tag, kind)


def test_names_that_are_not_xml_are_made_so() -> None:
    rule = RuleOutcome("accuracy", "pass", ExitCode.PASS, 'the drop of "<b>\x00&\x1b[31m" is 0')
    text = render_junit("<report>&\x00", {"cpu]]>": [rule]})
    root = ET.fromstring(text)
    assert root.get("name") == "<report>&�"
    assert root[0][0][0].text == 'the drop of "<b>�&�[31m" is 0'


def test_csv_has_a_row_for_each_target_and_empty_cells_for_what_was_not_measured(stored: Path, capsys: Output) -> None:
    assert show(stored, "--format", "csv") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["target"] for row in rows] == ["cpu", "jetson-orin-nano"]
    assert float(rows[0]["drop"]) == pytest.approx(0.003)
    assert float(rows[0]["speedup"]) > 1
    assert rows[1]["latency_p50"] == ""
    assert rows[1]["measured_on"] == "simulated"


def test_csv_has_both_peaks_of_memory() -> None:
    known = PeakMemory(baseline_peak=4_000_000, compressed_peak=1_000_000)
    changed = report(cpu_target().model_copy(update={"memory": known}))
    (row,) = csv.DictReader(io.StringIO(render_csv(changed)))
    assert (row["memory_peak_baseline"], row["memory_peak"]) == ("4000000", "1000000")


def test_a_target_without_an_engine_is_a_row_too() -> None:
    (row,) = csv.DictReader(io.StringIO(render_csv(report(unbuilt_target()))))
    assert (row["engine"], row["drop"], row["exit_code"]) == ("", "", "20")


def test_text_that_a_spreadsheet_would_compute_is_text() -> None:
    target = cpu_target()
    assert target.accuracy is not None
    accuracy = target.accuracy.model_copy(update={"metric": "=HYPERLINK(1)"})
    changed = report(target.model_copy(update={"accuracy": accuracy}))
    (row,) = csv.DictReader(io.StringIO(render_csv(changed)))
    assert row["metric"] == "'=HYPERLINK(1)"


def test_output_goes_into_a_file(stored: Path, capsys: Output) -> None:
    out = stored.with_name("report.xml")
    assert show(stored, "--format", "junit", "--output", str(out)) == 0
    assert capsys.readouterr().out == ""
    assert ET.parse(out).getroot().tag == "testsuites"


@pytest.mark.parametrize(
    ("flags", "message", "hint"),
    [
        (("--format", "junt"), "unknown format `junt`", "junit"),
        (("--policy", "gate.toml"), "--policy is for --format junit, sarif, summary, comment", "compress gate"),
        (("--marker", "model"), "--marker is for --format comment", "leave it away"),
        (("--output", "missing/report.md"), "cannot write", "may be written to"),
    ],
)
def test_mistakes_are_told(stored: Path, capsys: Output, flags: tuple[str, ...], message: str, hint: str) -> None:
    assert show(stored, *flags) == 2
    error = capsys.readouterr().err
    assert message in error
    assert hint in error


def test_a_report_that_is_not_there_is_told(tmp_path: Path, capsys: Output) -> None:
    assert show(tmp_path / "absent.json") == 2
    assert "does not exist" in capsys.readouterr().err


def test_sarif_points_at_the_line_of_the_policy(stored: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(stored.parent)
    Path("gate.toml").write_text('[gate]\nmax_drop = 1.0\nmax_size = "320KB"\n', encoding="utf-8")
    assert show(stored, "--format", "sarif", "--policy", "gate.toml") == 0
    result = read_sarif(capsys.readouterr().out)["results"][0]
    assert result["ruleId"] == "gate/size"
    assert result["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "gate.toml", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 3},
    }


@pytest.mark.parametrize(
    ("command", "uri", "line"),
    [
        ("compress run nets/model.pt --target cpu", "nets/compress.toml", 2),
        ("compress run nets/model.pt --target cpu --max-drop 0.1", "recipe.lock.toml", 3),
        ("compress run 'nets/model.pt", "recipe.lock.toml", 3),
    ],
)
def test_sarif_judges_as_the_run_did_and_points_at_who_set_the_limit(
    stored: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch, command: str, uri: str, line: int
) -> None:
    monkeypatch.chdir(stored.parent)
    write_report(report().model_copy(update={"command": command}), stored)
    Path("recipe.lock.toml").write_text("[gate]\nrequire = 'simulated'\nmax_drop = 0.1\n", encoding="utf-8")
    Path("nets").mkdir()
    Path("nets/compress.toml").write_text("[gate]\nmax_drop = 0.1\n", encoding="utf-8")
    assert show(stored, "--format", "sarif") == 0
    result = read_sarif(capsys.readouterr().out)["results"][0]
    assert (result["ruleId"], result["properties"]["status"]) == ("gate/accuracy", "inconclusive")
    physical = result["locations"][0]["physicalLocation"]
    assert (physical["artifactLocation"]["uri"], physical["region"]["startLine"]) == (uri, line)


def test_layers_point_at_the_recipe(stored: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(stored.parent)
    whole, _ = full_report()
    lost = VerdictRecord(status="fail", exit_code=ExitCode(10), reasons=())
    target = whole.targets[0].model_copy(update={"verdict": lost})
    command = "compress run model.pt --recipe mine.toml"
    write_report(whole.model_copy(update={"command": command, "targets": (target,)}), stored)
    Path("mine.toml").write_text('steps = ["quantize"]\n\n[quantize]\n', encoding="utf-8")
    assert show(stored, "--format", "sarif") == 0
    results = read_sarif(capsys.readouterr().out)["results"]
    places = {one["ruleId"]: one["locations"][0]["physicalLocation"] for one in results}
    assert places["lint/noisy-layer"]["artifactLocation"]["uri"] == "mine.toml"
    assert places["lint/noisy-layer"]["region"] == {"startLine": 3}
    assert places["lint/latency"] == {"artifactLocation": {"uri": "report.json", "uriBaseId": "%SRCROOT%"}}


def test_junit_judges_as_the_run_did(stored: Path, capsys: Output) -> None:
    stored.with_name("recipe.lock.toml").write_text("[gate]\nmax_size = 320000\n", encoding="utf-8")
    assert show(stored.parent, "--format", "junit") == 0
    root = read_junit(capsys.readouterr().out)
    assert (root.get("tests"), root.get("failures")) == ("4", "1")


def test_a_comment_and_a_summary_can_be_judged_by_another_policy(stored: Path, capsys: Output) -> None:
    policy = stored.with_name("gate.toml")
    policy.write_text("[gate]\nmax_drop = 0\n", encoding="utf-8")
    for form, first in (("summary", "## "), ("comment", "### ")):
        assert show(stored, "--format", form) == 0
        assert f"{first}PASS: model.pt" in capsys.readouterr().out
        assert show(stored, "--format", form, "--policy", str(policy)) == 0
        assert f"{first}FAIL: accuracy: model.pt" in capsys.readouterr().out
    assert show(stored, "--format", "comment", "--marker", "mine") == 0
    assert capsys.readouterr().out.startswith("<!-- edge-compress mine -->\n")
