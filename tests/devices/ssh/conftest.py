"""A board on this machine: a real sshd, the system's ssh, the agent in processes of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sshd
from qdq_graphs import residual_net


@pytest.fixture
def server(tmp_path: Path) -> Iterator[sshd.Server]:
    """A server that listens; afterwards no process of it is left."""
    made = sshd.make_server(tmp_path / "server")
    made.start()
    yield made
    made.stop()


@pytest.fixture
def lease(tmp_path: Path) -> str:
    """The lease file of this test's board."""
    return str(tmp_path / "lease")


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """A small INT8 graph."""
    path = tmp_path / "model.onnx"
    path.write_bytes(residual_net(dtype="uint8", zero_point=0).to_bytes())
    return path
