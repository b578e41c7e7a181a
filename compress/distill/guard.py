"""What stops a training: values that are not finite, and memory that is not there."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from compress.distill.batches import Positions
from compress.distill.tensors import Tensors, find_not_finite, is_finite
from compress.errors import CompressError

if TYPE_CHECKING:
    from compress.distill.result import TrainingResult
    from compress.model import Model

_SHOWN = 8

Trace = Callable[[nn.Module, Tensors], Iterable[tuple[str, Tensor]]]
"""Yields the intermediate values of a student for some inputs, in the order in which they are computed."""


class NonFiniteError(CompressError):
    """Training met a NaN or an infinity.

    Attributes:
        result: What was reached before; the student holds those weights.
        model: The student's graph with those weights, where it has one.
    """

    model: "Model | None" = None

    def __init__(self, message: str, *, hint: str | None = None, result: "TrainingResult | None" = None) -> None:
        super().__init__(message, hint=hint)
        self.result = result


class BatchTooLargeError(CompressError):
    """A training step does not fit in memory."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one training step has computed so far, for the search for the first value that is not finite."""

    feed: Tensors
    targets: Tensors
    outputs: Tensors
    terms: Tensors


def name_first_not_finite(student: nn.Module, attempt: Attempt, trace: Trace) -> str:
    """Return which tensor is the first that is not finite, in words."""
    for what, tensors in (
        ("weight", dict(student.named_parameters())),
        ("input", attempt.feed),
        ("the teacher's output", attempt.targets),
    ):
        name = find_not_finite(tensors)
        if name is not None:
            return f"{what} `{name}`"
    with torch.no_grad():
        for name, value in trace(student, attempt.feed):
            if not is_finite(value):
                return f"the student's `{name}`"
    gradients = {name: p.grad for name, p in student.named_parameters() if p.grad is not None}
    for what, tensors in (
        ("the student's output", attempt.outputs),
        ("the loss term", attempt.terms),
        ("the gradient of", gradients),
    ):
        name = find_not_finite(tensors)
        if name is not None:
            return f"{what} `{name}`"
    return "a value in another process, or the sum of the loss terms"


def trace_modules(student: nn.Module, feed: Tensors) -> Iterator[tuple[str, Tensor]]:
    """Yield what each innermost module of a student gives, by its name; nothing for a module without inner ones."""
    seen: list[tuple[str, Tensor]] = []

    def note(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(_: nn.Module, __: object, output: object) -> None:
            if isinstance(output, Tensor):
                seen.append((name, output))

        return hook

    leaves = [(name, module) for name, module in student.named_modules() if name and not any(module.children())]
    hooks = [module.register_forward_hook(note(name)) for name, module in leaves]
    try:
        student(feed)
    finally:
        for hook in hooks:
            hook.remove()
    yield from seen


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that there is no more memory, on the CPU or a GPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("can't allocate memory" in text or "not enough memory" in text)


def largest_that_fits(attempt: Callable[[int], None], batch: int) -> int | None:
    """Return the largest batch that a step succeeds with, halving down to 1; None where not even 1 does."""
    while batch > 1:
        batch //= 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        try:
            attempt(batch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        else:
            return batch
    return None


def out_of_memory(batch: int, fits: int | None) -> BatchTooLargeError:
    """Return the error for a batch that does not fit in memory; ``fits`` is one that does, None if there is none."""
    if fits is None:
        return BatchTooLargeError(
            f"a training step with a batch of {batch} does not fit in memory, nor does one with a single sample",
            hint='train on a machine with more memory, or with precision = "bfloat16"',
        )
    return BatchTooLargeError(
        f"a training step with a batch of {batch} does not fit in memory; a batch of {fits} fits",
        hint=f"set batch = {fits}",
    )


def describe_batch(step: int, per_epoch: int, positions: Positions) -> str:
    """Return the step, its place in the epoch, and the samples of a batch, in words."""
    epoch, index = divmod(step, per_epoch)
    shown = ", ".join(str(position) for position in positions[:_SHOWN])
    more = f" and {len(positions) - _SHOWN} more" if len(positions) > _SHOWN else ""
    return f"step {step} (batch {index} of epoch {epoch}, samples {shown}{more})"
