"""Binds a sample set to a model: names, shapes and element types must fit, values must be finite."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from compress.data.preview import Sourced
from compress.data.samples import Array, Batch, Description, SampleSet, describe_samples
from compress.data.sources import Sample
from compress.errors import DataError
from compress.model import Dimension, TensorSpec


@dataclass(frozen=True, slots=True)
class BoundSamples:
    """A sample set under a model's input names and element types; every batch is checked for NaN and infinities.

    Attributes:
        names: Where each input comes from: the set's name of it by the model's name of it.
    """

    samples: SampleSet
    inputs: tuple[TensorSpec, ...]
    names: Mapping[str, str]

    @property
    def name(self) -> str:
        """The set's own name."""
        return self.samples.name

    @property
    def specs(self) -> tuple[TensorSpec, ...]:
        """The set's shapes under the model's names and element types."""
        shapes = {spec.name: spec.shape for spec in self.samples.specs}
        return tuple(TensorSpec(spec.name, spec.dtype, shapes[self.names[spec.name]]) for spec in self.inputs)

    @property
    def labelled(self) -> bool:
        """Whether the set has labels."""
        return self.samples.labelled

    @property
    def synthetic(self) -> bool:
        """Whether the set is made up."""
        return self.samples.synthetic

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.samples)

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield the batches of the set, ready to be fed to the model.

        Raises:
            DataError: A sample has a NaN or an infinity (in the model's element type).
        """
        start = 0
        for batch in self.samples.batches(size):
            feed = {spec.name: self._convert(batch.inputs[self.names[spec.name]], spec, start) for spec in self.inputs}
            yield Batch(feed, batch.labels)
            start += len(batch)

    def digest(self) -> str:
        """Return the digest of the set itself."""
        return self.samples.digest()

    def sample_digests(self) -> frozenset[bytes]:
        """Return the sample digests of the set itself."""
        return self.samples.sample_digests()

    def narrow(self, positions: Sequence[int]) -> "BoundSamples":
        """Return the set of the samples at ascending positions of this one."""
        from compress.data.subset import narrow

        return BoundSamples(narrow(self.samples, positions), self.inputs, self.names)

    def read_source(self) -> Iterator[Sample]:
        """Yield every sample as it lies in its source; none where the set cannot tell."""
        return self.samples.read_source() if isinstance(self.samples, Sourced) else iter(())

    def describe(self) -> Description:
        """Return what the set itself knows about its samples."""
        return describe_samples(self.samples)

    def _convert(self, array: Array, spec: TensorSpec, start: int) -> Array:
        with np.errstate(over="ignore"):
            converted = array.astype(np.dtype(spec.dtype), copy=False)
        if converted.dtype.kind in "iub":
            return converted
        finite = np.isfinite(converted)
        if not finite.all():
            sample = int(np.argmin(finite.reshape(len(converted), -1).all(axis=1)))
            bad = int((~finite[sample]).sum())
            raise DataError(
                f"sample {start + sample} of `{self.name}`: {bad} of {finite[sample].size} values of input "
                f"`{spec.name}` are NaN or infinite as {spec.dtype}",
                hint="Remove the sample, or mend what made it (a division by a zero standard deviation?).",
            )
        return converted


def bind_samples(samples: SampleSet, inputs: tuple[TensorSpec, ...]) -> BoundSamples:
    """Return the samples as the model's inputs, matched by name, or one to one where each side has exactly one.

    Element types are only widened within their family (float64 to float32 counts, integers to floats do not): anything
    else is most likely a forgotten transform.

    Raises:
        DataError: An input is missing or left over, a shape or an element type does not fit; the message names the set,
            the sample, the input, and both sides.
    """
    names = _match_names(samples, inputs)
    found = {spec.name: spec for spec in samples.specs}
    sizes: dict[str, tuple[int, str]] = {}
    for spec in inputs:
        _check_shape(samples.name, found[names[spec.name]], spec, sizes)
        _check_dtype(samples.name, found[names[spec.name]], spec)
    return BoundSamples(samples, inputs, names)


def _match_names(samples: SampleSet, inputs: tuple[TensorSpec, ...]) -> dict[str, str]:
    given, wanted = [spec.name for spec in samples.specs], [spec.name for spec in inputs]
    if len(given) == len(wanted) == 1:
        return {wanted[0]: given[0]}
    missing, extra = sorted(set(wanted) - set(given)), sorted(set(given) - set(wanted))
    if missing or extra:
        parts = [f"no {_quote(missing)}"] if missing else []
        parts += [f"{_quote(extra)} left over"] if extra else []
        raise DataError(
            f"`{samples.name}` does not fit the model's inputs: {', '.join(parts)}",
            hint=f"The model takes {_quote(wanted)}, the samples hold {_quote(given)}; give both the same names.",
        )
    return {name: name for name in wanted}


def _quote(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _check_shape(name: str, given: TensorSpec, wanted: TensorSpec, sizes: dict[str, tuple[int, str]]) -> None:
    have, want = given.shape[1:], wanted.shape[1:]
    fits = bool(wanted.shape) and len(have) == len(want)
    for size, expected in zip(have, want, strict=False):
        fits = fits and (isinstance(expected, str) or size == expected)
    if not fits:
        raise DataError(
            f"sample 0 of `{name}` does not fit input `{wanted.name}`: it is {list(have)}, the model takes "
            f"{_show(wanted.shape)} (the first axis counts the samples)",
            hint=_shape_hint(have, want),
        )
    for size, expected in zip(have, want, strict=True):
        _check_shared_size(name, wanted.name, size, expected, sizes)


def _check_shared_size(
    name: str, input_name: str, size: Dimension, expected: Dimension, sizes: dict[str, tuple[int, str]]
) -> None:
    if not isinstance(expected, str) or not isinstance(size, int):
        return
    first, owner = sizes.setdefault(expected, (size, input_name))
    if first != size:
        raise DataError(
            f"samples of `{name}` disagree on `{expected}`: {first} in input `{owner}`, {size} in `{input_name}`",
            hint="Pad or crop both inputs to the same size.",
        )


def _shape_hint(have: tuple[Dimension, ...], want: tuple[Dimension, ...]) -> str:
    if len(have) == 3 and len(want) == 3 and _matches((have[2], have[0], have[1]), want):
        return 'The channels come last: add { kind = "layout", to = "chw" } to the transforms.'
    if _matches((1, *have), want):
        return 'The channel axis is missing: add { kind = "layout", to = "add-channel" } to the transforms.'
    if len(have) == len(want) == 3:
        return "Add the transforms `resize`, `centre-crop` and `layout` that bring it to this shape."
    return "Save the samples in the model's shape, or correct the model's inputs."


def _matches(have: tuple[Dimension, ...], want: tuple[Dimension, ...]) -> bool:
    return len(have) == len(want) and all(
        isinstance(expected, str) or size == expected for size, expected in zip(have, want, strict=True)
    )


def _show(shape: tuple[Dimension, ...]) -> str:
    return f"[{', '.join(str(size) for size in shape)}]"


def _check_dtype(name: str, given: TensorSpec, wanted: TensorSpec) -> None:
    have, want = np.dtype(given.dtype), np.dtype(wanted.dtype)
    floats = _is_float(have) and _is_float(want)
    integers = have.kind in "iub" and want.kind in "iub" and np.can_cast(have, want, "safe")
    if floats or integers:
        return
    hint = f'Add {{ kind = "cast", to = "{wanted.dtype}" }} to the transforms if that is what is meant.'
    if have.kind in "iu" and _is_float(want):
        hint = 'Add { kind = "scale" } (or a cast) to the transforms: the model takes floats.'
    raise DataError(
        f"samples of `{name}` are {given.dtype}, input `{wanted.name}` is {wanted.dtype}: no safe conversion", hint=hint
    )


def _is_float(dtype: "np.dtype[np.generic]") -> bool:
    return dtype.kind == "f" or dtype.name in ("bfloat16", "float8_e4m3fn", "float8_e5m2")
