"""The training loop: a student imitates its teacher until it is near enough, or the time is up."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from compress.data.samples import SampleSet
from compress.distill.augment import Augmentation
from compress.distill.batches import Picked, ShuffledBatches, split_samples
from compress.distill.checkpoint import CheckpointStore
from compress.distill.compiled import compile_student
from compress.distill.determinism import deterministic, seed_everything
from compress.distill.distributed import Processes, current_processes
from compress.distill.fidelity import HeldOut, HeldOutSamples
from compress.distill.guard import (
    BatchTooLargeError,
    NonFiniteError,
    Trace,
    is_out_of_memory,
    out_of_memory,
    trace_modules,
)
from compress.distill.losses import Loss
from compress.distill.optimizer import ParameterGroup, make_optimizer
from compress.distill.result import TrainingResult
from compress.distill.session import Session
from compress.distill.settings import TrainingSettings
from compress.distill.task import Equipment, Targets, Task
from compress.distill.teacher_cache import fill_cache
from compress.distill.tensors import Teacher, Tensors, widen
from compress.errors import UsageError
from compress.steps import Progress

__all__ = [
    "BatchTooLargeError",
    "CheckpointStore",
    "HeldOut",
    "NonFiniteError",
    "ParameterGroup",
    "TrainingResult",
    "TrainingSettings",
    "train",
]


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
    augmentation: Augmentation | None = None,
    trace: Trace = trace_modules,
    channels_last: bool = False,
) -> TrainingResult:
    """Train a student in place and return what happened; it ends with its best weights.

    Equal arguments on the same machine give byte-identical weights, whether or not the training was killed and taken up
    from its checkpoint in between (with a time budget: as long as it does not run out). Where ``torch.distributed`` is
    started, each process trains on its part of every batch, gradients are averaged, and all end with the same weights;
    the first one writes the checkpoint, all must see the folder.

    Args:
        student: Takes inputs by name and returns a dict of tensors by name.
        teacher: Likewise; a module (used in evaluation mode) or a function. Its weights are not changed.
        samples: Unlabelled ones will do. A share of them is held out and never trained on.
        loss: Given outputs of both.
        settings: Of the training.
        seed: Of the split, the order, and everything random.
        checkpoint: Where to take up and leave the state; None keeps nothing.
        progress: Told the steps done and in all (under a time budget: the share of it, in steps).
        groups: Parameters with a learning rate or weight decay of their own.
        after_step: Called with the student after each optimizer step: a projection (values into their range), which is
            applied to averaged weights too before they are measured.
        outputs: Names of outputs in which the fidelity is measured; all of the teacher's where None.
        augmentation: Changes inputs; the teacher sees the changed ones too.
        trace: Gives the student's intermediate values when one that is not finite is searched for.
        channels_last: Whether images lie in memory with the channels of a pixel side by side.

    Raises:
        NonFiniteError: The loss or a gradient is not finite; the message names the batch and the tensor, the student
            holds the best weights until then.
        ModelError: The outputs of student and teacher differ, or there is nothing to train.
        DataError: Too few samples.
        UsageError: Settings that do not go together.
        BatchTooLargeError: The batch does not fit; the message says which one does.
    """
    task = Task(
        student, teacher, samples, loss, settings, seed, checkpoint, progress, groups or (), after_step, outputs,
        augmentation, trace, channels_last,
    )  # fmt: skip
    device = choose_device(settings)
    with ExitStack() as stack:
        stack.enter_context(deterministic(seed))
        for module in (student, teacher, loss):
            if isinstance(module, nn.Module):
                stack.enter_context(_at(module, device))
        equipment = _equip(task, device, current_processes(), stack)
        # Every process has made the same weights up to here; what is random from here on differs between them.
        seed_everything(seed + equipment.processes.rank)
        return Session(task, equipment).run()


def choose_device(settings: TrainingSettings) -> torch.device:
    """Return where to train; under ``torchrun`` the GPU of this process.

    Raises:
        UsageError: CUDA is asked for and not there.
    """
    has_cuda = torch.cuda.is_available()
    if settings.device == "cuda" and not has_cuda:
        raise UsageError('device = "cuda", but PyTorch finds no GPU here', hint='use device = "auto" or "cpu"')
    if settings.device == "cpu" or not has_cuda:
        return torch.device("cpu")
    return torch.device("cuda", current_processes().rank % torch.cuda.device_count())


def _equip(task: Task, device: torch.device, processes: Processes, stack: ExitStack) -> Equipment:
    settings = task.settings
    training, held = split_samples(task.samples, settings.held_out_share, task.seed)
    batch = _shared_batch(min(settings.batch, len(training)), processes)
    teacher = _without_gradients(task.teacher)
    held_out = HeldOutSamples(
        task.samples, held, teacher, task.outputs, settings=settings, device=device, processes=processes
    )
    _prepare_loss(task, held_out, batch, device)
    place = (processes.rank, processes.count)
    batches = ShuffledBatches(task.samples, training, batch, task.seed, settings.cache_bytes, place)
    return Equipment(
        forward=compile_student(task.student) if settings.compile else task.student,
        optimizer=make_optimizer(task.student, task.loss, task.groups, settings),
        batches=batches,
        targets=_plan_targets(task, teacher, device, processes, stack),
        held_out=held_out,
        batch=batch,
        steps=settings.epochs * batches.per_epoch or settings.steps,
        trained=len(training),
        device=device,
        processes=processes,
    )


def _prepare_loss(task: Task, held_out: HeldOutSamples, batch: int, device: torch.device) -> None:
    try:
        task.loss.prepare(*held_out.first_outputs(task.student))
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise out_of_memory(batch, None) from error
        raise
    task.loss.to(device)


def _shared_batch(batch: int, processes: Processes) -> int:
    """Return the samples a step, the same number for each process.

    Raises:
        UsageError: There is not even one for each.
    """
    shared = batch // processes.count * processes.count
    if shared == 0:
        raise UsageError(
            f"a batch of {batch} cannot be shared by {processes.count} processes",
            hint="raise `batch`, give more samples, or start fewer processes",
        )
    return shared


def _plan_targets(
    task: Task, teacher: Teacher, device: torch.device, processes: Processes, stack: ExitStack
) -> Targets:
    """Return what gives the teacher's outputs: the teacher, or its outputs on disk.

    Raises:
        UsageError: Outputs on disk do not go with inputs that change.
    """
    if not task.settings.teacher_cache:
        return lambda _, feed: teacher(feed)
    if task.augmentation is not None:
        raise UsageError(
            "teacher_cache keeps one output a sample, but augmentation changes the samples at every step",
            hint="leave one of the two out",
        )
    if task.checkpoint is not None:
        folder = task.checkpoint.folder / f"teacher-{task.checkpoint.key[:32]}"
    elif processes.count == 1:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "teacher"
    else:
        raise UsageError("teacher_cache of several processes needs a folder", hint="train with a checkpoint")
    cache = fill_cache(folder, task.samples, teacher, task.settings.batch, device, processes)

    def look_up(picked: Picked, _: Tensors) -> Tensors:
        return cache.at(picked.positions, device)

    return look_up


def _without_gradients(teacher: Teacher) -> Teacher:
    """Return the teacher with its floats as float32 and without a graph of gradients."""

    def run(feed: Tensors) -> dict[str, Tensor]:
        with torch.no_grad():
            return widen(teacher(feed))

    return run


@contextmanager
def _at(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Have a module on a device and in evaluation mode; afterwards where and how it was."""
    mode = module.training
    homes = {tensor.device for tensor in (*module.parameters(), *module.buffers())}
    module.to(device).eval()
    try:
        yield
    finally:
        module.train(mode)
        if len(homes) == 1:
            module.to(homes.pop())
