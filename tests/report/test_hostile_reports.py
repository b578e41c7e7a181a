"""A report is a file that anybody can write: whatever stands in it, a command answers, or says what is wrong."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from page_reports import full_report

from compress.cli import main
from compress.errors import ExitCode
from compress.report.json_file import write_report

Place = tuple[str | int, ...]
NUMBERS = (True, -1, 0, 1e308, -1e308, 5e-324, 10**400)
NASTY: tuple[object, ...] = (*NUMBERS, None, "", "x" * 300, "../../passwd", "\x1b[31m<script>", [], {}, [1])
COMMANDS = (
    ("gate", "R", "--max-class-drop", "1", "--max-latency", "1ms", "--min-speedup", "2", "--max-memory", "1MB"),
    ("gate", "R", "--max-size", "1MB", "--max-energy", "1mJ", "--confidence", "0.99", "--json"),
    ("gate", "GOOD", "--baseline", "R"),
    ("report", "R", "--format", "md"),
    ("report", "R", "--format", "html"),
    ("report", "R", "--format", "junit"),
    ("report", "R", "--format", "sarif"),
    ("report", "R", "--format", "csv"),
    ("report", "R", "--format", "comment"),
    ("report", "R", "--format", "plan"),
    ("diff", "GOOD", "R"),
    ("diff", "R", "GOOD", "--format", "json"),
)


def places(value: object, at: Place = ()) -> Iterator[Place]:
    """Yield where something stands, two entries of each list only."""
    if at:
        yield at
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*at, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value[:2]):
            yield from places(inner, (*at, index))


def put(content: object, at: Place, value: object) -> object:
    """Return a copy with another value at a place."""
    made = table = copy.deepcopy(content)
    for key in at[:-1]:
        table = table[key]  # type: ignore[index]
    table[at[-1]] = value  # type: ignore[index]
    return made


@pytest.mark.parametrize("turn", range(len(NASTY)))
def test_no_value_anywhere_in_a_report_makes_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], turn: int
) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    write_report(full_report()[0], good)
    content = json.loads(good.read_text())
    for number, place in enumerate(places(content)):
        value = NASTY[(number + turn) % len(NASTY)]
        bad.write_text(json.dumps(put(content, place, value)))
        words = COMMANDS[(number + 5 * turn) % len(COMMANDS)]
        command = [{"R": str(bad), "GOOD": str(good)}.get(word, word) for word in words]
        code = main(command)
        printed = capsys.readouterr()
        assert code != ExitCode.INTERNAL, (place, value, command, printed.err)
        assert "\x1b" not in printed.out + printed.err, (place, value, command)
