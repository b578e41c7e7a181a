"""``compress diff A B``: what changed from one report to another, and how sure that is."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from compress.cli import Subparsers
    from compress.report.diff.record import Difference
    from compress.report.measurements import RawMeasurements
    from compress.report.record import Report

FORMATS = {"text": "tables on the terminal", "md": "Markdown", "json": "everything, schema compress.diff/1"}
_WIDTH = 200
"""Of tables that go into a file: nothing is cut there."""
_STYLES = {"better": "green", "worse": "bold red", "changed": "bold yellow"}


def add_parser(commands: "Subparsers") -> None:
    """Add the command's flags."""
    parser = commands.add_parser(
        "diff",
        help="compare two reports",
        description="Compare two reports: verdict, accuracy (sample by sample where both saw the same samples), "
        "latency, size, layers, recipe, versions, machine; each change with what is sure of it. Exit code 0 whatever "
        "changed: `compress gate` judges.",
    )
    parser.add_argument("before", type=Path, metavar="A", help="a report.json, or the folder it lies in")
    parser.add_argument("after", type=Path, metavar="B", help="another one")
    forms = "; ".join(f"{name}: {text}" for name, text in FORMATS.items())
    parser.add_argument("--format", default="text", metavar="|".join(FORMATS), help=f"{forms} (default text)")


def run(options: argparse.Namespace) -> int:
    """Print the comparison; return 0."""
    from compress.errors import UsageError, suggest
    from compress.report.diff.compare import compare_reports
    from compress.report.json_file import read_report

    if options.format not in FORMATS:
        raise UsageError(f"unknown format `{options.format}`", hint=suggest(options.format, FORMATS))
    paths = options.before, options.after
    reports = read_report(paths[0]), read_report(paths[1])
    raw = _load(reports[0], paths[0]), _load(reports[1], paths[1])
    difference = compare_reports(*reports, raw, (str(paths[0]), str(paths[1])))
    if options.format == "json":
        print(difference.to_json(), end="")
    elif options.format == "md":
        from compress.report.diff.markdown import render_difference

        print(render_difference(difference), end="")
    else:
        _print(difference)
    return 0


def _load(report: "Report", path: Path) -> "dict[str, RawMeasurements | str]":
    """Return what lies beside a report; a file that is not there is a reason, one that is damaged an error."""
    from compress.cli.judged import folder_of
    from compress.report.measurements import read_measurements

    found: dict[str, RawMeasurements | str] = {}
    for target in report.targets:
        if target.measurements is None:
            continue
        there = os.path.exists(folder_of(path) / target.measurements.path)  # noqa: PTH110 - a name too long is none
        absent = f"{target.measurements.path} does not lie beside {path}"
        found[target.target] = read_measurements(target.measurements, folder_of(path)) if there else absent
    return found


def _print(difference: "Difference") -> None:
    from rich.text import Text

    from compress.cli.console import SafeConsole
    from compress.report.diff import rows

    console = SafeConsole()
    wrap = not console.is_terminal
    if wrap:
        console = SafeConsole(width=_WIDTH)
    console.print(Text(rows.summarize(difference), "bold"), soft_wrap=wrap)
    for note in difference.notes:
        console.print(Text(note), soft_wrap=wrap)
    for target in difference.targets:
        console.print()
        console.print(Text(target.target, "bold"))
        console.print(_table(rows.HEAD, [row.cells for row in rows.target_rows(target)], plain=wrap), soft_wrap=wrap)
        for note in rows.target_notes(target):
            console.print(Text(f"  {note}"), soft_wrap=wrap)
        if target.layers:
            console.print(_table(rows.LAYER_HEAD, rows.layer_rows(target.layers), plain=wrap), soft_wrap=wrap)
    console.print()
    if difference.changes:
        console.print(_table(rows.CHANGE_HEAD, rows.change_rows(difference.changes), plain=wrap), soft_wrap=wrap)
    else:
        console.print("Nothing else changed.")


def _table(head: "Sequence[str]", lines: "Sequence[Sequence[str]]", *, plain: bool) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None if plain else box.SIMPLE_HEAD, pad_edge=True, padding=(0, 1))
    for name in head:
        table.add_column(name, no_wrap=plain)
    for line in lines:
        table.add_row(*(Text(cell, _STYLES.get(cell, "")) for cell in line))
    return table
