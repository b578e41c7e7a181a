"""Made-up samples, for a run without data: they show that a graph runs, never how accurate it is."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from compress.data.samples import Array, SampleSet
from compress.data.sources import Fingerprint, Sample, fingerprint_arrays
from compress.data.stream import StreamedSamples
from compress.errors import DataError
from compress.model import TensorSpec

DYNAMIC_SIZE = 64
"""Size of every dynamic dimension but the first: a multiple of what image networks divide by, a short text."""


@dataclass(frozen=True, slots=True)
class RandomSource:
    """Seeded samples in the shape of some inputs, each made when it is read.

    Floats are standard normal. Integers and booleans are 0 or 1, and the first of each sample is 1: valid as token
    numbers, token types and masks of any model, and no mask is empty.
    """

    inputs: tuple[TensorSpec, ...]
    count: int
    seed: int

    @property
    def labelled(self) -> bool:
        """False."""
        return False

    def __len__(self) -> int:
        """Return the number of samples."""
        return self.count

    def read(self, indices: Sequence[int]) -> Iterator[Sample]:
        """Yield the samples at ascending indices."""
        for index in indices:
            generator = np.random.default_rng([self.seed, index])
            yield Sample({spec.name: _draw(generator, spec) for spec in self.inputs}, None, f"sample {index}")

    def fingerprints(self, indices: Sequence[int]) -> Iterator[Fingerprint]:
        """Yield the digests of the samples at ascending indices."""
        return fingerprint_arrays(self.read(indices))


def synthesize(inputs: tuple[TensorSpec, ...], count: int, seed: int) -> SampleSet:
    """Return ``count`` made-up samples for a model's inputs; dynamic dimensions get the size ``DYNAMIC_SIZE``.

    Raises:
        DataError: An input without a first axis, or of an element type that cannot be made up.
    """
    for spec in inputs:
        if not spec.shape:
            raise DataError(f"input `{spec.name}` is a single number, it has no batch axis", hint="Give samples.")
        if not _is_float(np.dtype(spec.dtype)) and np.dtype(spec.dtype).kind not in "iub":
            raise DataError(
                f"samples of type {spec.dtype} (input `{spec.name}`) cannot be made up", hint="Give samples."
            )
    settings = hashlib.sha256(f"synthetic {seed} {[str(spec) for spec in inputs]}".encode()).hexdigest()
    return StreamedSamples("synthetic", RandomSource(inputs, count, seed), range(count), (), settings, synthetic=True)


def _draw(generator: np.random.Generator, spec: TensorSpec) -> Array:
    shape = tuple(DYNAMIC_SIZE if isinstance(size, str) else size for size in spec.shape[1:])
    dtype = np.dtype(spec.dtype)
    if _is_float(dtype):
        return np.asarray(generator.standard_normal(shape, np.float32)).astype(dtype)
    values = np.asarray(generator.integers(0, 2, shape)).astype(dtype)
    values.reshape(-1)[:1] = 1
    return values


def _is_float(dtype: "np.dtype[np.generic]") -> bool:
    return dtype.kind == "f" or dtype.name == "bfloat16"
