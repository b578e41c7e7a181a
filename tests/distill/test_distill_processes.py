import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import distill_nets
import numpy as np
import pytest
import torch
from distill_nets import Net, run, settings

from compress.distill import loop
from compress.distill.distributed import Processes, current_processes, joined_processes
from compress.errors import UsageError


def test_two_processes_reach_what_one_reaches_with_the_same_batch(tmp_path: Path) -> None:
    script = [sys.executable, distill_nets.__file__, "shared", str(tmp_path)]
    running = [subprocess.Popen(script, env={**os.environ, "RANK": str(rank), "WORLD_SIZE": "2"}) for rank in range(2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANK", "0")
        patch.setenv("WORLD_SIZE", "1")
        distill_nets.train_shared(tmp_path)
    assert [process.wait(timeout=60) for process in running] == [0, 0]
    alone, first, second = (np.load(tmp_path / f"result-{name}.npz") for name in ("1-0", "2-0", "2-1"))
    np.testing.assert_array_equal(first["weights"], second["weights"])
    # Gradients are summed in another order: measured 3e-7 apart after 60 steps.
    np.testing.assert_allclose(first["losses"], alone["losses"], rtol=1e-4)
    np.testing.assert_allclose(first["weights"], alone["weights"], atol=1e-4)
    np.testing.assert_allclose(first["sqnr"], alone["sqnr"], atol=1e-2)


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "current_processes", lambda: Processes(0, 8))
    with pytest.raises(UsageError, match="a batch of 4 cannot be shared by 8 processes"):
        run(Net(4, seed=1), of=settings(batch=4))


def test_outputs_on_disk_need_a_folder_that_all_processes_see(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "current_processes", lambda: Processes(1, 2))
    with pytest.raises(UsageError, match="needs a folder"):
        run(Net(4, seed=1), of=settings(teacher_cache=True))


def test_one_process_is_alone_without_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined_processes() as processes:
        assert processes == current_processes() == Processes(0, 1)
    assert processes.as_first(2.5, torch.device("cpu")) == 2.5
    assert processes.gather("a") == ["a"]
    processes.wait()


def test_processes_that_cannot_be_reached_are_the_users_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with (
        pytest.raises(UsageError, match="WORLD_SIZE is 2, but the other processes cannot be reached") as raised,
        joined_processes(),
    ):
        pass
    assert raised.value.hint is not None
    assert "torchrun" in raised.value.hint


def test_a_group_is_joined_and_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(
        torch.distributed,
        "init_process_group",
        lambda backend, start=torch.distributed.init_process_group: start(
            backend, init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1
        ),
    )
    with joined_processes() as processes:
        assert processes == Processes(0, 1)
    assert not torch.distributed.is_initialized()


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    """Start a group of this process alone."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/alone", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("group")
def test_sums_over_processes_are_divided_by_their_number() -> None:
    # The group has one member, so the sum over "two" processes is what this one has.
    pretended = Processes(0, 2)
    first, second = torch.nn.Parameter(torch.zeros(2, 3)), torch.nn.Parameter(torch.zeros(4))
    first.grad = torch.full((2, 3), 6.0)
    pretended.average_gradients([first, second])
    assert torch.equal(first.grad, torch.full((2, 3), 3.0))
    assert torch.equal(second.grad, torch.zeros(4))  # type: ignore[arg-type]
    assert pretended.total(torch.tensor(5.0)) == 5
    assert pretended.as_first(1.5, torch.device("cpu")) == 1.5
    assert Processes(0, 2).gather({"a": 1})[0] == {"a": 1}
    pretended.wait()
