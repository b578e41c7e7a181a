"""The commands of ``board.pyz``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

USAGE = "usage: board.pyz kit [--lock-clocks] | facts | start … | relay … | guard … | serve MODEL | memory\n"


def main(words: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    given = sys.argv[1:] if words is None else words
    command = _find(given[0]) if given else None
    if command is None:
        sys.stderr.write(USAGE)
        return 2
    return command(given[1:])


def _find(name: str) -> Callable[[list[str]], int] | None:
    """Return the command of that name; each module is imported only where it is used."""
    if name == "kit":
        from .kit import main as command
    elif name == "facts":
        from .facts import main as command
    elif name == "guard":
        from .clocks import guard as command
    elif name == "start":
        from .keeper import main as command
    elif name == "relay":
        from .relay import main as command
    elif name == "serve":
        from .serve import main as command
    elif name == "memory":
        from .memory import main as command
    else:
        return None
    return command


if __name__ == "__main__":
    sys.exit(main())
