"""Fidelity: how near the outputs of two graphs are, without any label."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from compress.data.samples import Array, Batch
from compress.errors import CompressError, DataError
from compress.report.record import Fidelity

Outputs = Mapping[str, Array]
Run = Callable[[Mapping[str, Array]], Outputs]

_FLOATS = ("float16", "bfloat16", "float32", "float64")


@dataclass(slots=True)
class FidelityMeter:
    """Accumulates the difference of two engines' outputs in float64, one batch at a time.

    Attributes:
        names: What messages call the two engines.
    """

    names: tuple[str, str] = ("the original model", "the compressed engine")
    samples: int = 0
    _signal: float = 0.0
    _error: float = 0.0
    _largest: float = 0.0
    _agreeing: int = 0
    _classifies: bool | None = field(default=None)

    def add(self, first: Outputs, second: Outputs, size: int) -> None:
        """Take in both engines' outputs of the same ``size`` samples.

        Raises:
            CompressError: The outputs differ in names or shapes, or one engine gives infinities or not-a-numbers.
        """
        self._check_interface(first, second)
        same = np.ones(size, dtype=np.bool_)
        classifies = False
        for name in first:
            if first[name].dtype.name not in _FLOATS:
                continue
            a, b = self._finite(0, name, first[name]), self._finite(1, name, second[name])
            self._accumulate(a, b)
            if a.ndim == 2 and a.shape[1] > 1:
                classifies = True
                same &= a.argmax(axis=1) == b.argmax(axis=1)
        self._classifies = classifies
        self._agreeing += int(same.sum())
        self.samples += size

    def result(self, *, synthetic: bool = False) -> Fidelity:
        """Return what has been accumulated; ``agreement`` counts samples whose every [batch, classes] output agrees.

        A signal of nothing but zeros counts as the smallest positive number, so the SQNR stays finite.

        Raises:
            DataError: There were no samples.

        Source: SQNR = 10·log10(Σ x² / Σ (x - y)²), the definition of a signal-to-noise ratio with x the original.
        """
        if self.samples == 0:
            raise DataError(
                "the sample set is empty: nothing to compare", hint="give a sample set that has samples in it"
            )
        sqnr = None
        if self._error > 0:
            signal = max(self._signal, float(np.finfo(np.float64).tiny))
            sqnr = float(10.0 * (np.log10(signal) - np.log10(self._error)))
        agreement = self._agreeing / self.samples if self._classifies else None
        return Fidelity(
            sqnr_db=sqnr,
            agreement=agreement,
            max_abs_error=self._largest,
            samples=self.samples,
            synthetic=synthetic,
        )

    def _accumulate(self, a: NDArray[np.float64], b: NDArray[np.float64]) -> None:
        difference = a - b
        self._signal += float(np.vdot(a, a))
        self._error += float(np.vdot(difference, difference))
        self._largest = max(self._largest, float(np.abs(difference).max(initial=0.0)))

    def _check_interface(self, first: Outputs, second: Outputs) -> None:
        one, other = self.names
        if set(first) != set(second):
            raise CompressError(
                f"{one} has the outputs {sorted(first)}, {other} has {sorted(second)}",
                hint="only graphs with the same outputs can be compared",
            )
        for name, array in first.items():
            if array.shape != second[name].shape:
                raise CompressError(
                    f"output `{name}` is {list(array.shape)} from {one} and {list(second[name].shape)} from {other}",
                    hint="only outputs of the same shape can be compared",
                )

    def _finite(self, which: int, name: str, array: Array) -> NDArray[np.float64]:
        wide = array.astype(np.float64)
        finite = np.isfinite(wide)
        if not finite.all():
            sample = self.samples + int(np.argwhere(~finite)[0][0] if wide.ndim else 0)
            raise CompressError(
                f"{self.names[which]} gives {wide[~finite].flat[0]} in output `{name}` for sample {sample}",
                hint=_NOT_FINITE[which],
            )
        return wide


_NOT_FINITE = (
    "check that sample and its transforms: they must be those that the model was trained with",
    "the other output is finite there: try another calibration set, or keep more of the model in float",
)


def compare_outputs(
    run_a: Run,
    run_b: Run,
    batches: Iterable[Batch],
    *,
    names: tuple[str, str] = ("the source model", "the exported graph"),
    synthetic: bool = False,
) -> Fidelity:
    """Return how near two graphs are on some batches; ``run_a`` is the one that the other is measured against.

    Raises:
        CompressError: The outputs differ in names or shapes, or are not finite; the message says whose.
        DataError: No batches.
    """
    meter = FidelityMeter(names)
    for batch in batches:
        meter.add(run_a(batch.inputs), run_b(batch.inputs), len(batch))
    return meter.result(synthetic=synthetic)
