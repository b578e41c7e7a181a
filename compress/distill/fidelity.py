"""Fidelity on held-out samples, measured where the training runs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from compress.data.samples import SampleSet
from compress.data.subset import narrow
from compress.distill.batches import Positions, sample_bytes
from compress.distill.distributed import Processes
from compress.distill.interface import check_same_outputs
from compress.distill.settings import TrainingSettings
from compress.distill.tensors import Teacher, Tensors, find_not_finite, to_tensors, widen
from compress.errors import ModelError

_FEW = 8
"""Samples at a time where memory may not yet be known to suffice for more."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """How near the student's outputs are to the teacher's on samples that it never trained on.

    Attributes:
        sqnr_db: In dB; None where the outputs are equal.
        agreement: Fraction of the samples whose highest class is the teacher's; None without [batch, classes] outputs.
    """

    sqnr_db: float | None
    agreement: float | None
    samples: int

    def __str__(self) -> str:
        sqnr = "equal outputs" if self.sqnr_db is None else f"{self.sqnr_db:.1f} dB"
        return sqnr if self.agreement is None else f"{sqnr}, agreement {100 * self.agreement:.1f} %"

    def rank(self, select: str) -> tuple[float, float]:
        """Return what is compared to choose the better of two; larger is better."""
        sqnr = np.inf if self.sqnr_db is None else self.sqnr_db
        agreement = self.agreement or 0.0
        return (agreement, sqnr) if select == "agreement" else (sqnr, agreement)


class HeldOutSamples:
    """Held-out samples with the teacher's outputs; both stay in memory where they fit in the bound of the settings."""

    def __init__(
        self,
        samples: SampleSet,
        positions: Positions,
        teacher: Teacher,
        outputs: Sequence[str] | None,
        *,
        settings: TrainingSettings,
        device: torch.device,
        processes: Processes,
    ) -> None:
        """Make the samples at some positions ready; nothing is read yet."""
        self._samples = narrow(samples, [int(position) for position in positions])
        self._teacher, self._outputs = teacher, outputs
        self._device, self._processes = device, processes
        self._batch = max(1, settings.batch // processes.count)
        self._kept: list[tuple[dict[str, Tensor], dict[str, Tensor]]] | None = None
        self._keeps = 2 * len(positions) * sample_bytes(samples.specs) <= settings.cache_bytes

    @torch.no_grad()
    def first_outputs(self, student: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the student's and the teacher's outputs for the first batch, computed few samples at a time.

        Raises:
            ModelError: The outputs differ in names or shapes.
        """
        student.eval()
        batch = next(iter(self._samples.batches(self._batch)))
        feed = to_tensors(batch.inputs, self._device)
        found: tuple[list[dict[str, Tensor]], list[dict[str, Tensor]]] = ([], [])
        for start in range(0, len(batch), _FEW):
            part = {name: tensor[start : start + _FEW] for name, tensor in feed.items()}
            found[0].append(widen(student(part)))
            found[1].append(widen(self._teacher(part)))
            check_same_outputs(found[1][-1], found[0][-1], self._compared(found[1][-1]))
        return _join(found[0]), _join(found[1])

    @torch.no_grad()
    def measure(self, student: nn.Module) -> HeldOut:
        """Return the student's fidelity, over all processes.

        Raises:
            ModelError: The student's outputs are not finite.

        Source: SQNR = 10·log10(Σ t² / Σ (t - s)²), as in ``compress/measure/fidelity.py``.
        """
        student.eval()
        sums = torch.zeros(5, dtype=torch.float64, device=self._device)
        for index, (feed, targets) in enumerate(self._all()):
            if index % self._processes.count == self._processes.rank:
                sums += self._compare(widen(student(feed)), targets)
        signal, error, agreeing, classified, count = self._processes.total(sums).tolist()
        if not np.isfinite(error):
            raise ModelError(
                f"the student's outputs are not finite on held-out samples of `{self._samples.name}`",
                hint="check the student in ONNX Runtime first: `compress eval STUDENT --data SPEC`",
            )
        tiny = float(np.finfo(np.float64).tiny)
        sqnr = None if error == 0 else float(10 * (np.log10(max(signal, tiny)) - np.log10(error)))
        return HeldOut(sqnr, agreeing / count if classified else None, int(count))

    def _compare(self, found: Tensors, targets: Tensors) -> Tensor:
        names = self._compared(targets)
        check_same_outputs(targets, found, names)
        first = targets[names[0]]
        same = torch.ones(len(first), dtype=torch.bool, device=first.device)
        sums = first.new_zeros(5, dtype=torch.float64)
        for name in names:
            wanted, given = targets[name], found[name]
            if not wanted.is_floating_point():
                continue
            wide = wanted.double()
            sums[0] += wide.square().sum()
            sums[1] += (wide - given.double()).square().sum()
            if wanted.ndim == 2 and wanted.shape[1] > 1:
                sums[3] += 1
                same &= wanted.argmax(1) == given.argmax(1)
        sums[2], sums[4] = same.sum(), len(first)
        return sums

    def _compared(self, targets: Tensors) -> Sequence[str]:
        return tuple(targets) if self._outputs is None else self._outputs

    def _all(self) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]:
        if self._kept is not None:
            yield from self._kept
            return
        kept = []
        for batch in self._samples.batches(self._batch):
            feed = to_tensors(batch.inputs, self._device)
            pair = feed, widen(self._teacher(feed))
            self._check_teacher(pair[1])
            if self._keeps:
                kept.append(pair)
            yield pair
        if self._keeps:
            self._kept = kept

    def _check_teacher(self, targets: Tensors) -> None:
        name = find_not_finite({name: targets[name] for name in self._outputs or targets if name in targets})
        if name is not None:
            raise ModelError(
                f"the teacher's output `{name}` is not finite on held-out samples of `{self._samples.name}`",
                hint="check the samples and their transforms: they must be those that the teacher was trained with",
            )


def _join(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {
        name: torch.cat([part[name] for part in parts]) if parts[0][name].ndim else parts[0][name] for name in parts[0]
    }
