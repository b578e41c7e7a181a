"""Losses: how far a student is from its teacher."""

from torch import Tensor, nn

from compress.distill.tensors import Tensors


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
