"""Real reports that are committed: they must stay readable, and render and judge as they did."""

import json
from pathlib import Path

import jsonschema
import pytest

from compress.gate import Policy, judge
from compress.report.json_file import read_report
from compress.report.markdown import render_markdown
from compress.report.record import Measurements
from compress.report.schema import schema_path
from compress.resources import data_folder

REPORTS = sorted((data_folder("reports") / "reference").glob("*/report.json"))


def test_there_are_reference_reports() -> None:
    assert {path.parent.name for path in REPORTS} >= {"fashion", "mobilenetv2"}


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.parent.name)
def test_a_reference_report_follows_the_schema(path: Path) -> None:
    jsonschema.validate(json.loads(path.read_text()), json.loads(schema_path().read_text()))


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.parent.name)
def test_a_reference_report_renders_as_it_did(path: Path) -> None:
    assert render_markdown(read_report(path)) == (path.parent / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.parent.name)
def test_a_reference_report_is_judged_as_it_was(path: Path) -> None:
    for target in read_report(path).targets:
        fields = {name: getattr(target, name) for name in Measurements.model_fields}
        assert judge(Measurements(**fields), Policy(max_drop=1.0)) == target.verdict
