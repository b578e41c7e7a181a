from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder that a kit is written into."""
    made = tmp_path / "kit"
    made.mkdir()
    return made
