"""The report's JSON Schema, for readers in other languages.

``python -m compress.report.schema`` writes it anew; a test fails while the committed file is not current.
"""

import json
from pathlib import Path

from compress.report.record import SCHEMA, Report
from compress.resources import data_folder

FILE_NAME = SCHEMA.replace("/", "-") + ".json"


def schema_text() -> str:
    """Return the JSON Schema (draft 2020-12) of ``report.json`` as this version writes it."""
    schema = Report.model_json_schema(by_alias=True, mode="serialization")
    header = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:edge-compress:{SCHEMA}",
    }
    return json.dumps(header | schema, indent=2, ensure_ascii=False) + "\n"


def schema_path() -> Path:
    """Return where the committed schema lies."""
    return data_folder("reports") / "schema" / FILE_NAME


if __name__ == "__main__":
    schema_path().parent.mkdir(parents=True, exist_ok=True)
    schema_path().write_text(schema_text(), encoding="utf-8")
