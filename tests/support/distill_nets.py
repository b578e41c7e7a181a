"""Small students and teachers, and the script that a killed or a shared training runs."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from compress.data.samples import SampleSet
from compress.data.synthetic import synthesize
from compress.distill.checkpoint import CheckpointStore
from compress.distill.loop import TrainingResult, TrainingSettings, train
from compress.distill.losses import ErrorLoss
from compress.model import TensorSpec

INPUT = TensorSpec("x", "float32", ("batch", 8))


class Net(nn.Module):
    """x [batch, 8] → y [batch, 5], with dropout between."""

    def __init__(self, width: int, seed: int, dropout: float = 0.0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.body = nn.Sequential(nn.Linear(8, width), nn.Tanh(), nn.Dropout(dropout), nn.Linear(width, 5))

    def forward(self, feed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"y": self.body(feed["x"])}


def samples(count: int = 64) -> SampleSet:
    return synthesize((INPUT,), count, seed=1)


def settings(**changes: Any) -> TrainingSettings:
    defaults: dict[str, Any] = {"steps": 60, "batch": 16, "learning_rate": 1e-2, "evaluate_every": 20, "ema_decay": 0.9}
    return TrainingSettings(**{**defaults, "device": "cpu", **changes})


def run(student: nn.Module, teacher: Any = None, of: TrainingSettings | None = None, **changes: Any) -> TrainingResult:
    arguments: dict[str, Any] = {"seed": 3, "checkpoint": None, "progress": lambda *_: None, **changes}
    given = arguments.pop("samples", None) or samples()
    loss = arguments.pop("loss", None) or ErrorLoss("y")
    return train(student, teacher or Net(16, seed=2), given, loss, of or settings(), **arguments)


def weights(module: nn.Module) -> bytes:
    """Return all weights of a module as bytes."""
    return b"".join(np.ascontiguousarray(value.detach().numpy()).tobytes() for value in module.state_dict().values())


def train_killed(folder: Path) -> None:
    """Train slowly enough to be killed; write the weights at the end."""
    student = Net(12, seed=1, dropout=0.2)

    def tell(_: str, done: int, total: int) -> None:
        (folder / "progress").write_text(f"{done}")
        if done and (folder / "slow").exists():
            import time

            time.sleep(0.02)

    chosen = settings(steps=90, checkpoint_every=10, batch_norm="train")
    run(student, of=chosen, checkpoint=CheckpointStore(folder / "state", "k"), progress=tell)
    (folder / "weights").write_bytes(weights(student))


def train_shared(folder: Path) -> None:
    """Train with the processes that ``RANK`` and ``WORLD_SIZE`` name; each writes its weights."""
    import os

    from torch import distributed

    rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if count > 1:
        distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=count)
    student = Net(12, seed=1)
    result = run(student, of=settings(), checkpoint=CheckpointStore(folder / f"state-{count}", "k"))
    np.savez(
        folder / f"result-{count}-{rank}.npz",
        weights=np.frombuffer(weights(student), np.float32),
        losses=[loss for _, loss, _ in result.history],
        sqnr=np.array([found.sqnr_db for _, _, found in result.history], np.float64),
    )
    if count > 1:
        distributed.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"killed": train_killed, "shared": train_shared}[sys.argv[1]](Path(sys.argv[2]))
