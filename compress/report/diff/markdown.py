"""The comparison as Markdown: the verdict first, then target by target, then what else is not the same."""

from collections.abc import Iterator

from compress.report.diff.record import Difference, Side, TargetDifference
from compress.report.diff.rows import (
    CHANGE_HEAD,
    HEAD,
    LAYER_HEAD,
    change_rows,
    layer_rows,
    summarize,
    target_notes,
    target_rows,
)
from compress.report.markdown_text import bullets, escape, table


def render_difference(difference: Difference) -> str:
    """Return a comparison as GitHub-flavoured Markdown; text from reports is escaped."""
    blocks = [
        f"# Comparison of {escape(difference.before.path)} and {escape(difference.after.path)}",
        f"**{summarize(difference)}**",
        bullets([_describe("Before", difference.before), _describe("After", difference.after)]),
        bullets(difference.notes),
        *(block for target in difference.targets for block in _target(target)),
        "## What else changed",
        table(CHANGE_HEAD, change_rows(difference.changes)) if difference.changes else "Nothing.",
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _describe(word: str, side: Side) -> str:
    return f"{word}: {side.path}, {side.model}, {side.created}, edge-compress {side.version}"


def _target(target: TargetDifference) -> Iterator[str]:
    yield f"## {escape(target.target)}"
    yield table(HEAD, [row.cells for row in target_rows(target)])
    yield bullets(target_notes(target))
    if target.layers:
        yield f"### Layers of {escape(target.target)}"
        yield table(LAYER_HEAD, layer_rows(target.layers))
