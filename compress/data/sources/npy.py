"""The ``.npy`` source: one input, its labels in a second ``.npy``."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from compress.data.samples import Array
from compress.data.sources.npy_stream import NpyStream
from compress.data.sources.paired import PairedFiles


class NpySource(PairedFiles):
    """Arrays that are read by offset; pickled and non-numeric ones are refused."""

    @staticmethod
    def _count_values(path: Path) -> int:
        with path.open("rb") as file:
            return NpyStream(file, path.stat().st_size, path.name).count

    @staticmethod
    def _read_values(path: Path, indices: Sequence[int]) -> Iterator[Array]:
        with path.open("rb") as file:
            stream = NpyStream(file, path.stat().st_size, path.name)
            for index in indices:
                yield stream.read(index)
