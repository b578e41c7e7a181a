import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from compress.data.samples import Array

WriteIdx = Callable[..., Path]
WriteImage = Callable[..., Path]
Pixels = NDArray[np.uint8]


@pytest.fixture
def pixels() -> Pixels:
    """Six grey images [6, 5, 4]."""
    return np.random.default_rng(1).integers(0, 256, (6, 5, 4)).astype(np.uint8)


@pytest.fixture
def write_idx(tmp_path: Path) -> WriteIdx:
    """Returns a function that writes an array as idx, gzipped where the name says so."""

    def write(name: str, array: Array, code: int = 8, cut: int = 0) -> Path:
        big_endian = array.astype(array.dtype.newbyteorder(">"))
        header = bytes([0, 0, code, array.ndim]) + np.asarray(array.shape, ">u4").tobytes()
        raw = header + big_endian.tobytes()
        raw = raw[: len(raw) - cut]
        (tmp_path / name).write_bytes(gzip.compress(raw, mtime=0) if name.endswith(".gz") else raw)
        return tmp_path / name

    return write


@pytest.fixture
def write_image(tmp_path: Path) -> WriteImage:
    """Returns a function that writes an image of one colour (or given pixels) below the test's folder."""

    def write(
        name: str, colour: tuple[int, ...] = (255, 0, 0), size: tuple[int, int] = (4, 3), kind: str | None = None
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = {1: "L", 3: "RGB", 4: "RGBA"}[len(colour)]
        Image.new(mode, size, colour).save(path, format=kind)
        return path

    return write
