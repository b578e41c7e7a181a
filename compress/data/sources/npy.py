"""The ``.npy`` source: one input, its labels in a second ``.npy``."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from compress.data.samples import Array
from compress.data.sources import Fingerprint, Sample, fingerprint_arrays
from compress.data.sources.npy_stream import NpyStream
from compress.errors import DataError


class NpySource:
    """One array file [samples, …], and one of labels [samples, …] where there are labels.

    Both are read by offset: memory is one sample, whatever the file's size.

    Raises:
        DataError: A file is damaged, pickled or not numeric, or the two do not have the same length.
    """

    def __init__(self, path: Path, labels: Path | None, input_name: str) -> None:
        self._path, self._labels, self._input = path, labels, input_name
        self._count = _count(path)
        if labels is not None and _count(labels) != self._count:
            raise DataError(
                f"{labels.name} has {_count(labels)} labels, {path.name} has {self._count} samples",
                hint="Both need the same first axis.",
            )

    @property
    def labelled(self) -> bool:
        """Whether a file of labels was given."""
        return self._labels is not None

    def __len__(self) -> int:
        """Return the first axis of the array."""
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


def _count(path: Path) -> int:
    with path.open("rb") as file:
        return NpyStream(file, path.stat().st_size, path.name).count


def _values(path: Path, indices: Sequence[int]) -> Iterator[Array]:
    with path.open("rb") as file:
        stream = NpyStream(file, path.stat().st_size, path.name)
        for index in indices:
            yield stream.read(index)
