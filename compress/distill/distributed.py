"""Several processes that train one student: who does what, and how they agree."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn

from compress.errors import UsageError

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


@contextmanager
def joined_processes() -> Iterator[Processes]:
    """Yield this process's place among those that ``torchrun`` started; alone where it did not.

    Processes talk through NCCL where each has a GPU of its own, through gloo otherwise.

    Raises:
        UsageError: The others cannot be reached.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or distributed.is_initialized():
        yield current_processes()
        return
    local = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"]))
    try:
        distributed.init_process_group("nccl" if torch.cuda.device_count() >= local else "gloo")
    except (ValueError, RuntimeError) as error:
        raise UsageError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, but the other processes cannot be reached: {error}",
            hint="start the command with `torchrun --nproc-per-node N -m compress distill …`",
        ) from error
    try:
        yield current_processes()
    finally:
        distributed.destroy_process_group()
