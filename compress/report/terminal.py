"""The report on a terminal: a small table a target, then the verdict; plain text where nobody watches."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from compress.report.record import Report, TargetRecord, VerdictRecord
from compress.report.rows import DIFFERENCE, compare_rows, describe_attempts, name_compressed, name_outcome

STYLES = {"pass": "bold green", "fail": "bold red", "inconclusive": "bold yellow", "unmeasured": "bold yellow"}


def print_report(report: Report, console: Console, *, quiet: bool = False) -> None:
    """Print a report: notes on the samples, every target's comparison and notes, then the verdict with its reasons.

    Text from the report is never read as markup.

    Args:
        report: What to print.
        console: Where; plain text where it is not a terminal.
        quiet: Print the verdict and its reasons only.
    """
    for note in () if quiet else report.data.notes:
        console.print(Text(f"samples: {note}"), soft_wrap=not console.is_terminal)
    for target in () if quiet else report.targets:
        _line(
            console, Text.assemble((target.target, "bold"), f"  {target.runtime}, {target.dialect}  "), target.verdict
        )
        if target.engine is not None:
            console.print(_table(target, plain=not console.is_terminal))
        for note in _notes(target):
            console.print(Text(f"  note: {note}"), soft_wrap=not console.is_terminal)
        console.print()
    _line(console, Text("verdict: "), report.verdict)
    for reason in report.verdict.reasons:
        console.print(Text(f"  {reason}"), soft_wrap=not console.is_terminal)


def _line(console: Console, start: Text, verdict: VerdictRecord) -> None:
    outcome = f"{name_outcome(verdict)} (exit code {verdict.exit_code})"
    console.print(start + Text(outcome, STYLES[verdict.status]), soft_wrap=not console.is_terminal)


def _table(target: TargetRecord, *, plain: bool) -> Table:
    table = Table(box=None if plain else box.SIMPLE_HEAD, pad_edge=True, padding=(0, 1))
    table.add_column("")
    table.add_column("original", justify="right")
    table.add_column(name_compressed(target), justify="right")
    table.add_column(DIFFERENCE)
    for row in compare_rows(target):
        table.add_row(*(Text(cell) for cell in (row.what, row.original, row.compressed, row.difference)))
    return table


def _notes(target: TargetRecord) -> tuple[str, ...]:
    latency = () if target.latency is None else target.latency.notes
    engine = () if target.engine is None else target.engine.notes
    contest = () if target.contest is None else (target.contest.finding,)
    explained = [found.finding for found in (target.attribution, target.roofline) if found is not None]
    return (*describe_attempts(target), *contest, *explained, *engine, *latency)
