"""Calibration: one pass of the float model over the samples, a histogram for each activation."""

import io
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from compress.data.samples import Array, SampleSet
from compress.errors import DataError
from compress.model import Model
from compress.quantize.histogram import BINS, Histogram
from compress.quantize.padding import drop_padding, find_mask
from compress.runtimes import Session
from compress.runtimes.batching import fill_batch, fixed_batch

OpenObserved = Callable[[Model, list[str]], Session]
"""Opens a session of a model that returns the named values instead of the model's outputs."""

BATCH_BYTES = 64 << 20
"""Activations that are held at once, in bytes: the bound of the memory that calibration takes."""

_MAX_BATCH = 64


@dataclass(frozen=True, slots=True)
class Calibration:
    """A histogram for each observed value, by name, and how many samples they saw."""

    histograms: Mapping[str, Histogram]
    samples: int

    def to_bytes(self) -> bytes:
        """Return the calibration as an ``.npz`` archive."""
        arrays: dict[str, Array] = {"samples": np.array(self.samples), "names": np.array(list(self.histograms))}
        for index, histogram in enumerate(self.histograms.values()):
            used = np.flatnonzero(histogram.counts)
            arrays[f"bins_{index}"] = used.astype(np.uint16)
            arrays[f"counts_{index}"] = histogram.counts[used]
            arrays[f"ends_{index}"] = np.array([histogram.low, histogram.high])
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Calibration":
        """Return the calibration that :meth:`to_bytes` wrote."""
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            histograms = {}
            for index, name in enumerate(arrays["names"]):
                counts = np.zeros(BINS, np.int64)
                counts[arrays[f"bins_{index}"]] = arrays[f"counts_{index}"]
                low, high = arrays[f"ends_{index}"]
                histograms[str(name)] = Histogram(counts, float(low), float(high))
            return cls(histograms, int(arrays["samples"]))


def calibrate(
    model: Model,
    values: list[str],
    samples: SampleSet,
    open_observed: OpenObserved,
    threads: int,
    progress: Callable[[int, int], None],
) -> Calibration:
    """Return the histograms of the named values over all samples; memory does not grow with their number.

    Args:
        model: The float model.
        values: Names of graph inputs and activations.
        samples: Bound to the model's inputs.
        open_observed: How to run the model with its activations as outputs.
        threads: That count, one activation each.
        progress: Called with samples done and samples in all.

    Raises:
        DataError: No samples, or an activation is not finite; the message names it.
    """
    if not len(samples):
        raise DataError(f"{samples.name} has no samples", hint="calibration needs at least one; 100 to 1,000 are usual")
    inputs = {spec.name for spec in model.inputs}
    histograms = {name: Histogram() for name in values}
    wanted = [name for name in values if name not in inputs]
    done = 0
    with open_observed(model, wanted) as session, ThreadPoolExecutor(threads) as pool:
        for batch in samples.batches(batch_size(model, samples, session, wanted)):
            feed = fill_batch(batch.inputs, fixed_batch(model))
            observed = {**feed, **(session.run(feed) if wanted else {})}
            mask = find_mask(feed)
            counting = [
                pool.submit(
                    _observe, histogram, name, np.asarray(drop_padding(observed[name], mask), np.float32), samples.name
                )
                for name, histogram in histograms.items()
            ]
            for task in counting:
                task.result()
            done += len(batch)
            progress(done, len(samples))
    return Calibration(histograms, done)


def batch_size(model: Model, samples: SampleSet, session: Session, wanted: list[str]) -> int:
    """Return how many samples a session that returns activations is given at once: as many as ``BATCH_BYTES`` hold."""
    fixed = fixed_batch(model)
    if fixed is not None:
        return fixed
    first = next(iter(samples.batches(1))).inputs
    # Where inputs are all that is observed, the session has no outputs.
    each = sum(array.nbytes for array in (session.run(first) if wanted else first).values())
    return max(1, min(_MAX_BATCH, BATCH_BYTES // max(each, 1)))


def _observe(histogram: Histogram, name: str, array: Array, source: str) -> None:
    try:
        histogram.observe(np.asarray(array, np.float32))
    except DataError as error:
        raise DataError(f"activation `{name}` is not finite on the samples of {source}", hint=error.hint) from error
