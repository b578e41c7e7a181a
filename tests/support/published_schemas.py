"""Schemas that others published for formats that are written here; `schemas/LICENSES.txt` says whose they are."""

import functools
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import xmlschema

SCHEMAS = Path(__file__).parent / "schemas"


@functools.cache
def _sarif() -> Any:
    schema = json.loads((SCHEMAS / "sarif-2.1.0.json").read_text(encoding="utf-8"))
    return jsonschema.Draft7Validator(schema, format_checker=jsonschema.FormatChecker())


@functools.cache
def _junit() -> xmlschema.XMLSchema:
    return xmlschema.XMLSchema(SCHEMAS / "junit-10.xsd")


def read_sarif(text: str) -> Any:
    """Return the one run of a SARIF file, which is valid."""
    content = json.loads(text)
    _sarif().validate(content)
    (run,) = content["runs"]
    return run


def read_junit(text: str) -> ET.Element:
    """Return the root of a JUnit file, which is valid."""
    root = ET.fromstring(text)
    _junit().validate(root)
    return root
