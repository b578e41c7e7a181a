"""Sample sets: where calibration and evaluation samples come from, one batch at a time."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from compress.model import TensorSpec

Array = NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Batch:
    """Some consecutive samples.

    Attributes:
        inputs: One array [batch, …] for each model input, by name.
        labels: [batch, …], or None where the set has no labels.
    """

    inputs: Mapping[str, Array]
    labels: Array | None

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))


class SampleSet(Protocol):
    """A finite, ordered, repeatable set of samples; never all in memory.

    Two passes over ``batches`` give the same samples in the same order, whatever the batch size.
    """

    @property
    def name(self) -> str:
        """What reports call it: ``"fashion-mnist/test"``."""
        ...

    @property
    def specs(self) -> tuple[TensorSpec, ...]:
        """Name, dtype and shape (first axis ``"batch"``) of what :meth:`batches` yields."""
        ...

    @property
    def labelled(self) -> bool:
        """Whether every batch has labels."""
        ...

    @property
    def synthetic(self) -> bool:
        """Whether the samples are made up (random numbers in the shape of the inputs)."""
        ...

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield all samples in order, ``size`` at a time (the last batch may be smaller)."""
        ...

    def digest(self) -> str:
        """Return the SHA-256 (hexadecimal) of all samples, labels and transforms."""
        ...

    def sample_digests(self) -> frozenset[bytes]:
        """Return a 16-byte digest of each sample as it lies in the source, before transforms."""
        ...


@dataclass(frozen=True, slots=True)
class Description:
    """What a set knows about its samples beside inputs and labels.

    Attributes:
        class_names: In the order of their numbers; empty where they are not known.
        slices: By column, one text a sample: what groups of samples can be told apart by.
    """

    class_names: tuple[str, ...] = ()
    slices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@runtime_checkable
class Describing(Protocol):
    """A sample set that can say more about its samples."""

    def describe(self) -> Description:
        """Return what is known about the samples, in their order."""
        ...


def describe_samples(samples: SampleSet) -> Description:
    """Return what a set knows about its samples; nothing where it cannot say."""
    return samples.describe() if isinstance(samples, Describing) else Description()
