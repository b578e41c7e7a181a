"""Progress on the terminal: bars on standard error where a person watches, nothing where output is piped."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from compress.cli.console import SafeConsole
from compress.errors import printable
from compress.steps import Progress as Told


@contextmanager
def show_progress(*, enabled: bool) -> Iterator[tuple[Console, Told]]:
    """Yield the console for results and the function that steps tell their progress to."""
    watched = Console(stderr=True)
    counts = (MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(compact=True))
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), *counts)
    with Progress(*columns, console=watched, transient=True, disable=not (enabled and watched.is_terminal)) as bars:
        tasks: dict[str, TaskID] = {}

        def tell(task: str, done: int, total: int) -> None:
            if task not in tasks:
                tasks[task] = bars.add_task(printable(task), total=total)
            bars.update(tasks[task], completed=done, total=total)

        yield SafeConsole(), tell
