"""The ``.npz`` source: arrays by input name, labels under ``labels``, ``label`` or ``y``."""

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from compress.data.samples import Array
from compress.data.sources import Fingerprint, Sample, fingerprint_arrays
from compress.data.sources.npy_stream import NpyStream
from compress.errors import DataError

LABEL_NAMES = ("labels", "label", "y")


class NpzSource:
    """An archive of arrays [samples, …] of one length.

    Every pass streams the members side by side, compressed or not: memory is one sample of each array (and the
    decompressor's window of 32 KiB), whatever the file's size. What is skipped has to be decompressed too.

    Args:
        path: The archive.
        labels: Name of the array of labels; None finds the first of ``LABEL_NAMES``.

    Raises:
        DataError: Not an archive of arrays, arrays of different length, or no such array of labels.
    """

    def __init__(self, path: Path, labels: str | None) -> None:
        self._path = path
        counts = self._counts()
        self._label = _find_label(path, tuple(counts), labels)
        self._inputs = tuple(name for name in counts if name != self._label)
        if not self._inputs:
            raise DataError(f"{path.name} holds no input array, only {sorted(counts)}", hint="Save the inputs by name.")
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"{name}: {count}" for name, count in counts.items())
            raise DataError(
                f"the arrays of {path.name} have different numbers of samples ({listed})",
                hint="The first axis of every array counts the samples.",
            )
        self._count = next(iter(counts.values()))

    @property
    def labelled(self) -> bool:
        """Whether there is an array of labels."""
        return self._label is not None

    def __len__(self) -> int:
        """Return the first axis of the arrays."""
        return self._count

    def read(self, indices: Sequence[int]) -> Iterator[Sample]:
        """Yield the samples at ascending indices."""
        names = (*self._inputs, self._label) if self._label else self._inputs
        with ExitStack() as stack:
            archive = stack.enter_context(zipfile.ZipFile(self._path))
            streams = {name: _open_member(stack, archive, self._path, name) for name in names}
            for index in indices:
                arrays = {name: self._read(stream, index) for name, stream in streams.items()}
                label = arrays.pop(self._label) if self._label else None
                yield Sample(arrays, label, f"sample {index} of {self._path.name}")

    def fingerprints(self, indices: Sequence[int]) -> Iterator[Fingerprint]:
        """Yield the digests of the samples at ascending indices."""
        return fingerprint_arrays(self.read(indices))

    def _read(self, stream: NpyStream, index: int) -> Array:
        try:
            return stream.read(index)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
            raise DataError(f"{self._path.name} is damaged: {error}", hint="Copy or save the file again.") from error

    def _counts(self) -> dict[str, int]:
        try:
            with ExitStack() as stack:
                archive = stack.enter_context(zipfile.ZipFile(self._path))
                names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
                return {name: _open_member(stack, archive, self._path, name).count for name in names}
        except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, OSError) as error:
            raise DataError(
                f"{self._path.name} is not a readable .npz archive: {error}", hint="write it with numpy.savez"
            ) from error


def _open_member(stack: ExitStack, archive: zipfile.ZipFile, path: Path, name: str) -> NpyStream:
    info = archive.getinfo(f"{name}.npy")
    return NpyStream(stack.enter_context(archive.open(info)), info.file_size, f"array `{name}` of {path.name}")


def _find_label(path: Path, names: tuple[str, ...], asked: str | None) -> str | None:
    if asked is None:
        return next((name for name in LABEL_NAMES if name in names), None)
    if asked not in names:
        raise DataError(f"{path.name} has no array `{asked}` for the labels", hint=f"It holds {', '.join(names)}.")
    return asked
