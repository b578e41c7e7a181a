"""The report as a file: written whole or not at all, read with every mistake named."""

import json
from pathlib import Path

from pydantic import ValidationError

from compress.config import explain, read_json
from compress.errors import ConfigError
from compress.report.record import SCHEMA, Report
from compress.store import REPORT, write_atomically


def write_report(report: Report, path: Path) -> None:
    """Write a report as JSON, by way of a temporary file in the same folder, so that no reader sees half of it.

    Raises:
        ConfigError: The file cannot be written.
    """
    try:
        write_atomically(path, report.to_json().encode())
    except OSError as error:
        raise ConfigError(
            f"cannot write {path}: {error.strerror}", hint="choose a folder that exists and may be written to"
        ) from error


def read_report(path: Path) -> Report:
    """Return the report in a file, or in the folder that ``compress run`` wrote.

    Raises:
        ConfigError: No such file, not JSON, another schema, an unknown or missing field, two targets of
            one name; the message names the place.
    """
    path = path / REPORT if path.is_dir() else path
    content = read_json(path, hint="give a report.json that `compress run` wrote, or its folder")
    found = content.get("schema") if isinstance(content, dict) else None
    if found != SCHEMA:
        raise ConfigError(
            f"{path} is not a report of schema {SCHEMA}: its `schema` is {found!r}",
            hint="give a report.json that this version of `compress run` wrote",
        )
    try:
        report = Report.model_validate_json(json.dumps(content))
    except ValidationError as error:
        raise explain(error, str(path), Report) from error
    names = [target.target for target in report.targets]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(
            f"{path}: `targets`: two are called {twice[0]}", hint="give a report.json that `compress run` wrote"
        )
    return report
