"""``compress report REPORT``: a stored report in another form, for people, for CI, for a spreadsheet."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compress.cli import Subparsers
    from compress.report.record import Report

FORMATS = {
    "md": "Markdown, as in report.md; fits a GitHub job summary",
    "html": "the page, as in report.html: one file that needs no network",
    "junit": "JUnit XML: a suite for each target, a case for each rule",
    "csv": "a row for each target",
}


def add_parser(commands: "Subparsers") -> None:
    """Add the command's flags."""
    parser = commands.add_parser(
        "report",
        help="write a stored report in another form",
        description="Write a stored report in another form. Exit code 0 whatever the verdict: `compress gate` judges.",
    )
    parser.add_argument("report", type=Path, metavar="REPORT", help="a report.json, or the folder it lies in")
    forms = "; ".join(f"{name}: {text}" for name, text in FORMATS.items())
    parser.add_argument("--format", default="md", metavar="|".join(FORMATS), help=f"{forms} (default md)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write there instead of printing")
    parser.add_argument("--policy", type=Path, metavar="FILE", help="junit: judge by its [gate] table")


def run(options: argparse.Namespace) -> int:
    """Print the report in the form that was asked for, or write it; return 0."""
    from compress.errors import ConfigError, UsageError, suggest
    from compress.report.json_file import read_report
    from compress.store import write_atomically

    if options.format not in FORMATS:
        raise UsageError(f"unknown format `{options.format}`", hint=suggest(options.format, FORMATS))
    if options.policy is not None and options.format != "junit":
        raise UsageError("--policy is for --format junit", hint="`compress gate REPORT --policy FILE` judges")
    text = _render(read_report(options.report), options)
    if options.output is None:
        print(text, end="")
        return 0
    try:
        write_atomically(options.output, text.encode())
    except OSError as error:
        raise ConfigError(
            f"cannot write {options.output}: {error.strerror}", hint="choose a folder that exists and may be written to"
        ) from error
    return 0


def _render(report: "Report", options: argparse.Namespace) -> str:
    if options.format == "csv":
        from compress.report.csv_table import render_csv

        return render_csv(report)
    if options.format == "html":
        from compress.report.html.page import load_raw, render_page

        folder = options.report if options.report.is_dir() else options.report.parent
        return render_page(report, load_raw(report, folder))
    if options.format == "junit":
        return _render_junit(report, options)
    from compress.report.markdown import render_markdown

    return render_markdown(report)


def _render_junit(report: "Report", options: argparse.Namespace) -> str:
    from compress.gate import Policy, check_rules, read_policy
    from compress.report.junit import render_junit

    policy = Policy() if options.policy is None else read_policy(options.policy)
    outcomes = [(target.target, check_rules(target, policy)) for target in report.targets]
    return render_junit(str(options.report), outcomes)
