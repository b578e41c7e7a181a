"""What holds for all tests: those that need an extra or QEMU say what they lack.

In CI nothing may be skipped for want of an installation; what the CPU cannot do may.
"""

import importlib.util
import os
import shutil
from collections.abc import Generator

import pytest

from compress.errors import TargetError
from compress.runtimes.openvino_plugin import find_device

EXTRAS = {"rtx": "tensorrt_rtx_bindings", "openvino": "onnxruntime_ep_openvino", "inc": "neural_compressor"}
"""The module that a test with this mark needs."""
UNABLE = pytest.StashKey[bool]()
"""Set where this CPU cannot run a test, whatever is installed."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip the tests that need an extra or QEMU where it is not installed."""
    for extra, module in EXTRAS.items():
        if item.get_closest_marker(extra) and importlib.util.find_spec(module) is None:
            pytest.skip(f'{module} is not installed: pip install "edge-compress[{extra}]"')
    if item.get_closest_marker("openvino"):
        _need_openvino(item)
    if item.get_closest_marker("qemu") and shutil.which("qemu-x86_64-static") is None:
        pytest.skip("QEMU is not installed: apt-get install qemu-user-static")


def _need_openvino(item: pytest.Item) -> None:
    try:
        find_device()
    except TargetError as error:
        item.stash[UNABLE] = "lists no device" in error.message
        pytest.skip(error.message)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure with ``CI=true``: what CI does not run it does not show."""
    report = yield
    skipped = report.skipped and not hasattr(report, "wasxfail") and not item.stash.get(UNABLE, False)
    if os.environ.get("CI") == "true" and skipped:
        report.outcome = "failed"
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.longrepr = f"{item.nodeid}: skipped, which CI=true does not allow: {reason}"
    return report
