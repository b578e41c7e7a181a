"""The idx source (the MNIST format), plain or gzipped: one input, its labels in a second file."""

import gzip
import math
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, cast

import numpy as np

from compress.data.samples import Array
from compress.data.sources import Fingerprint, Sample, fingerprint_arrays
from compress.errors import DataError

GZIP_MAGIC = b"\x1f\x8b"
ELEMENT_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_DAMAGE = (EOFError, OSError, zlib.error)


def is_idx_header(start: bytes) -> bool:
    """Return whether a file that starts like this is idx: two zeros, an element type, the number of axes.

    Source: Y. LeCun, C. Cortes, C. Burges, The MNIST database, "the IDX file format".
    """
    return len(start) >= 4 and start[:2] == b"\0\0" and start[2] in ELEMENT_TYPES and 1 <= start[3] <= 8


class IdxSource:
    """One idx file [samples, …], and one of labels [samples] where there are labels.

    Both are streamed: memory is one sample, whatever the file's size.

    Raises:
        DataError: A file is damaged or not idx, or the two do not have the same length.
    """

    def __init__(self, path: Path, labels: Path | None, input_name: str) -> None:
        self._path, self._labels, self._input = path, labels, input_name
        self._count = _count(path)
        if labels is not None and _count(labels) != self._count:
            raise DataError(
                f"{labels.name} has {_count(labels)} labels, {path.name} has {self._count} samples",
                hint="Both files must be of the same split.",
            )

    @property
    def labelled(self) -> bool:
        """Whether a file of labels was given."""
        return self._labels is not None

    def __len__(self) -> int:
        """Return the first axis that the header states."""
        return self._count

    def read(self, indices: Sequence[int]) -> Iterator[Sample]:
        """Yield the samples at ascending indices."""
        labels = None if self._labels is None else _values(self._labels, indices)
        for index, value in zip(indices, _values(self._path, indices), strict=True):
            label = None if labels is None else next(labels)
            yield Sample({self._input: value}, label, f"sample {index} of {self._path.name}")

    def fingerprints(self, indices: Sequence[int]) -> Iterator[Fingerprint]:
        """Yield the digests of the samples at ascending indices."""
        return fingerprint_arrays(self.read(indices))


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


def _count(path: Path) -> int:
    with _open(path) as file:
        shape, dtype = _read_header(file, path)
        expected = file.tell() + dtype.itemsize * math.prod(shape)
        if not isinstance(file, gzip.GzipFile) and path.stat().st_size < expected:
            raise _damaged(path, f"its header promises {expected} bytes, it has {path.stat().st_size}")
    return shape[0]


def _values(path: Path, indices: Sequence[int]) -> Iterator[Array]:
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


def _damaged(path: Path, how: str) -> DataError:
    return DataError(f"{path.name} is truncated or damaged: {how}", hint="Fetch or copy the file again.")
