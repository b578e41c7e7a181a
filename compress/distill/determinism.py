"""Trainings that repeat exactly, and leave the random generators of the process as they were."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from compress.distill.checkpoint import random_state, set_random_state

_memory: Any = torch.utils.deterministic  # its attributes are made at import, which type checkers cannot see


@contextmanager
def deterministic(seed: int) -> Iterator[None]:
    """Seed all random generators and choose deterministic algorithms; afterwards everything is as it was.

    An operator that has no deterministic form on CUDA runs all the same: PyTorch then warns.
    """
    before = random_state()
    chosen = (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled())
    benchmark, fill = torch.backends.cudnn.benchmark, _memory.fill_uninitialized_memory
    # cuBLAS reads it when it starts; without it, its results depend on how streams happen to run.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    # Filling fresh memory costs time and only helps code that reads what nobody wrote.
    _memory.fill_uninitialized_memory = False
    try:
        seed_everything(seed)
        yield
    finally:
        torch.use_deterministic_algorithms(chosen[0], warn_only=chosen[1])
        torch.backends.cudnn.benchmark = benchmark
        _memory.fill_uninitialized_memory = fill
        set_random_state(before)


def seed_everything(seed: int) -> None:
    """Seed PyTorch, NumPy and Python."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the user's operators may draw from it
    random.seed(seed)
