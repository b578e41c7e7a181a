"""Targets without files, and a folder for an engine."""

from pathlib import Path

import pytest

from compress.targets import Target


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "engine"
    made.mkdir()
    return made


@pytest.fixture
def null_target() -> Target:
    return Target(name="probe", description="", runtime="null", precisions=("float32", "int8"))
