"""What each channel of an activation does on the samples: its ends, its mean, its energy."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compress.data.samples import Array, SampleSet
from compress.errors import DataError
from compress.model import Model
from compress.quantize.calibrate import OpenObserved, batch_size
from compress.quantize.padding import drop_padding, find_mask
from compress.runtimes.batching import fill_batch, fixed_batch

_Floats = NDArray[np.float64]


@dataclass(slots=True)
class ChannelStatistics:
    """Of one activation, each [channels].

    Attributes:
        low: Smallest value.
        high: Largest value.
        total: Sum of the values.
        energy: Sum of their squares.
        count: How many values of a channel were seen.
    """

    low: _Floats
    high: _Floats
    total: _Floats
    energy: _Floats
    count: int

    @property
    def mean(self) -> _Floats:
        """The mean of each channel."""
        return self.total / max(self.count, 1)

    @property
    def mean_square(self) -> _Floats:
        """The mean square of each channel."""
        return self.energy / max(self.count, 1)

    @property
    def reach(self) -> _Floats:
        """The largest magnitude in each channel."""
        return np.maximum(np.abs(self.low), np.abs(self.high))


def observe_channels(
    model: Model,
    axes: Mapping[str, int],
    samples: SampleSet,
    open_observed: OpenObserved,
    progress: Callable[[int, int], None],
) -> dict[str, ChannelStatistics]:
    """Return the statistics of the channels of activations over all samples; memory does not grow with their number.

    Args:
        model: A float model.
        axes: For each activation, by name, the axis of its channels.
        samples: Bound to the model's inputs.
        open_observed: How to run the model with its activations as outputs.
        progress: Called with samples done and samples in all.

    Raises:
        DataError: An activation is not finite; the message names it.
    """
    found: dict[str, ChannelStatistics] = {}
    if not axes:
        return found
    inputs = {spec.name for spec in model.inputs}
    done = 0
    wanted = [name for name in axes if name not in inputs]
    with open_observed(model, wanted) as session:
        for batch in samples.batches(batch_size(model, samples, session, wanted)):
            feed = fill_batch(batch.inputs, fixed_batch(model))
            observed = {**feed, **(session.run(feed) if wanted else {})}
            mask = find_mask(feed)
            for name, axis in axes.items():
                seen = _summarise(drop_padding(observed[name], mask), axis)
                _check_finite(name, seen, samples.name)
                found[name] = _merge(found[name], seen) if name in found else seen
            done += len(batch)
            progress(done, len(samples))
    return found


def _summarise(array: Array, axis: int) -> ChannelStatistics:
    """Return the statistics of one batch [batch, …, channels, …]."""
    rows = np.moveaxis(np.asarray(array, np.float32), axis, 1 if axis else 0)
    if axis:
        rows = rows.reshape(*rows.shape[:2], -1)
        within, across = 2, 0
    else:
        rows, within, across = rows.reshape(1, len(rows), -1), 2, 0
    energy = np.einsum("bcx,bcx->bc", rows, rows, dtype=np.float32).sum(across, dtype=np.float64)
    return ChannelStatistics(
        low=rows.min(axis=within).min(across).astype(np.float64),
        high=rows.max(axis=within).max(across).astype(np.float64),
        total=rows.sum(axis=within, dtype=np.float32).sum(across, dtype=np.float64),
        energy=energy,
        count=rows.shape[0] * rows.shape[2],
    )


def _merge(first: ChannelStatistics, second: ChannelStatistics) -> ChannelStatistics:
    return ChannelStatistics(
        np.minimum(first.low, second.low),
        np.maximum(first.high, second.high),
        first.total + second.total,
        first.energy + second.energy,
        first.count + second.count,
    )


def _check_finite(name: str, seen: ChannelStatistics, source: str) -> None:
    if not np.isfinite(seen.low).all() or not np.isfinite(seen.high).all():
        raise DataError(
            f"activation `{name}` is not finite on the samples of {source}",
            hint="check the model and the samples for NaN and infinity",
        )
