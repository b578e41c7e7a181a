"""Where a rule or a setting was written down: the file, and the line of a key in a table of TOML."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_TABLE = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]\s*(#.*)?")


@dataclass(frozen=True, slots=True)
class Place:
    """A line (from 1) of a file; None where it is the file as a whole."""

    path: Path
    line: int | None = None


def find_place(files: Sequence[Path], table: str, key: str | None) -> Place | None:
    """Return where the first of some files that states a key does so; else the first that has the table.

    Args:
        files: TOML; those that are not there, or are not text, are passed over.
        table: ``gate``, ``recipe.quantize``.
        key: In the table; None for the table itself.
    """
    tables: list[Place] = []
    for path in files:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            continue
        head, line = _find_lines(lines, table, key)
        if line is not None:
            return Place(path, line)
        if head is not None:
            tables.append(Place(path, head))
    return tables[0] if tables else None


def _find_lines(lines: Sequence[str], table: str, key: str | None) -> tuple[int | None, int | None]:
    """Return the numbers of the lines that open a table and that state its key."""
    name = None if key is None else re.compile(rf"""\s*["']?{re.escape(key)}["']?\s*=""")
    dotted = None if key is None else re.compile(rf"""\s*{re.escape(table)}\s*\.\s*["']?{re.escape(key)}["']?\s*=""")
    inline = re.compile(rf"\s*{re.escape(table)}\s*=")
    head, current = None, ""
    for number, line in enumerate(lines, 1):
        if found := _TABLE.fullmatch(line):
            current = found[1].replace('"', "")
            head = number if current == table and head is None else head
        elif (current == table and name is not None and name.match(line)) or (
            not current and dotted is not None and dotted.match(line)
        ):
            return head, number
        elif not current and inline.match(line):
            head = number
    return head, None
