"""Sample sets that read a source: selection, transforms and batches, one sample in memory at a time."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice

import numpy as np

from compress.data.samples import Array, Batch, Describing, Description
from compress.data.sources import Fingerprint, Sample, Source
from compress.data.transforms import Transform, apply_transforms
from compress.errors import DataError
from compress.model import BATCH, TensorSpec


@dataclass(frozen=True)
class StreamedSamples:
    """The samples of a source at some ascending indices, transformed; a :class:`~compress.data.samples.SampleSet`.

    Memory is one batch, plus 16 bytes a sample once a digest is asked for.

    Attributes:
        settings_digest: What stands for the transforms in :meth:`digest`.
        class_count: Labels are checked against it; None checks nothing.
        synthetic: Whether the source makes its samples up.
        class_names: In the order of their numbers, where the settings name them.
        slices: By column, one text for each sample of the source, where the settings name a table of them.
    """

    name: str
    source: Source
    indices: Sequence[int]
    transforms: tuple[Transform, ...]
    settings_digest: str
    class_count: int | None = None
    synthetic: bool = False
    class_names: tuple[str, ...] = ()
    slices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @cached_property
    def specs(self) -> tuple[TensorSpec, ...]:
        """Name, dtype and shape of the first sample, which every other must have too."""
        first = self._transformed(next(iter(self.source.read(self.indices[:1]))))
        return tuple(TensorSpec(name, array.dtype.name, (BATCH, *array.shape)) for name, array in first.inputs.items())

    @property
    def labelled(self) -> bool:
        """Whether the source has labels."""
        return self.source.labelled

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.indices)

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield all samples in order, ``size`` at a time.

        Raises:
            DataError: A sample is damaged, or of another shape or element type than the first.
        """
        samples = (self._transformed(sample) for sample in self.source.read(self.indices))
        while chunk := list(islice(samples, size)):
            inputs = {spec.name: self._stack(chunk, spec) for spec in self.specs}
            yield Batch(inputs, self._stack_labels(chunk) if self.labelled else None)

    def digest(self) -> str:
        """Return the SHA-256 of the samples as they lie in the source, their labels, and the transforms."""
        return digest_fingerprints(self.settings_digest, self._fingerprints)

    def sample_digests(self) -> frozenset[bytes]:
        """Return a 16-byte digest of each sample as it lies in the source."""
        return frozenset(print_.sample for print_ in self._fingerprints)

    def read_source(self) -> Iterator[Sample]:
        """Yield every sample as it lies in the source, before any transform."""
        return self.source.read(self.indices)

    def narrow(self, positions: Sequence[int]) -> "StreamedSamples":
        """Return the set of the samples at ascending positions of this one; the others are not even decoded."""
        chosen = [self.indices[position] for position in positions]
        return replace(self, indices=chosen)

    def describe(self) -> Description:
        """Return the names of the classes, and what the source knows of the chosen samples."""
        whole = self.source.describe() if isinstance(self.source, Describing) else Description()
        known = {**whole.slices, **self.slices}
        slices = {name: tuple(values[index] for index in self.indices) for name, values in known.items()}
        return Description(self.class_names or whole.class_names, slices)

    @cached_property
    def _fingerprints(self) -> tuple[Fingerprint, ...]:
        return tuple(self.source.fingerprints(self.indices))

    def _transformed(self, sample: Sample) -> Sample:
        where = f"{sample.where} of `{self.name}`"
        inputs = {name: apply_transforms(self.transforms, name, array, where) for name, array in sample.inputs.items()}
        return Sample(inputs, sample.label, where)

    def _stack(self, chunk: list[Sample], spec: TensorSpec) -> Array:
        for sample in chunk:
            array = sample.inputs.get(spec.name)
            if array is None or len(sample.inputs) != len(self.specs):
                raise DataError(
                    f"{sample.where} has the inputs {sorted(sample.inputs)}, the first sample has "
                    f"{sorted(other.name for other in self.specs)}",
                    hint="Every sample needs the same inputs.",
                )
            if array.shape != spec.shape[1:] or array.dtype.name != spec.dtype:
                raise DataError(
                    f"input `{spec.name}` of {sample.where} is {array.dtype.name}{list(array.shape)}, "
                    f"the first sample is {spec.dtype}{list(spec.shape[1:])}",
                    hint="Add transforms that make all equal: resize, centre-crop, convert, cast.",
                )
        return np.stack([sample.inputs[spec.name] for sample in chunk])

    def _stack_labels(self, chunk: list[Sample]) -> Array:
        labels = [self._checked_label(sample) for sample in chunk]
        if len({label.shape for label in labels}) > 1:
            shapes = sorted({str(list(label.shape)) for label in labels})
            raise DataError(
                f"the labels of `{self.name}` have several shapes: {', '.join(shapes)}",
                hint="give every sample a label of one shape",
            )
        return np.stack(labels)

    def _checked_label(self, sample: Sample) -> Array:
        label = sample.label
        if label is None:
            raise DataError(
                f"{sample.where} has no label, others have", hint="Give a label to every sample or to none."
            )
        if self.class_count is not None and label.dtype.kind in "iu" and not _within(label, self.class_count):
            raise DataError(
                f"{sample.where} has the label {label}, but the set has {self.class_count} classes (0 to "
                f"{self.class_count - 1})",
                hint="Correct the labels, or `classes` in the recipe.",
            )
        return label


def _within(label: Array, count: int) -> bool:
    numbers = label.astype(np.int64)
    return bool(np.all((numbers >= 0) & (numbers < count)))


def digest_fingerprints(settings: str, fingerprints: Iterable[Fingerprint]) -> str:
    """Return the SHA-256 (hexadecimal) of settings, samples and labels."""
    digest = hashlib.sha256(settings.encode())
    for print_ in fingerprints:
        digest.update(print_.sample + b"/" + print_.label)
    return digest.hexdigest()
