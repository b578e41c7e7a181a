"""Markdown from text that nobody checked: escaped cells, tables, lists."""

from collections.abc import Iterable, Sequence

from compress.errors import printable

_ESCAPED = str.maketrans({"|": "\\|", "<": "&lt;", ">": "&gt;", "[": "\\[", "`": "\\`", "*": "\\*", "\\": "\\\\"})


def escape(text: str) -> str:
    """Return text on one line that no Markdown is read from."""
    return printable(" ".join(text.split())).translate(_ESCAPED)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; cells are escaped, the head is not."""
    lines = [head, ["---"] * len(head), *([escape(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def bullets(sentences: Iterable[str]) -> str:
    """Return a list of escaped sentences."""
    return "\n".join(f"- {escape(sentence)}" for sentence in sentences)
