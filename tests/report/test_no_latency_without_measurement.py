"""A report of a device that is not here: the roofline bound, marked as one, and no other time of an engine."""

import csv
import io
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from small_project import FASHION, PROJECT, RECIPE, nearest_mean_classifier
from small_reports import cpu_target, report

from compress.cli import main
from compress.report.csv_table import render_csv
from compress.report.html.page import render_page
from compress.report.json_file import read_report
from compress.report.markdown import render_markdown
from compress.report.record import Report
from compress.report.terminal import print_report
from compress.targets import load_target

DURATION = re.compile(r"\b\d[\d.,]*\s?(?:ns|µs|ms|s)\b")
BOUND = "Roofline bound, not a latency: no engine of this graph can take less than "
OF_THE_TOOL = ("Compiled in", "compress run")
"""Sentences about how long this tool took, and the command line."""
TIMES = re.compile(r"seconds|p50|p90|p99|latency|throughput|speedup")
ALLOWED = re.compile(
    r"steps/\d+/(?:seconds|metrics/.*|settings/.*)|bound/seconds|roofline/layers/\d+/bound_seconds"
    r"|roofline/bandwidths/\d+/bytes_per_second|roofline/operations_per_second/\w+"
)


@pytest.fixture(scope="module")
def jetson(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Return the report of a real run for a board that is not here."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "model.onnx").write_bytes(nearest_mean_classifier().to_bytes())
    (folder / "compress.toml").write_text(PROJECT)
    for name, images, labels in (
        ("calibration", "calibration-images-idx3-ubyte.gz", "calibration-labels-idx1-ubyte.gz"),
        ("evaluation", "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
    ):
        text = RECIPE.format(source=FASHION / images, labels=FASHION / labels, count=64)
        (folder / f"{name}.toml").write_text(text)
    out = folder / "out"
    main(["run", str(folder / "model.onnx"), "--target", "jetson", "--recipe", "int8", "--out", str(out), "--quiet"])
    return read_report(out)


def times(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Yield the place and the value of every number that is called a time or a speed."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from times(inner, f"{path}/{key}".removeprefix("/"))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from times(inner, f"{path}/{number}")
    elif isinstance(value, int | float) and not isinstance(value, bool) and TIMES.search(path):
        yield path, value


def claimed(text: str) -> list[str]:
    """Return the lines with a duration that is neither a bound, marked as one, nor about this tool."""
    lines = (line for line in text.splitlines() if DURATION.search(line))
    return [line for line in lines if BOUND not in line and not any(mark in line for mark in OF_THE_TOOL)]


def strip_steps(markdown: str) -> str:
    """Return a page of Markdown without the table of how long each step of this tool took."""
    return re.sub(r"## Steps.*?(?=\n## |\Z)", "", markdown, flags=re.DOTALL)


class Text(HTMLParser):
    """The text of a page's targets, a line for each paragraph, cell and list item."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.ids: list[str] = []
        self._hidden = 0
        self._steps = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in ("script", "style")
        self.ids += [str(value) for name, value in attrs if name == "id"]
        if tag == "section":
            self._steps = ("id", "steps") in attrs
        if tag in ("p", "td", "th", "li", "h2", "h3", "summary", "figcaption", "pre"):
            self.lines.append("")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self._hidden and not self._steps:
            self.lines[-1:] = [(self.lines[-1:] or [""])[0] + data.replace("\n", " ")]


def read_page(report: Report) -> Text:
    page = Text()
    page.feed(render_page(report))
    return page


def test_the_json_has_the_bound_and_no_other_time(jetson: Report) -> None:
    found = json.loads(jetson.model_dump_json())["targets"][0]
    assert found["target"] == "jetson-orin-nano"
    assert found["latency"] is None
    assert found["bound"]["share_of_bound"] is None
    assert [path for path, _ in times(found) if not ALLOWED.fullmatch(path)] == []
    assert found["bound"]["seconds"] > 0
    assert all(layer["seconds"] is None for layer in found["roofline"]["layers"])


def test_the_bound_follows_from_the_target_s_own_peaks_and_names_their_sources(jetson: Report) -> None:
    found, target = jetson.targets[0], load_target("jetson")
    assert found.bound is not None
    assert found.roofline is not None
    assert found.roofline.finding.startswith(BOUND)
    assert found.roofline.operations_per_second == {p.precision: p.operations_per_second for p in target.peaks}
    assert found.bound.seconds == pytest.approx(sum(layer.bound_seconds for layer in found.roofline.layers))
    assert target.memory is not None
    for source in (target.memory.source, *(peak.source for peak in target.peaks)):
        assert source in found.roofline.source


def test_the_markdown_says_so_in_words(jetson: Report) -> None:
    text = render_markdown(jetson)
    assert BOUND in text
    assert "not measured (no device)" in text
    assert claimed(strip_steps(text)) == []


def test_the_page_says_so_in_words_and_has_no_chart_of_latencies(jetson: Report) -> None:
    page = read_page(jetson)
    assert any(BOUND in line for line in page.lines)
    assert any("Latency was not measured" in line for line in page.lines)
    assert claimed("\n".join(page.lines)) == []
    assert [name for name in page.ids if "latency" in name and "chart" in name] == []


def test_terminal_and_csv_have_no_latency_either(jetson: Report) -> None:
    out = io.StringIO()
    print_report(jetson, Console(file=out, width=10_000))
    assert BOUND in out.getvalue()
    assert claimed(out.getvalue()) == []
    row = next(csv.DictReader(io.StringIO(render_csv(jetson))))
    timed = {name: value for name, value in row.items() if TIMES.search(name)}
    assert timed
    assert set(timed.values()) == {""}


def test_a_latency_that_was_measured_would_be_found_in_each_of_them() -> None:
    """The tests above can fail: the same search finds the latency of a report that has one."""
    measured = report(cpu_target())
    assert measured.targets[0].latency is not None
    found = json.loads(measured.model_dump_json())["targets"][0]
    assert [path for path, _ in times(found) if not ALLOWED.fullmatch(path)]
    assert claimed(strip_steps(render_markdown(measured)))
    page = read_page(measured)
    assert claimed("\n".join(page.lines))
    assert any("latency" in name and "chart" in name for name in page.ids)


def test_the_reference_report_s_board_has_no_latency() -> None:
    stored = read_report(Path(__file__).parents[2] / "reports" / "reference" / "fashion" / "report.json")
    board = next(target for target in stored.targets if target.target == "jetson-orin-nano")
    assert board.latency is None
    found = json.loads(board.model_dump_json())
    assert [path for path, _ in times(found) if not ALLOWED.fullmatch(path)] == []
