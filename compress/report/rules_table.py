"""The gate's rules on a terminal: a row a rule, then each one's sentence; plain text where nobody watches."""

from collections.abc import Sequence
from typing import Protocol

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from compress.report.junit import Outcome
from compress.report.terminal import STYLES

COLUMNS = ("rule", "limit", "measured", "interval", "outcome")


class RuleRow(Outcome, Protocol):
    """What one rule says, with its numbers; the gate's ``RuleOutcome`` is one."""

    def cells(self) -> tuple[str, str, str]:
        """Return limit, measured value and interval as texts, empty where there is none."""
        ...


def print_rules(target: str, rules: Sequence[RuleRow], console: Console) -> None:
    """Print the outcomes of a target's rules: a table of numbers, and why, in sentences.

    Text is never read as markup.

    Args:
        target: Its name.
        rules: At least one.
        console: Where; columns without lines where it is not a terminal.
    """
    plain = not console.is_terminal
    table = Table(box=None if plain else box.SIMPLE_HEAD, pad_edge=True, padding=(0, 1))
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in ("rule", "outcome") else "right", no_wrap=plain)
    for rule in rules:
        outcome = Text(rule.status, STYLES[rule.status])
        table.add_row(Text(rule.rule), *(Text(cell) for cell in rule.cells()), outcome)
    console.print(Text(target, "bold"), soft_wrap=plain)
    console.print(table, soft_wrap=plain)
    for rule in rules:
        console.print(Text(f"  {rule.rule}: {rule.reason}"), soft_wrap=plain)
    console.print()
