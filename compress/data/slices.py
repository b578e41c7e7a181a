"""Slices: what groups of samples can be told apart by, as a CSV table with a line for each sample."""

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from compress.errors import DataError

Slices = dict[str, tuple[str, ...]]


def read_slices(path: Path, samples: int) -> Slices:
    """Return the columns of a table by name, one text a sample.

    Args:
        path: UTF-8, the first line names the columns, then a line for each sample of the source, in its order.
        samples: How many the source has.

    Raises:
        DataError: No such table, no columns, a line that is too long or too short, or not a line for each sample.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            head, *rows = list(csv.reader(file)) or [[]]
    except OSError as error:
        raise DataError(f"cannot read the slices {path}: {error.strerror}", hint="check the path") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV table: {error}", hint="UTF-8, the first line names columns") from error
    names = [name.strip() for name in head]
    if not all(names) or not names or len(set(names)) < len(names):
        raise DataError(f"{path}: line 1 does not name every column, each once: {head}", hint="camera,weather")
    for line, row in enumerate(rows, start=2):
        if len(row) != len(names):
            raise DataError(f"{path}:{line} has {len(row)} cells for {len(names)} columns", hint="mend that line")
    if len(rows) != samples:
        raise DataError(
            f"{path} has {len(rows)} lines below the names, the source has {samples} samples",
            hint="give a line for each sample of the whole source, in its order",
        )
    return join_columns(names, rows)


def digest_slices(slices: Mapping[str, Sequence[str]]) -> str | None:
    """Return the SHA-256 (hexadecimal) of the slices of some samples, by column; None where there are none."""
    return hashlib.sha256(json.dumps(slices, sort_keys=True).encode()).hexdigest() if slices else None


def join_columns(names: Sequence[str], rows: Sequence[Sequence[str]]) -> Slices:
    """Return the columns of rows by name, without the spaces around each text."""
    return {name: tuple(row[place].strip() for row in rows) for place, name in enumerate(names)}
