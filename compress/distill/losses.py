"""Losses: how far a student is from its teacher."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from compress.distill.tensors import Tensors
from compress.errors import DataError

_TINY = 1e-8


class Loss(nn.Module):
    """A sum of named terms; one that learns something itself (a projection) has parameters, which are trained too.

    Attributes:
        needs_labels: Whether :meth:`forward` wants labels.
    """

    needs_labels: bool = False

    def prepare(self, student: Tensors, teacher: Tensors) -> None:
        """Take note of shapes and sizes from outputs of the first held-out samples, before training starts."""

    def forward(self, student: Tensors, teacher: Tensors, labels: Tensor | None) -> dict[str, Tensor]:
        """Return the terms of the loss by name, already weighted; training minimises their sum.

        Args:
            student: Outputs and observed values by name, [batch, …], float32.
            teacher: Likewise.
            labels: [batch, …], or None where the samples have none.
        """
        raise NotImplementedError


class SumLoss(Loss):
    """Several losses at once."""

    def __init__(self, parts: Sequence[Loss]) -> None:
        """Make the sum; the terms of all parts have different names."""
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.needs_labels = any(part.needs_labels for part in parts)

    def prepare(self, student: Tensors, teacher: Tensors) -> None:
        """Prepare every part."""
        for part in self._losses():
            part.prepare(student, teacher)

    def forward(self, student: Tensors, teacher: Tensors, labels: Tensor | None) -> dict[str, Tensor]:
        """Return the terms of all parts."""
        terms: dict[str, Tensor] = {}
        for part in self._losses():
            terms.update(part(student, teacher, labels))
        return terms

    def _losses(self) -> list[Loss]:
        return [part for part in self.parts if isinstance(part, Loss)]


class DivergenceLoss(Loss):
    """Kullback-Leibler divergence of class distributions, in nats, times T²: output [..., classes].

    Source: Hinton, Vinyals and Dean, Distilling the knowledge in a neural network (2015), section 2: both softmaxes at
    temperature T, gradients scaled back by T².
    """

    def __init__(
        self, output: str, temperature: float = 1.0, weight: float = 1.0, form: Literal["logits", "shares"] = "logits"
    ) -> None:
        """Make the loss of one output; ``form`` is ``shares`` where a softmax is in the graph already."""
        super().__init__()
        self.output, self.temperature, self.weight, self.form = output, temperature, weight, form

    def forward(self, student: Tensors, teacher: Tensors, labels: Tensor | None) -> dict[str, Tensor]:  # noqa: ARG002
        """Return the divergence, a mean over the samples (and places, where an output has several)."""
        logs = [self._log_shares(side[self.output]) for side in (teacher, student)]
        divergence = (logs[0].exp() * (logs[0] - logs[1])).sum(-1).mean()
        return {f"divergence of {self.output}": self.weight * self.temperature**2 * divergence}

    def _log_shares(self, scores: Tensor) -> Tensor:
        # The logarithm of a share is its logit but for a constant, which the softmax takes away.
        logits = scores.clamp(min=_TINY).log() if self.form == "shares" else scores
        return functional.log_softmax(logits / self.temperature, dim=-1)


class ErrorLoss(Loss):
    """Mean squared error of an output, divided by the variance of the teacher's: 1 is as bad as its mean."""

    scale: Tensor

    def __init__(self, output: str, weight: float = 1.0) -> None:
        """Make the loss of one output."""
        super().__init__()
        self.output, self.weight = output, weight
        self.register_buffer("scale", torch.ones(()))

    def prepare(self, student: Tensors, teacher: Tensors) -> None:  # noqa: ARG002
        """Measure the variance."""
        self.scale = variance(teacher[self.output])

    def forward(self, student: Tensors, teacher: Tensors, labels: Tensor | None) -> dict[str, Tensor]:  # noqa: ARG002
        """Return the error, a mean over all elements."""
        error = functional.mse_loss(student[self.output], teacher[self.output])
        return {f"error of {self.output}": self.weight * error / self.scale}


class CosineLoss(Loss):
    """One minus the cosine between student and teacher along the last axis: output [..., width]."""

    def __init__(self, output: str, weight: float = 1.0) -> None:
        """Make the loss of one output."""
        super().__init__()
        self.output, self.weight = output, weight

    def forward(self, student: Tensors, teacher: Tensors, labels: Tensor | None) -> dict[str, Tensor]:  # noqa: ARG002
        """Return the mean over the samples (and places)."""
        cosine = functional.cosine_similarity(student[self.output], teacher[self.output], dim=-1)
        return {f"cosine of {self.output}": self.weight * (1.0 - cosine.mean())}


class TaskLoss(Loss):
    """The loss against labels: cross-entropy where they are class numbers, mean squared error where they are floats."""

    needs_labels = True

    def __init__(self, output: str, weight: float = 1.0, form: Literal["logits", "shares"] = "logits") -> None:
        """Make the loss of one output."""
        super().__init__()
        self.output, self.weight, self.form = output, weight, form

    def forward(self, student: Tensors, teacher: Tensors, labels: Tensor | None) -> dict[str, Tensor]:  # noqa: ARG002
        """Return the mean over the samples.

        Raises:
            DataError: There are no labels, or they do not fit the output.
        """
        found = student[self.output]
        if labels is None:
            raise DataError("a loss against labels needs labels", hint="give labelled samples, or set task_weight = 0")
        if labels.is_floating_point():
            fits, classes = labels.shape == found.shape, None
        else:
            classes = found.shape[1] if found.ndim == 2 else 0
            fits = labels.ndim == 1 and bool(((labels >= 0) & (labels < classes)).all())
        if not fits:
            shown = (
                f"{str(labels.dtype).removeprefix('torch.')}{list(labels.shape)} from {labels.min()} to {labels.max()}"
            )
            raise DataError(
                f"the labels ({shown}) do not fit output `{self.output}` {list(found.shape)}",
                hint="give class numbers for an output [batch, classes], or floats of the output's shape",
            )
        if classes is None:
            return {f"task on {self.output}": self.weight * functional.mse_loss(found, labels.float())}
        logits = found.clamp(min=_TINY).log() if self.form == "shares" else found
        return {f"task on {self.output}": self.weight * functional.cross_entropy(logits, labels.long())}


def variance(values: Tensor) -> Tensor:
    """Return the variance of all elements, or 1 where they are all equal."""
    found = values.float().var(correction=0)
    return torch.where(found > 0, found, torch.ones_like(found))
