"""Several processes that train one student: who does what, and how they agree."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn

Plain = TypeVar("Plain")


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those that train together (one alone where ``torch.distributed`` is not started)."""

    rank: int = 0
    count: int = 1

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its mean over the processes, in one exchange."""
        if self.count == 1:
            return
        gradients = [_gradient(parameter) for parameter in parameters]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        distributed.all_reduce(flat)
        flat /= self.count
        sizes = [gradient.numel() for gradient in gradients]
        for gradient, part in zip(gradients, torch.split(flat, sizes), strict=True):
            gradient.copy_(part.view_as(gradient))

    def total(self, numbers: Tensor) -> Tensor:
        """Return the sum of a tensor over the processes; the same bytes in each."""
        if self.count > 1:
            distributed.all_reduce(numbers)
        return numbers

    def as_first(self, number: float, device: torch.device) -> float:
        """Return the number that the first process has, so that all decide alike."""
        if self.count == 1:
            return number
        shared = torch.tensor([number], dtype=torch.float64, device=device)
        distributed.broadcast(shared, 0)
        return float(shared.item())

    def gather(self, value: Plain) -> list[Plain]:
        """Return what each process has, in the order of their numbers."""
        if self.count == 1:
            return [value]
        found: list[Plain] = [value] * self.count
        distributed.all_gather_object(found, value)
        return found

    def wait(self) -> None:
        """Return when every process has come here."""
        if self.count > 1:
            distributed.barrier()


def current_processes() -> Processes:
    """Return this process's place among those that were started together."""
    if distributed.is_available() and distributed.is_initialized():
        return Processes(distributed.get_rank(), distributed.get_world_size())
    return Processes()


def _gradient(parameter: nn.Parameter) -> Tensor:
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad
