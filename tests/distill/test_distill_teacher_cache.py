import shutil
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest
import torch
from distill_nets import Net, samples
from torch import Tensor

from compress.distill.distributed import Processes
from compress.distill.teacher_cache import fill_cache
from compress.distill.tensors import to_tensor
from compress.errors import DataError

CPU = torch.device("cpu")


def test_outputs_are_found_by_the_position_of_the_sample(tmp_path: Path) -> None:
    teacher = Net(8, seed=1)
    cache = fill_cache(tmp_path / "t", samples(20), teacher, 6, CPU, Processes())
    feed = {name: torch.from_numpy(array) for name, array in next(samples(20).batches(20)).inputs.items()}
    wanted = teacher(feed)["y"][[11, 3]].detach()
    torch.testing.assert_close(cache.at(np.array([11, 3]), CPU)["y"], wanted)


def test_a_cache_is_whole_or_absent(tmp_path: Path) -> None:
    def fail(feed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if (tmp_path / "once").exists():
            raise ValueError("broken teacher")
        (tmp_path / "once").touch()
        return {"y": feed["x"]}

    (tmp_path / "caches" / ".teacher-left").mkdir(parents=True)
    with pytest.raises(ValueError, match="broken teacher"):
        fill_cache(tmp_path / "caches" / "t", samples(20), fail, 6, CPU, Processes())
    assert not list((tmp_path / "caches").iterdir())


def test_a_disk_without_room_is_said_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(DataError, match=r"outputs of 20 samples take 0\.0 GB, 0\.0 GB are left") as raised:
        fill_cache(tmp_path / "t", samples(20), Net(8, seed=1), 6, CPU, Processes())
    assert raised.value.hint == "set teacher_cache = false: the teacher then runs at every step"


def test_bfloat16_samples_become_bfloat16_tensors() -> None:
    tensor = to_tensor(np.array([1.5, -2.0], ml_dtypes.bfloat16))
    assert tensor.dtype == torch.bfloat16
    assert tensor.tolist() == [1.5, -2.0]
