"""What a training is told, and what it works with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from compress.data.samples import SampleSet
from compress.distill.augment import Augmentation
from compress.distill.batches import Picked, ShuffledBatches
from compress.distill.checkpoint import CheckpointStore
from compress.distill.distributed import Processes
from compress.distill.fidelity import HeldOutSamples
from compress.distill.guard import Trace
from compress.distill.losses import Loss
from compress.distill.optimizer import ParameterGroup
from compress.distill.settings import TrainingSettings
from compress.distill.tensors import Teacher, Tensors
from compress.steps import Progress

Targets = Callable[[Picked, Tensors], Tensors]
"""Gives the teacher's outputs for samples and the inputs made of them."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be trained, as :func:`compress.distill.loop.train` was told."""

    student: nn.Module
    teacher: Teacher
    samples: SampleSet
    loss: Loss
    settings: TrainingSettings
    seed: int
    checkpoint: CheckpointStore | None
    progress: Progress
    groups: Sequence[ParameterGroup]
    after_step: Callable[[nn.Module], None] | None
    outputs: Sequence[str] | None
    augmentation: Augmentation | None
    trace: Trace
    channels_last: bool = False


@dataclass(frozen=True, slots=True)
class Equipment:
    """What a task is trained with.

    Attributes:
        forward: The student as its steps run it: compiled where the settings want that.
        batch: Samples a step, over all processes.
        steps: Optimizer steps to do.
        trained: Samples to train on.
    """

    forward: Callable[[Tensors], Mapping[str, Tensor]]
    optimizer: torch.optim.Optimizer
    batches: ShuffledBatches
    targets: Targets
    held_out: HeldOutSamples
    batch: int
    steps: int
    trained: int
    device: torch.device
    processes: Processes
