"""Limits a sample set to some of its samples."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from compress.data.samples import Array, Batch, Description, SampleSet, describe_samples
from compress.data.sources import Fingerprint, Sample, fingerprint_arrays
from compress.data.stream import digest_fingerprints
from compress.errors import DataError
from compress.model import TensorSpec


@runtime_checkable
class Narrowable(Protocol):
    """A sample set that can leave samples out without reading them."""

    def narrow(self, positions: Sequence[int]) -> SampleSet:
        """Return the set of the samples at ascending positions of this one."""
        ...


def take(samples: SampleSet, count: int) -> SampleSet:
    """Return ``count`` samples spread evenly over the set (which may be sorted by class), or all if it has no more.

    Raises:
        DataError: ``count`` is below one.
    """
    if count < 1:
        raise DataError(f"cannot take {count} samples of `{samples.name}`", hint="Ask for one at least.")
    total = len(samples)
    return samples if count >= total else narrow(samples, [index * total // count for index in range(count)])


def narrow(samples: SampleSet, positions: Sequence[int]) -> SampleSet:
    """Return the set of the samples at ascending positions of another."""
    return samples.narrow(positions) if isinstance(samples, Narrowable) else PickedSamples(samples, tuple(positions))


@dataclass(frozen=True, slots=True)
class PickedSamples:
    """Some samples of any set; the others are read and dropped."""

    samples: SampleSet
    positions: tuple[int, ...]

    @property
    def name(self) -> str:
        """The whole set's name."""
        return self.samples.name

    @property
    def specs(self) -> tuple[TensorSpec, ...]:
        """The whole set's specs."""
        return self.samples.specs

    @property
    def labelled(self) -> bool:
        """Whether the set has labels."""
        return self.samples.labelled

    @property
    def synthetic(self) -> bool:
        """Whether the set is made up."""
        return self.samples.synthetic

    def __len__(self) -> int:
        """Return the number of samples picked."""
        return len(self.positions)

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield the picked samples in order, ``size`` at a time."""
        picked: list[Batch] = []
        for position, batch in self._picked(size):
            picked.append(batch)
            if len(picked) == size or position == self.positions[-1]:
                yield _join(picked)
                picked = []

    def digest(self) -> str:
        """Return the SHA-256 of the picked samples and their labels, as the whole set yields them."""
        return digest_fingerprints("picked", self._fingerprints())

    def sample_digests(self) -> frozenset[bytes]:
        """Return a 16-byte digest of each picked sample, as the whole set yields it."""
        return frozenset(print_.sample for print_ in self._fingerprints())

    def describe(self) -> Description:
        """Return what the whole set knows about the picked samples."""
        whole = describe_samples(self.samples)
        return Description(whole.class_names, pick_slices(whole.slices, self.positions))

    def _picked(self, size: int) -> Iterator[tuple[int, Batch]]:
        wanted, start = set(self.positions), 0
        for batch in self.samples.batches(size):
            for offset in range(len(batch)):
                if start + offset in wanted:
                    one = slice(offset, offset + 1)
                    inputs = {name: array[one] for name, array in batch.inputs.items()}
                    yield start + offset, Batch(inputs, None if batch.labels is None else batch.labels[one])
            start += len(batch)

    def _fingerprints(self) -> Iterator[Fingerprint]:
        def samples() -> Iterator[Sample]:
            for _, batch in self._picked(32):
                inputs: dict[str, Array] = {name: array[0] for name, array in batch.inputs.items()}
                yield Sample(inputs, None if batch.labels is None else np.asarray(batch.labels[0]), "")

        return fingerprint_arrays(samples())


def pick_slices(slices: Mapping[str, Sequence[str]], positions: Sequence[int]) -> dict[str, tuple[str, ...]]:
    """Return, by column, the texts of some samples."""
    return {name: tuple(values[position] for position in positions) for name, values in slices.items()}


def _join(parts: list[Batch]) -> Batch:
    inputs = {name: np.concatenate([part.inputs[name] for part in parts]) for name in parts[0].inputs}
    labels = [part.labels for part in parts if part.labels is not None]
    return Batch(inputs, np.concatenate(labels) if labels else None)
