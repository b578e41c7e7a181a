"""Reading sample sources and sets whole, which only tests may do."""

from collections.abc import Sequence

import numpy as np

from compress.data.samples import Batch, SampleSet
from compress.data.sources import Sample, Source


def read_all(source: Source, indices: Sequence[int] | None = None) -> list[Sample]:
    """Return the samples of a source, all by default."""
    return list(source.read(range(len(source)) if indices is None else indices))


def join(samples: SampleSet, size: int = 4) -> Batch:
    """Return all samples as one batch, read ``size`` at a time."""
    parts = list(samples.batches(size))
    inputs = {name: np.concatenate([part.inputs[name] for part in parts]) for name in parts[0].inputs}
    labels = [part.labels for part in parts if part.labels is not None]
    return Batch(inputs, np.concatenate(labels) if labels else None)
