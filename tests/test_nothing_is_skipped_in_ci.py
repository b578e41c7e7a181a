import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_TESTS = """
import pytest


def test_skips():
    pytest.skip("no board here")


@pytest.mark.xfail(reason="known")
def test_fails_as_known():
    raise AssertionError
"""


@pytest.mark.parametrize(("ci", "outcome"), [("true", "1 failed, 1 xfailed"), ("", "1 skipped, 1 xfailed")])
def test_a_skip_is_a_failure_only_in_ci(tmp_path: Path, ci: str, outcome: str) -> None:
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "test_probe.py").write_text(_TESTS, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", str(tmp_path)]
    done = subprocess.run(command, env={**os.environ, "CI": ci}, capture_output=True, text=True, check=False)
    assert outcome in done.stdout
    assert ("skipped, which CI=true does not allow: Skipped: no board here" in done.stdout) == (ci == "true")
