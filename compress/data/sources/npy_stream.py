"""Reads an array file of NumPy's format a sample at a time, from any file object: never the whole array."""

import math
from typing import IO

import numpy as np
from numpy.lib import format as npy_format

from compress.data.samples import Array
from compress.data.sources import check_numeric
from compress.errors import DataError

MAGIC = b"\x93NUMPY"


class NpyStream:
    """An ``.npy`` file [samples, …] that is read forwards, one sample at a time; memory is one sample.

    Args:
        file: Binary and seekable, at its start; a member of an ``.npz`` seeks by decompressing.
        size: Bytes of the whole file.
        what: How messages call the array.

    Raises:
        DataError: Not this format, pickled objects, not numeric, Fortran order, or no first axis.
    """

    def __init__(self, file: IO[bytes], size: int, what: str) -> None:
        self._file, self._what = file, what
        shape, fortran, dtype = self._read_header()
        check_numeric(dtype, what)
        if not shape:
            raise DataError(f"{what} is a single number", hint="The first axis counts the samples: [samples, …].")
        if fortran and len(shape) > 1:
            raise DataError(
                f"{what} is stored in Fortran order, in which a sample cannot be read alone",
                hint="Save it with `np.ascontiguousarray(array)`.",
            )
        self.count, self.shape, self.dtype = shape[0], shape[1:], dtype
        self._start = file.tell()
        self._bytes = dtype.itemsize * math.prod(self.shape)
        self._check_length(size)

    def read(self, index: int) -> Array:
        """Return sample ``index``, in the machine's byte order.

        Raises:
            DataError: The file ends early.
        """
        self._file.seek(self._start + index * self._bytes)
        raw = self._file.read(self._bytes)
        if len(raw) != self._bytes:
            raise self._truncated(f"it ends in sample {index}")
        return np.frombuffer(raw, self.dtype).reshape(self.shape).astype(self.dtype.newbyteorder("="))

    def _read_header(self) -> tuple[tuple[int, ...], bool, "np.dtype[np.generic]"]:
        try:
            version = npy_format.read_magic(self._file)
            read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
            shape, fortran, dtype = read(self._file)
        except (ValueError, EOFError, OSError) as error:
            raise DataError(
                f"{self._what} is not a NumPy array file: {error}", hint="write it with numpy.save"
            ) from error
        if any(size < 0 for size in shape):
            raise DataError(f"{self._what} has the impossible shape {list(shape)}", hint="The file is damaged.")
        return shape, fortran, dtype

    def _check_length(self, size: int) -> None:
        missing = self._start + self.count * self._bytes - size
        if missing > 0:
            raise self._truncated(f"{missing} bytes are missing")

    def _truncated(self, how: str) -> DataError:
        return DataError(
            f"{self._what} is truncated: its header says {[self.count, *self.shape]} {self.dtype}, but {how}",
            hint="Copy or save the file again.",
        )
