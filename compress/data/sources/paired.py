"""What formats of one array a file have in common: samples in one file, labels in a second one."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

from compress.data.samples import Array
from compress.data.sources import Fingerprint, Sample, fingerprint_arrays
from compress.errors import DataError


class PairedFiles(ABC):
    """One file of samples [samples, …], and one of labels with the same first axis where there are labels.

    Both are streamed: memory is one sample, whatever the file's size.

    Raises:
        DataError: A file is damaged or of another format, or the two do not have the same length.
    """

    def __init__(self, path: Path, labels: Path | None, input_name: str) -> None:
        self._path, self._labels, self._input = path, labels, input_name
        self._count = self._count_values(path)
        if labels is not None and self._count_values(labels) != self._count:
            raise DataError(
                f"{labels.name} has {self._count_values(labels)} labels, {path.name} has {self._count} samples",
                hint="Both files must be of the same split.",
            )

    @staticmethod
    @abstractmethod
    def _count_values(path: Path) -> int:
        """Return the length of the first axis of a file."""

    @staticmethod
    @abstractmethod
    def _read_values(path: Path, indices: Sequence[int]) -> Iterator[Array]:
        """Yield the values of a file at ascending indices."""

    @property
    def labelled(self) -> bool:
        """Whether a file of labels was given."""
        return self._labels is not None

    def __len__(self) -> int:
        """Return the number of samples."""
        return self._count

    def read(self, indices: Sequence[int]) -> Iterator[Sample]:
        """Yield the samples at ascending indices."""
        labels = None if self._labels is None else self._read_values(self._labels, indices)
        for index, value in zip(indices, self._read_values(self._path, indices), strict=True):
            label = None if labels is None else next(labels)
            yield Sample({self._input: value}, label, f"sample {index} of {self._path.name}")

    def fingerprints(self, indices: Sequence[int]) -> Iterator[Fingerprint]:
        """Yield the digests of the samples at ascending indices."""
        return fingerprint_arrays(self.read(indices))
