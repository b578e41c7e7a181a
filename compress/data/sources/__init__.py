"""Sources: one module a format, all of the same shape; they read samples as they lie there, one at a time.

The format is recognised by content. Adding one is a module and a line in ``compress.data.sources.opening``.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from compress.data.samples import Array
from compress.errors import DataError

NUMERIC_KINDS = "biuf"
DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample as it lies in its source.

    Attributes:
        inputs: Arrays without a batch axis, by input name.
        label: An array without a batch axis (usually 0-d), or None.
        where: What a message calls it: a file name, or an index.
    """

    inputs: Mapping[str, Array]
    label: Array | None
    where: str


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Digests, 16 bytes each, of one sample and of its label."""

    sample: bytes
    label: bytes


class Source(Protocol):
    """A finite, ordered, repeatable collection of samples; holds none of them."""

    @property
    def labelled(self) -> bool:
        """Whether every sample has a label."""
        ...

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def read(self, indices: Sequence[int]) -> Iterator[Sample]:
        """Yield the samples at ascending indices."""
        ...

    def fingerprints(self, indices: Sequence[int]) -> Iterator[Fingerprint]:
        """Yield the digests of the samples at ascending indices."""
        ...


def fingerprint_arrays(samples: Iterable[Sample]) -> Iterator[Fingerprint]:
    """Yield digests of element types, shapes and values; input names do not count, their order does."""
    for sample in samples:
        arrays = [sample.inputs[name] for name in sorted(sample.inputs)]
        yield Fingerprint(_digest(arrays), digest_label(sample.label))


def digest_label(label: Array | None) -> bytes:
    """Return the digest of a label; equal labels of different integer widths have equal digests."""
    if label is None:
        return b""
    return _digest([label.astype(np.int64) if label.dtype.kind in "iu" else label])


def check_numeric(dtype: "np.dtype[np.generic]", what: str) -> None:
    """Accept booleans, integers and floats.

    Raises:
        DataError: Pickled objects, structures, strings, dates or complex numbers.
    """
    if dtype.hasobject:
        raise DataError(f"{what} holds pickled Python objects, which are never loaded", hint="Save a numeric array.")
    if dtype.kind not in NUMERIC_KINDS or dtype.fields is not None:
        raise DataError(f"{what} has element type {dtype}", hint="Samples are booleans, integers or floats.")


def _digest(arrays: Iterable[Array]) -> bytes:
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.digest()
