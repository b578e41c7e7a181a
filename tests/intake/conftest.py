"""Small models, real archives of them, and the means to tamper with an archive."""

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

Edit = Callable[[dict[str, bytes]], None]
Tamper = Callable[[Edit], Path]


class SmallNet(nn.Module):
    """Convolution, batch normalization, residual add, pooling, linear: [N, 3, 8, 8] -> [N, 5]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.body = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.head = nn.Linear(4, 5)
        self.register_buffer("shift", torch.full((1,), 0.25))
        nn.init.uniform_(self.norm.weight, 0.5, 1.5)
        nn.init.uniform_(self.norm.bias, -1, 1)
        self.norm.running_mean = torch.rand(4)
        self.norm.running_var = torch.rand(4) + 0.5

    def forward(self, image: Tensor) -> Tensor:
        features = torch.relu(self.norm(self.stem(image)))
        features = features + self.body(features) * self.shift
        logits: Tensor = self.head(features.mean(dim=(2, 3)))
        return logits


class Marker:
    """Pickles to a call that makes a folder: proof that code ran."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.fixture
def small_net() -> SmallNet:
    torch.manual_seed(0)
    return SmallNet().eval()


@pytest.fixture(scope="session")
def archive_members(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Members of a good archive of SmallNet with a dynamic batch, by inner name."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("archive") / "model.pt"
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(SmallNet().eval(), (torch.randn(2, 3, 8, 8),), dynamic_shapes=({0: batch},))
    with path.open("wb") as file:
        torch.export.save(program, file)
    with zipfile.ZipFile(path) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def tamper(archive_members: dict[str, bytes], tmp_path: Path) -> Tamper:
    """Return a function that writes the good archive after an edit of its members."""

    def write(edit: Edit) -> Path:
        members = dict(archive_members)
        edit(members)
        path = tmp_path / "tampered.pt"
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                archive.writestr(f"archive/{name}", content)
        return path

    return write


@pytest.fixture
def edit_program(tamper: Tamper) -> Callable[[Callable[[dict[str, Any]], None]], Path]:
    """Return a function that writes the good archive after an edit of its program."""

    def write(edit: Callable[[dict[str, Any]], None]) -> Path:
        def edit_members(members: dict[str, bytes]) -> None:
            program = json.loads(members["models/model.json"])
            edit(program)
            members["models/model.json"] = json.dumps(program).encode()

        return tamper(edit_members)

    return write


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A folder that exists once a payload ran."""
    return tmp_path / "code-ran"


@pytest.fixture
def payload(marker: Path) -> Marker:
    """An object whose unpickling makes the folder ``marker``."""
    return Marker(marker)
