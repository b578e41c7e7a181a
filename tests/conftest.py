"""What holds for all tests: those that need an extra or QEMU say what they lack, and in CI nothing may be skipped."""

import importlib.util
import os
import shutil
from collections.abc import Generator

import pytest

EXTRAS = {"rtx": "tensorrt_rtx_bindings", "openvino": "onnxruntime_ep_openvino"}
"""The module that a test with this mark needs."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip the tests that need an extra or QEMU where it is not installed."""
    for extra, module in EXTRAS.items():
        if item.get_closest_marker(extra) and importlib.util.find_spec(module) is None:
            pytest.skip(f'{module} is not installed: pip install "edge-compress[{extra}]"')
    if item.get_closest_marker("qemu") and shutil.which("qemu-x86_64-static") is None:
        pytest.skip("QEMU is not installed: apt-get install qemu-user-static")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure with ``CI=true``: what CI does not run it does not show."""
    report = yield
    if os.environ.get("CI") == "true" and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.longrepr = f"{item.nodeid}: skipped, which CI=true does not allow: {reason}"
    return report
