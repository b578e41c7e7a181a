"""The training loop: a student imitates its teacher until it is near enough, or the time is up."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from compress.data.samples import SampleSet
from compress.distill.checkpoint import CheckpointStore
from compress.distill.losses import Loss
from compress.distill.optimizer import ParameterGroup
from compress.distill.settings import TrainingSettings
from compress.distill.tensors import Teacher
from compress.steps import Progress

__all__ = ["CheckpointStore", "HeldOut", "ParameterGroup", "TrainingResult", "TrainingSettings", "train"]


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


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a training did; the student itself holds the best weights.

    Attributes:
        steps: Optimizer steps done, over all the sessions of a training that was resumed.
        seconds: Likewise.
        best_step: After how many steps the best weights were found; 0 keeps those of the start.
        before: Fidelity at the start.
        after: Fidelity of the best weights.
        stopped: Why training ended.
        batch: Samples a step.
        trained: Samples that were trained on.
        history: Steps done, mean loss since the last entry, held-out fidelity.
    """

    steps: int
    seconds: float
    best_step: int
    before: HeldOut
    after: HeldOut
    stopped: Literal["steps done", "no improvement", "time budget"]
    batch: int
    trained: int
    history: tuple[tuple[int, float, HeldOut], ...]


def train(
    student: nn.Module,
    teacher: Teacher,
    samples: SampleSet,
    loss: Loss,
    settings: TrainingSettings,
    *,
    seed: int,
    checkpoint: CheckpointStore | None,
    progress: Progress,
    groups: Sequence[ParameterGroup] | None = None,
    after_step: Callable[[nn.Module], None] | None = None,
    outputs: Sequence[str] | None = None,
) -> TrainingResult:
    """Train a student in place and return what happened; it ends with its best weights.

    Equal arguments on the same machine give byte-identical weights, whether or not the training was killed and taken up
    from its checkpoint in between (with a time budget: as long as it does not run out).

    Args:
        student: Takes inputs by name and returns a dict of tensors by name.
        teacher: Likewise; a module or a function. It is never changed.
        samples: Unlabelled ones will do. A share of them is held out and never trained on.
        loss: Given outputs of both.
        seed: Of the split, the order, and everything random.
        checkpoint: Where to take up and leave the state; None keeps nothing.
        progress: Told the steps done and in all.
        groups: Parameters with a learning rate or weight decay of their own.
        after_step: Called with the student after each optimizer step (to project values into a range).
        outputs: Names of outputs in which the fidelity is measured; all of the teacher's where None.

    Raises:
        NonFiniteLoss: The loss or a gradient is not finite; the message names the batch and the tensor, the student
            holds the best weights until then.
        ModelError: The outputs of student and teacher differ, or there is nothing to train.
        DataError: Too few samples.
        OutOfMemory: The batch does not fit; the message says which one does.
    """
    raise NotImplementedError  # being written: the signature stands
