"""``compress report REPORT``: a stored report in another form, for people, for CI, for a spreadsheet."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compress.cli import Subparsers
    from compress.report.record import Report
    from compress.report.sarif.places import Place

FORMATS = {
    "md": "Markdown, as in report.md",
    "summary": "Markdown for a GitHub job summary, 1 MiB at most",
    "comment": "Markdown for a comment on a pull request, 65,536 bytes at most, with a hidden first line to find it by",
    "html": "the page, as in report.html: one file that needs no network",
    "junit": "JUnit XML: a suite for each target, a case for each rule",
    "sarif": "SARIF 2.1.0: a result for each rule that is not passed and for each finding",
    "csv": "a row for each target",
    "plan": "what was pruned, as a plan file for [prune] plan",
}
_JUDGED = ("junit", "sarif", "summary", "comment")


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
    judged = f"{', '.join(_JUDGED)}: judge by its [gate] table (default: as the run did)"
    parser.add_argument("--policy", type=Path, metavar="FILE", help=judged)
    parser.add_argument(
        "--marker", metavar="TEXT", help="comment: what its hidden first line has (default: the model's file name)"
    )
    parser.add_argument("--target", metavar="NAME", help="plan: whose, where targets were pruned differently")
    parser.add_argument(
        "--import",
        dest="board",
        type=Path,
        metavar="board-report.json",
        help="put what a build kit measured on its board into this report; exit code of the new verdict",
    )
    parser.add_argument(
        "--data", metavar="SPEC", help="with --import: the run's evaluation samples, if no recipe's name"
    )


def run(options: argparse.Namespace) -> int:
    """Print the report in the form that was asked for, or write it; return 0."""
    from compress.errors import ConfigError, UsageError, suggest
    from compress.report.json_file import read_report
    from compress.store import write_output

    if options.board is not None:
        from compress.cli.report_import import import_board

        return import_board(options)
    if options.format not in FORMATS:
        raise UsageError(f"unknown format `{options.format}`", hint=suggest(options.format, FORMATS))
    if options.policy is not None and options.format not in _JUDGED:
        hint = "`compress gate REPORT --policy FILE` judges"
        raise UsageError(f"--policy is for --format {', '.join(_JUDGED)}", hint=hint)
    if options.marker is not None and options.format != "comment":
        raise UsageError("--marker is for --format comment", hint="leave it away")
    if options.target is not None and options.format != "plan":
        raise UsageError("--target is for --format plan", hint="leave it away")
    text = _render(read_report(options.report), options)
    if options.output is None:
        print(text, end="")
        return 0
    try:
        write_output(options.output, text.encode())
    except OSError as error:
        raise ConfigError(
            f"cannot write {options.output}: {error.strerror}", hint="choose a folder that exists and may be written to"
        ) from error
    return 0


def _render(report: "Report", options: argparse.Namespace) -> str:
    if options.format == "csv":
        from compress.report.csv_table import render_csv

        return render_csv(report)
    if options.format == "plan":
        from compress.cli.report_plan import render_plan

        return render_plan(report, options.report, options.target)
    if options.format == "html":
        from compress.cli.judged import read_demand
        from compress.gate import check_targets
        from compress.report.html.page import load_raw, render_page

        folder = options.report if options.report.is_dir() else options.report.parent
        raw = load_raw(report.targets, folder)
        return render_page(report, raw, check_targets(report.targets, read_demand(options.report, None).policy, raw))
    if options.format in ("summary", "comment"):
        return _render_for_github(report, options)
    if options.format in _JUDGED:
        return _render_judged(report, options)
    from compress.report.markdown import render_markdown

    return render_markdown(report)


def _render_for_github(report: "Report", options: argparse.Namespace) -> str:
    from compress.cli.judged import judge_again
    from compress.report.github import render_comment, render_summary

    judged = report if options.policy is None else judge_again(report, options.report, options.policy)
    if options.format == "summary":
        return render_summary(judged)
    return render_comment(judged, marker=options.marker)


def _render_judged(report: "Report", options: argparse.Namespace) -> str:
    from compress import __version__
    from compress.cli.judged import judge_report, locate_rule

    path, policy = options.report, options.policy
    outcomes = judge_report(report, path, policy)
    if options.format == "junit":
        from compress.report.junit import render_junit

        return render_junit(str(path), outcomes)
    from compress.report.sarif.render import render_sarif

    def locate(identifier: str) -> "Place":
        return locate_rule(identifier, report, path, policy)

    return render_sarif(report, outcomes, version=__version__, locate=locate, root=Path())
