"""Checkpoints of a training: whole or absent, and everything that decides how it goes on."""

import io
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from compress.errors import CompressError
from compress.store import write_atomically

State = dict[str, Any]
"""What ``torch.load(weights_only=True)`` takes: tensors, numbers, text, lists, tuples and dicts of them."""

_FILE = "training.pt"


@dataclass(frozen=True, slots=True)
class CheckpointStore:
    """Where one training keeps its checkpoint.

    Attributes:
        folder: Made when it is first needed.
        key: Stands for everything that the training depends on: models, samples, settings, seed. A checkpoint with
            another key is not taken up.
    """

    folder: Path
    key: str

    def load(self) -> State | None:
        """Return the last checkpoint of this training, or None.

        Raises:
            CompressError: The file is damaged.
        """
        path = self.folder / _FILE
        if not path.is_file():
            return None
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise CompressError(
                f"the checkpoint {path} cannot be read: {type(error).__name__}",
                hint="remove it: training then starts from the beginning",
            ) from error
        return cast("State", state["training"]) if state["key"] == self.key else None

    def save(self, state: State) -> None:
        """Replace the checkpoint."""
        self.folder.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        torch.save({"key": self.key, "training": state}, buffer)
        write_atomically(self.folder / _FILE, buffer.getvalue())

    def clear(self) -> None:
        """Remove the checkpoint; call it when the result is safe."""
        (self.folder / _FILE).unlink(missing_ok=True)


def random_state() -> State:
    """Return the state of the random generators of PyTorch (CPU and CUDA), NumPy and Python."""
    kind, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002 - the user's operators may draw from it
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    numpy_state = (kind, torch.from_numpy(np.asarray(keys, np.int64)), *rest)
    return {"torch": torch.get_rng_state(), "cuda": cuda, "numpy": numpy_state, "python": random.getstate()}


def set_random_state(state: State) -> None:
    """Continue with the random numbers where :func:`random_state` was called."""
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    random.setstate(state["python"])
