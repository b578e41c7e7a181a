"""Settings of every training here: recovery, quantization-aware training, a student that the user brings."""

from typing import Annotated, Final, Literal, TypeVar

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from compress.batch_norm import has_batch_norm
from compress.model import Model
from compress.steps import StepSettings

LEAST_BATCH: Final = 16
"""Samples whose statistics are worth more than those that the model came with."""

Share = Annotated[float, Field(ge=0, lt=1)]


class TrainingSettings(StepSettings):
    """How a student is trained; 0 switches off what can be switched off.

    Attributes:
        steps: Optimizer steps.
        epochs: Passes over the training samples; wins over ``steps`` where it is not 0.
        batch: Samples a step, over all processes together; lowered to the number of training samples.
        learning_rate: Peak, after the warm-up.
        warmup_share: Share of the steps in which the learning rate rises from 0; it falls along a cosine afterwards.
        final_share: What is left of the learning rate at the end.
        weight_decay: Of matrices and kernels; vectors (biases, gains) never decay.
        clip_norm: Longest gradient; 0 does not clip.
        ema_decay: Of the moving average of the weights, which is what is evaluated and kept; 0 keeps the weights
            themselves.
        held_out_share: Share of the samples that are never trained on: they choose the best weights.
        evaluate_every: Steps between two looks at the held-out samples.
        patience: Looks without improvement after which training stops; 0 never stops early.
        retreat: Where the fidelity on held-out samples is below what it was before training, go on from the best
            weights with this share of the learning rate; 0 never does. For a student that is near its teacher already.
        select: Which fidelity on the held-out samples chooses the best weights.
        time_budget_seconds: Training stops after so long and keeps the best; 0 is no limit. With a limit the learning
            rate falls with the time where that runs out first, so the result depends on the machine's speed.
        checkpoint_every: Steps between two checkpoints.
        precision: ``bfloat16`` computes the student under autocast; weights and losses stay float32.
        compile: Let ``torch.compile`` make machine code of the student's steps; the first step then takes a minute or
            more, and needs a C++ compiler.
        batch_norm: ``train`` lets BatchNormalization use and update the statistics of the batches, ``frozen`` keeps
            those of the model; ``auto`` trains it where a batch is large enough for statistics.
        cache_bytes: Samples held in memory at most, in bytes. A set that fits is read once; of a larger one, as many
            samples of the shuffled order as fit are read at a time.
        teacher_cache: Keep the teacher's outputs of all samples on disk instead of computing them at every step. Not
            with augmentation.
        device: ``auto`` takes CUDA where there is one.
    """

    steps: PositiveInt = 1000
    epochs: NonNegativeInt = 0
    batch: PositiveInt = 32
    learning_rate: PositiveFloat = 1e-3
    warmup_share: Share = 0.05
    final_share: Share = 0.0
    weight_decay: NonNegativeFloat = 0.01
    clip_norm: NonNegativeFloat = 1.0
    ema_decay: Share = 0.99
    held_out_share: Annotated[float, Field(gt=0, le=0.5)] = 0.1
    evaluate_every: PositiveInt = 100
    patience: NonNegativeInt = 0
    retreat: Share = 0.0
    select: Literal["sqnr", "agreement"] = "sqnr"
    time_budget_seconds: NonNegativeFloat = 0.0
    checkpoint_every: PositiveInt = 100
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    batch_norm: Literal["auto", "frozen", "train"] = "auto"
    cache_bytes: PositiveInt = 512 * 2**20
    teacher_cache: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"


_Settings = TypeVar("_Settings", bound=TrainingSettings)


def resolve_batch_norm(settings: _Settings, student: Model) -> _Settings:
    """Return settings that say what is done with the BatchNormalization of a student, ``auto`` resolved."""
    if settings.batch_norm != "auto":
        return settings
    size = student.inputs[0].shape[0] if student.inputs and student.inputs[0].shape else ""
    batch = size if isinstance(size, int) else settings.batch
    trained = has_batch_norm(student) and batch >= LEAST_BATCH
    return settings.model_copy(update={"batch_norm": "train" if trained else "frozen"})
