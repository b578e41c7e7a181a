"""The JSON Schemas of a report and of a comparison of two, for readers in other languages.

``python -m compress.report.schema`` writes them anew; a test fails while a committed file is not current.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from compress.report.base import Record
from compress.report.diff.record import SCHEMA as DIFF_SCHEMA
from compress.report.diff.record import Difference
from compress.report.record import SCHEMA, Report
from compress.resources import data_folder

RECORDS: Final[Mapping[str, type[Record]]] = {SCHEMA: Report, DIFF_SCHEMA: Difference}
"""The class of each schema."""


def schema_text(name: str = SCHEMA) -> str:
    """Return a JSON Schema (draft 2020-12), by default that of ``report.json``, as this version writes it."""
    schema = RECORDS[name].model_json_schema(by_alias=True, mode="serialization")
    header = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:edge-compress:{name}",
    }
    return json.dumps(header | schema, indent=2, ensure_ascii=False) + "\n"


def schema_path(name: str = SCHEMA) -> Path:
    """Return where the committed schema lies."""
    return data_folder("reports") / "schema" / f"{name.replace('/', '-')}.json"


if __name__ == "__main__":
    schema_path().parent.mkdir(parents=True, exist_ok=True)
    for each in RECORDS:
        schema_path(each).write_text(schema_text(each), encoding="utf-8")
