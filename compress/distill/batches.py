"""Shuffled batches of a sample set, with a bound on what is held in memory."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compress.data.samples import Array, SampleSet
from compress.data.subset import narrow
from compress.errors import DataError
from compress.model import TensorSpec

LEAST_SAMPLES = 8
"""Fewer cannot be split into samples to train on and samples to judge by."""
_READ = 64

Positions = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Picked:
    """Some samples by their positions in the set; inputs [n, …] by name, labels [n, …] or None."""

    positions: Positions
    inputs: Mapping[str, Array]
    labels: Array | None

    def pick(self, positions: Positions) -> "Picked":
        """Return samples at positions that are among these (which ascend), in the order asked for."""
        rows = np.searchsorted(self.positions, positions)
        labels = None if self.labels is None else self.labels[rows]
        return Picked(positions, {name: array[rows] for name, array in self.inputs.items()}, labels)


def split_samples(samples: SampleSet, share: float, seed: int) -> tuple[Positions, Positions]:
    """Return ascending positions to train on and to judge by, drawn with a seed.

    Raises:
        DataError: Too few samples to split.
    """
    count = len(samples)
    if count < LEAST_SAMPLES:
        raise DataError(
            f"`{samples.name}` has {count} samples: too few to train on, at least {LEAST_SAMPLES} are needed",
            hint="give more samples (unlabelled ones will do; hundreds are usual)",
        )
    held = max(2, round(share * count))
    order = np.random.default_rng([seed, 0]).permutation(count)
    return np.sort(order[held:]), np.sort(order[:held])


class ShuffledBatches:
    """Batches of the samples at some positions, in another order in every epoch; a function of seed and step alone.

    What an epoch leaves over after its last full batch is not used in that epoch. A set larger than the bound is read
    in windows of the shuffled order: one ascending pass over the source a window.
    """

    def __init__(
        self, samples: SampleSet, positions: Positions, batch: int, seed: int, cache_bytes: int, place: tuple[int, int]
    ) -> None:
        """Make the batches.

        Args:
            samples: The whole set.
            positions: Ascending; those that count.
            batch: Samples a step over all processes.
            seed: Of the order.
            cache_bytes: Most that is held in memory.
            place: This process's number and how many there are; each gets every ``count``-th sample of a batch.
        """
        self._samples, self._positions, self._batch, self._seed = samples, positions, batch, seed
        self._place = place
        self.per_epoch = len(positions) // batch
        most = max(1, cache_bytes // max(1, sample_bytes(samples.specs)))
        self._whole = len(positions) <= most
        self._window = max(1, most // (batch // place[1]))
        self._held: tuple[tuple[int, int], Picked] | None = None

    def at(self, step: int) -> Picked:
        """Return this process's part of the batch of a step."""
        epoch, index = divmod(step, self.per_epoch)
        rank, count = self._place
        order = np.random.default_rng([self._seed, 1, epoch]).permutation(self._positions)
        mine = order[: self.per_epoch * self._batch].reshape(self.per_epoch, self._batch)[:, rank::count]
        key = (0, 0) if self._whole else (epoch, index // self._window)
        if self._held is None or self._held[0] != key:
            first = key[1] * self._window
            wanted = self._positions if self._whole else np.sort(mine[first : first + self._window].reshape(-1))
            # What was held goes before more is read, or the bound would be exceeded twofold.
            self._held = None
            self._held = (key, read_samples(self._samples, wanted))
        return self._held[1].pick(mine[index])


def read_samples(samples: SampleSet, positions: Positions) -> Picked:
    """Return the samples at ascending positions, read in one pass into arrays that are made once."""
    count, start = len(positions), 0
    inputs: dict[str, Array] = {}
    labels: Array | None = None
    for part in narrow(samples, [int(position) for position in positions]).batches(min(_READ, count)):
        if not inputs:
            inputs = {name: np.empty((count, *array.shape[1:]), array.dtype) for name, array in part.inputs.items()}
            labels = None if part.labels is None else np.empty((count, *part.labels.shape[1:]), part.labels.dtype)
        end = start + len(part)
        for name, array in part.inputs.items():
            inputs[name][start:end] = array
        if labels is not None and part.labels is not None:
            labels[start:end] = part.labels
        start = end
    return Picked(positions, inputs, labels)


def sample_bytes(specs: tuple[TensorSpec, ...]) -> int:
    """Return the bytes of one sample."""
    return sum(
        int(np.dtype(spec.dtype).itemsize * np.prod([size for size in spec.shape[1:] if isinstance(size, int)]))
        for spec in specs
    )
