"""Settings of the step `qat`."""

from typing import Literal

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from compress.distill.augment import ImageAugmentation
from compress.distill.choice import DistillSettings
from compress.distill.settings import Share, TrainingSettings


class QatSettings(TrainingSettings):
    """Settings of the step ``qat``: how weights and scales are trained together.

    Attributes:
        learning_rate: Peak, in steps of a weight's own integer grid: 0.003 moves a weight by 0.3 % of what 1
            stands for, in every layer and channel alike.
        learn_scales: Which scales are learned: all, those of activations (with their zero points), those of weights, or
            none; the others stay as the calibration chose them.
        scale_learning_rate: Peak, relative to the scale itself: 0.001 changes a scale by 0.1 % a step.
        keep_zeros: What is zero at the start and stays zero: in ``sparse`` weights (2:4, or made so by the step
            ``sparsify``) everything that is; ``none`` lets all be learned.
        power_of_two: Use powers of two only, as some integer-only devices want; scales start from the nearest one.
        loss: ``auto`` chooses by the kind of output; see the step ``distill``.
        temperature: Of the softmax in ``kl``.
        task_weight: Of the loss against labels, where the samples have them; 0 never looks at labels.
        augment: Changes of image inputs at every step.
    """

    steps: PositiveInt = 500
    batch: PositiveInt = 16
    learning_rate: PositiveFloat = 3e-3
    weight_decay: NonNegativeFloat = 0.0
    evaluate_every: PositiveInt = 25
    retreat: Share = 0.3
    batch_norm: Literal["auto", "frozen", "train"] = "frozen"
    learn_scales: Literal["all", "activations", "weights", "none"] = "all"
    scale_learning_rate: PositiveFloat = 5e-4
    keep_zeros: Literal["sparse", "none"] = "sparse"
    power_of_two: bool = False
    loss: Literal["auto", "kl", "mse", "cosine"] = "auto"
    temperature: PositiveFloat = 1.0
    task_weight: NonNegativeFloat = 0.0
    augment: ImageAugmentation = ImageAugmentation()

    def loss_settings(self) -> DistillSettings:
        """Return what the choice of a loss wants to know."""
        return DistillSettings(loss=self.loss, temperature=self.temperature, task_weight=self.task_weight)
