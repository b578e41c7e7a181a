"""The report where GitHub shows it: as a job summary, and as a comment on a pull request. The verdict comes first.

Both have a limit that a whole report may be above. Sections that do not fit are left out from the end, and a line says
which.

Source: GitHub, "Workflow commands for GitHub Actions", section "Step isolation and limits" (1 MiB a step); the limit of
a comment is what its API answers to a longer one ("maximum is 65536 characters"). Bytes are counted for both, so that
it does not matter what a character is.
"""

import html
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from compress.report.markdown import Section, render_sections, render_verdict
from compress.report.markdown_text import bullets, escape, table
from compress.report.record import Report, TargetRecord
from compress.report.rows import compare_rows, name_outcome

SUMMARY_BYTES: Final = 1 << 20
COMMENT_BYTES: Final = 1 << 16
_HEAD: Final = ("target", "verdict", "accuracy", "latency", "size")
_REASONS: Final = 20
_REASON_CHARACTERS: Final = 500
_TARGETS: Final = 50
_ROOM: Final = 1024
"""Bytes for the line about what was left out: five titles of 40 characters, escaped."""


def render_summary(report: Report, *, limit: int = SUMMARY_BYTES) -> str:
    """Return Markdown for ``$GITHUB_STEP_SUMMARY``: verdict, a row for each target, and everything else folded."""
    return _assemble([f"## {_title(report)}", *_head(report)], render_sections(report), limit)


def render_comment(report: Report, *, marker: str | None = None, limit: int = COMMENT_BYTES) -> str:
    """Return Markdown for a comment on a pull request, in which no name is a mention that would notify somebody.

    Args:
        report: What to show.
        marker: What tells this comment from others of its kind; the model's file name where it is None. The first line,
            which nobody sees, has it: a comment that begins with the same line is the one to be replaced.
        limit: In bytes.
    """
    # Percent signs in the place of whatever could end an HTML comment, or a quoted string of whoever searches for it.
    line = f"<!-- edge-compress {quote(marker or report.source.path, safe='/')} -->\n\n"
    head = [_call_nobody(block) for block in (f"### {_title(report)}", *_head(report))]
    sections = [
        Section(_call_nobody(part.title), tuple(map(_call_nobody, part.blocks))) for part in render_sections(report)
    ]
    return line + _assemble(head, sections, limit - len(line))


def _call_nobody(text: str) -> str:
    return text.replace("@", "@\u2060")  # a word joiner, which has no width


def _title(report: Report) -> str:
    return f"{name_outcome(report.verdict)}: {escape(report.source.path)}"


def _head(report: Report) -> list[str]:
    verdict, _ = render_verdict(report)
    reasons = [reason[:_REASON_CHARACTERS] for reason in report.verdict.reasons]
    rows = [_row(target) for target in report.targets[:_TARGETS]]
    more = len(reasons) - _REASONS
    return [
        verdict,
        table(_HEAD, rows),
        bullets([*reasons[:_REASONS], *([f"{more} more reasons"] if more > 0 else [])]),
    ]


def _row(target: TargetRecord) -> tuple[str, ...]:
    if target.engine is None:
        return target.target, name_outcome(target.verdict), "", "", ""
    rows = compare_rows(target)
    accuracy = f"{rows[0].what}: {rows[0].difference}" if rows[0].compressed else rows[0].difference
    numbers = (next((row for row in rows if row.what.startswith(what)), None) for what in ("latency", "size"))
    latency, size = (
        "" if row is None else ", ".join(part for part in (row.compressed, row.difference) if part) for row in numbers
    )
    return target.target, name_outcome(target.verdict), accuracy, latency, size


def _assemble(head: Sequence[str], sections: Sequence[Section], limit: int) -> str:
    """Return the head and as many sections as there is room for, each folded."""
    text = "\n\n".join(block for block in head if block) + "\n"
    text = text.encode()[: limit - _ROOM].decode(errors="ignore")
    for place, section in enumerate(sections):
        folded = _fold(section)
        room = 0 if place == len(sections) - 1 else _ROOM
        if len((text + folded).encode()) > limit - room:
            names = ", ".join(escape(part.title[:40]) for part in sections[place:][:5])
            return f"{text}\n*Left out for want of room: {names}{' …' if len(sections) > place + 5 else ''}.*\n"
        text += folded
    return text


def _fold(section: Section) -> str:
    body = "\n\n".join(section.blocks)
    return f"\n<details><summary>{html.escape(section.title)}</summary>\n\n{body}\n\n</details>\n"
