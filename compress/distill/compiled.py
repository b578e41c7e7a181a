"""The student as machine code, by `torch.compile`."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from compress.distill.tensors import Tensors
from compress.errors import CompressError, TargetError


def compile_student(student: nn.Module) -> Callable[[Tensors], Mapping[str, Tensor]]:
    """Return a function that runs a module as machine code, made at its first call; weights stay the module's."""
    compiled: Callable[[Tensors], Mapping[str, Tensor]] = torch.compile(student)
    return compiled


def compiler_problem(error: BaseException) -> CompressError | None:
    """Return what to tell the user where an error is the compiler's, else None."""
    from torch._dynamo.exc import TorchDynamoException

    if not isinstance(error, TorchDynamoException):
        return None
    reason = str(error).strip().splitlines()[0]
    return TargetError(
        f"torch.compile cannot compile the student: {reason}",
        hint="install a C++ compiler (Debian: g++ and python3-dev), or leave out compile = true",
    )
