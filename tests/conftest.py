"""What holds for all tests: TensorRT-RTX tests say what they lack, and in CI nothing may be skipped."""

import importlib.util
import os
from collections.abc import Generator

import pytest


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip the tests that need TensorRT-RTX where it is not installed."""
    if item.get_closest_marker("rtx") and importlib.util.find_spec("tensorrt_rtx_bindings") is None:
        pytest.skip('TensorRT-RTX is not installed: pip install "edge-compress[rtx]"')


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure with ``CI=true``: what CI does not run it does not show."""
    report = yield
    if os.environ.get("CI") == "true" and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.longrepr = f"{item.nodeid}: skipped, which CI=true does not allow: {reason}"
    return report
