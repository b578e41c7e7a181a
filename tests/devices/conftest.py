"""An interpreter without an emulator, so that everything but the emulation itself is tested in a second."""

import sys
from pathlib import Path

import pytest
from qdq_graphs import residual_net

from compress.devices.cpus import CPUS, EmulatedCpu
from compress.devices.qemu import Launch

NATIVE = Launch((sys.executable, "-P"))


@pytest.fixture
def haswell() -> EmulatedCpu:
    return CPUS["haswell"]


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start the worker on this machine's own CPU."""
    monkeypatch.setattr("compress.devices.session.plan_launch", lambda cpu: NATIVE)


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(residual_net(dtype="uint8", zero_point=0).to_bytes())
    return path
