"""The ``python:package.module:callable`` source: samples that a user's own code makes."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import Protocol, cast, runtime_checkable

import numpy as np

from compress.data.samples import Array
from compress.data.sources import Fingerprint, Sample, check_numeric, fingerprint_arrays
from compress.errors import DataError


@runtime_checkable
class Indexable(Protocol):
    """What a torch ``Dataset`` or a list is: a length, and items by index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> object: ...


class PythonSource:
    """What a callable without arguments returns: a list, an object with a length and an index, or an iterable.

    An item is ``(input, label)``, ``({"name": input, …}, label)``, or an input alone; an input is anything that
    ``numpy.asarray`` takes. An iterator (a generator) is used up by one pass, so the callable is called again for each
    pass, and every call has to give the same samples. Memory is one item, unless the callable keeps more itself; an
    iterable without a length is counted by one extra pass.

    Raises:
        DataError: The callable, or what it returns, fails or does not have this form.
    """

    def __init__(self, make: Callable[..., object], spec: str, input_name: str) -> None:
        self._make, self._spec, self._input = make, spec, input_name
        self._made: object = None
        self._made = self._call()

    @cached_property
    def labelled(self) -> bool:
        """Whether the first item has a label."""
        return next(iter(self.read([0]))).label is not None

    def __len__(self) -> int:
        """Return the number of items."""
        return self._count

    def read(self, indices: Sequence[int]) -> Iterator[Sample]:
        """Yield the samples at ascending indices."""
        items = self._pick(indices)
        for index in indices:
            try:
                item = next(items)
            except StopIteration:
                raise DataError(
                    f"`{self._spec}` gave fewer samples than before: it ended before sample {index}",
                    hint="Every pass must give the same samples in the same order.",
                ) from None
            except Exception as error:
                raise self._failed(f"item {index}", error) from error
            yield self._sample(item, index)

    def fingerprints(self, indices: Sequence[int]) -> Iterator[Fingerprint]:
        """Yield the digests of the samples at ascending indices."""
        return fingerprint_arrays(self.read(indices))

    @cached_property
    def _count(self) -> int:
        try:
            if isinstance(self._made, Indexable):
                return len(self._made)
            return sum(1 for _ in self._iterate())
        except Exception as error:
            if isinstance(error, DataError):
                raise
            raise self._failed("counting its items", error) from error

    def _pick(self, indices: Sequence[int]) -> Iterator[object]:
        if isinstance(self._made, Indexable):
            yield from (self._made[index] for index in indices)
            return
        items, position = self._iterate(), 0
        for index in indices:
            yield from islice(items, index - position, index - position + 1)
            position = index + 1

    def _iterate(self) -> Iterator[object]:
        made, self._made = self._made, None
        if made is None:
            made = self._call()
        iterator = iter(cast("Iterable[object]", made))
        if iterator is not made:
            self._made = made
        return iterator

    def _call(self) -> object:
        try:
            made = self._make()
        except Exception as error:
            raise self._failed("calling it without arguments", error) from error
        if not isinstance(made, Iterable | Indexable) or isinstance(made, Mapping | str | bytes):
            raise DataError(
                f"`{self._spec}` returned `{type(made).__name__}`, not samples",
                hint="Return a list or an iterable of (input, label), or an object with __len__ and __getitem__.",
            )
        return made

    def _sample(self, item: object, index: int) -> Sample:
        where = f"item {index} of {self._spec}"
        value, label = item if isinstance(item, tuple) and len(item) == 2 else (item, None)
        if isinstance(value, tuple) and len(value) == 1:
            value = value[0]
        named = value if isinstance(value, Mapping) else {self._input: value}
        inputs = {str(name): self._array(array, f"input `{name}` of {where}") for name, array in named.items()}
        return Sample(inputs, None if label is None else self._array(label, f"the label of {where}"), where)

    def _array(self, value: object, what: str) -> Array:
        try:
            array = np.asarray(value)
        except Exception as error:
            raise self._failed(f"making an array of {what}", error) from error
        check_numeric(array.dtype, what)
        return array

    def _failed(self, doing: str, error: Exception) -> DataError:
        return DataError(
            f"`{self._spec}`: {doing} raised {type(error).__name__}: {error}",
            hint="Mend the callable; call it alone to see.",
        )
