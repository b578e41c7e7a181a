"""The optimizer: AdamW with parameter groups, and its learning rate at every step."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from compress.distill.schedule import learning_rate_factor
from compress.distill.settings import TrainingSettings
from compress.errors import ModelError


@dataclass(frozen=True, slots=True)
class ParameterGroup:
    """Parameters that are trained in their own way.

    Attributes:
        learning_rate_factor: Times the settings' learning rate.
        weight_decay: Instead of the settings' (which spares vectors); None keeps the settings'.
    """

    parameters: Sequence[nn.Parameter]
    learning_rate_factor: float = 1.0
    weight_decay: float | None = None


def make_optimizer(
    student: nn.Module, loss: nn.Module, groups: Sequence[ParameterGroup], settings: TrainingSettings
) -> torch.optim.AdamW:
    """Return AdamW over what the student and the loss learn; what is in no group makes one of its own.

    Raises:
        ModelError: There is nothing to train.
    """
    grouped = {id(parameter) for group in groups for parameter in group.parameters}
    learned = [p for p in (*student.parameters(), *loss.parameters()) if p.requires_grad]
    rest = [parameter for parameter in learned if id(parameter) not in grouped]
    if not any(p.requires_grad for p in student.parameters()):
        raise ModelError(
            "the student has no weights that can be trained",
            hint="its graph has no float initializers that a layer reads as weights: is it quantized already?",
        )
    options: list[dict[str, object]] = []
    for group in (*groups, ParameterGroup(rest)):
        for decays in (True, False):
            members = [p for p in group.parameters if p.requires_grad and (p.ndim > 1) is decays]
            decay = group.weight_decay if group.weight_decay is not None else settings.weight_decay * decays
            if members:
                options.append(
                    {"params": members, "weight_decay": decay, "learning_rate_factor": group.learning_rate_factor}
                )
    # A learning rate of 0: each step sets its own.
    return torch.optim.AdamW(options, lr=0.0)


def learned_parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """Return all parameters of an optimizer, in its order."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def set_learning_rate(
    optimizer: torch.optim.Optimizer, share: float, settings: TrainingSettings, rate: float = 1.0
) -> None:
    """Set the learning rate of every group for the step after ``share`` of the training, at a share ``rate`` of it."""
    factor = rate * learning_rate_factor(share, settings.warmup_share, settings.final_share)
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate * factor * group["learning_rate_factor"]


def check_gradients(parameters: Iterable[nn.Parameter], clip: float) -> float:
    """Return the norm of the gradients, which are cut to the length ``clip`` (0 leaves them)."""
    return float(nn.utils.clip_grad_norm_(list(parameters), clip or float("inf")))
