"""The idx source (the MNIST format), plain or gzipped: one input, its labels in a second file."""

import gzip
import math
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, cast

import numpy as np

from compress.data.samples import Array
from compress.data.sources.paired import PairedFiles
from compress.errors import DataError

GZIP_MAGIC = b"\x1f\x8b"
ELEMENT_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_DAMAGE = (EOFError, OSError, zlib.error)


def is_idx_header(start: bytes) -> bool:
    """Return whether a file that starts like this is idx: two zeros, an element type, the number of axes.

    Source: Y. LeCun, C. Cortes, C. Burges, The MNIST database, "the IDX file format".
    """
    return len(start) >= 4 and start[:2] == b"\0\0" and start[2] in ELEMENT_TYPES and 1 <= start[3] <= 8


def _open(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        zipped = file.read(2) == GZIP_MAGIC
    return cast("IO[bytes]", gzip.open(path)) if zipped else path.open("rb")


def _read_header(file: IO[bytes], path: Path) -> tuple[tuple[int, ...], "np.dtype[np.generic]"]:
    try:
        start = file.read(4)
        if not is_idx_header(start):
            raise DataError(
                f"{path.name} is not an idx file (it starts with {start.hex(' ') or 'nothing'})",
                hint="give an IDX file as MNIST has them, .gz or not",
            )
        sizes = file.read(4 * start[3])
    except _DAMAGE as error:
        raise _damaged(path, str(error)) from error
    if len(sizes) != 4 * start[3]:
        raise _damaged(path, "it ends in its header")
    return tuple(int(size) for size in np.frombuffer(sizes, ">u4")), np.dtype(ELEMENT_TYPES[start[2]])


def _damaged(path: Path, how: str) -> DataError:
    return DataError(f"{path.name} is truncated or damaged: {how}", hint="Fetch or copy the file again.")


class IdxSource(PairedFiles):
    """Arrays in idx files, plain or gzipped; a gzipped one is decompressed as far as it is read."""

    @staticmethod
    def _count_values(path: Path) -> int:
        with _open(path) as file:
            shape, dtype = _read_header(file, path)
            expected = file.tell() + dtype.itemsize * math.prod(shape)
            if not isinstance(file, gzip.GzipFile) and path.stat().st_size < expected:
                raise _damaged(path, f"its header promises {expected} bytes, it has {path.stat().st_size}")
        return shape[0]

    @staticmethod
    def _read_values(path: Path, indices: Sequence[int]) -> Iterator[Array]:
        with _open(path) as file:
            shape, dtype = _read_header(file, path)
            size, start = dtype.itemsize * math.prod(shape[1:]), file.tell()
            for index in indices:
                try:
                    file.seek(start + index * size)
                    raw = file.read(size)
                except _DAMAGE as error:
                    raise _damaged(path, str(error)) from error
                if len(raw) != size:
                    raise _damaged(path, f"it ends in sample {index} of {shape[0]}")
                yield np.frombuffer(raw, dtype).reshape(shape[1:]).astype(dtype.newbyteorder("="))
