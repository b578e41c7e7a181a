"""Settings of the step ``prune``."""

import math
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from compress.distill.choice import DistillSettings
from compress.distill.settings import resolve_batch_norm
from compress.errors import UsageError
from compress.model import JsonValue, Model
from compress.prune.allocation import AllocationName
from compress.prune.amount import Amount, parse_amount
from compress.prune.importance import Aggregation, CriterionName, Normalisation
from compress.prune.rounding import Rounding
from compress.store import hash_file
from compress.targets import Target

MOST_CACHED: Final = 2**30
"""Bytes of the teacher's outputs that are kept without being asked to."""


class PruneSettings(DistillSettings):
    """Settings of the step ``prune``: how much goes, what goes first, and how the rest learns to make up for it.

    The settings of training are those of the step ``distill``; by default training goes on for as long as the fidelity
    on held-out samples gets better, ``time_budget_seconds`` in all.

    Attributes:
        amount: What is removed, ``"50%macs"``: a share of MACs, params, bytes, or of the latency as it is measured on
            the target. Either this or ``plan``.
        plan: Path of a stored plan, from the working folder, whose cuts are made instead of new ones.
        importance: What says which units of a group go first.
        aggregation: How the scores of all tensors of a group become one.
        normalisation: What makes groups comparable: ``none`` takes scores as they are; ``mean``, ``max``, ``sum`` and
            ``gaussian`` relate them to their own group; ``parameters`` divides them by the parameters of a unit,
            ``cost`` by what cutting it saves of the amount's quantity (MACs for latency). ``auto`` takes ``cost`` for
            scores that are errors (taylor, fisher, reconstruction), ``mean`` for others.
        samples: Calibration samples that scores and sensitivities are measured on, at most.
        allocation: How the amount is distributed: ``uniform`` takes the same share of each group, ``global`` the least
            important units of all, ``isomorphic`` those within families of equal groups, ``sensitivity`` what harms
            held-out samples least for what it saves.
        rounds: The amount is removed in so many rounds, each with its own scores and training.
        multiple: What the channels of convolutions are a multiple of; ``auto`` takes 16, or 8 in groups of less than
            64, and smaller ones only where the amount cannot be reached otherwise.
        floor: Share of each group that stays.
        exclude: Names of groups that stay whole, with ``*`` and ``?``; ``compress inspect`` lists them.
        update: ``least-squares`` lets the layers that read what was cut make up for it as well as they can, before any
            training; it costs a minute for a large model.
        steps: Optimizer steps of the training after each round, at most; 0 trains nothing.
        batch_norm_learning_rate: Peak of the learning rate instead of ``learning_rate``, where BatchNormalization is
            trained: it makes large steps safe, and what was cut is far from what it will be.
        teacher_cache: As in ``distill``; where it is not set, on where that pays and nothing changes the samples.
        last_training: Whether there is a training after the last round too; a recipe with ``distill`` after ``prune``
            leaves it to that step.
        latency_threads: Threads of the engines whose latency is measured.
        latency_batch: Samples a call.
        latency_seconds: How long one engine is measured at most.
    """

    amount: str | None = None
    plan: Annotated[str | None, Field(validate_default=True)] = None
    importance: CriterionName = "fisher"
    aggregation: Aggregation = "sum"
    normalisation: Normalisation | Literal["auto"] = "auto"
    samples: PositiveInt = 128
    allocation: AllocationName = "sensitivity"
    rounds: PositiveInt = 1
    multiple: PositiveInt | Literal["auto"] = "auto"
    floor: Annotated[float, Field(ge=0, lt=1)] = 0.1
    exclude: tuple[str, ...] = ()
    update: Literal["least-squares", "none"] = "least-squares"
    steps: NonNegativeInt = 3000
    learning_rate: PositiveFloat = 3e-4
    batch_norm_learning_rate: PositiveFloat = 3e-3
    patience: NonNegativeInt = 10
    last_training: bool = True
    latency_threads: PositiveInt = 1
    latency_batch: PositiveInt = 1
    latency_seconds: PositiveFloat = 2.0

    @field_validator("amount")
    @classmethod
    def _check_amount(cls, text: str | None) -> str | None:
        try:
            return None if text is None else str(parse_amount(text))
        except UsageError as error:
            raise _problem(f"{error.message}; {error.hint}") from None

    @field_validator("plan")
    @classmethod
    def _check_plan(cls, path: str | None, info: ValidationInfo) -> str | None:
        if "amount" in info.data and (info.data["amount"] is None) == (path is None):
            raise _problem('either `amount = "50%macs"` or `plan = "plan.json"` says what goes')
        if path is not None and not Path(path).is_file():
            raise _problem(f"{path} is not a file")
        return path

    @property
    def goal(self) -> Amount | None:
        """What is to be removed, None where a plan says it."""
        return None if self.amount is None else parse_amount(self.amount)

    @property
    def scaling(self) -> Normalisation:
        """The normalisation, ``auto`` resolved."""
        if self.normalisation != "auto":
            return self.normalisation
        return "cost" if self.importance in ("taylor", "fisher", "reconstruction") else "mean"

    def rounding(self, finer: int) -> Rounding:
        """Return how numbers of units are rounded, the automatic multiples divided by a number."""
        return Rounding(None if self.multiple == "auto" else self.multiple, finer, self.floor)

    def recovery(self, seconds: float, model: Model, samples: int) -> DistillSettings:
        """Return the settings of one training of a model on so many samples, which may take some seconds (0: no limit).

        What the settings do not say is decided here: the learning rate where BatchNormalization is trained, and whether
        the teacher's outputs are kept, which pays where all samples are seen more than once and outputs are small.
        """
        table = {name: getattr(self, name) for name in DistillSettings.model_fields}
        settings = DistillSettings.model_validate({**table, "time_budget_seconds": seconds})
        settings = resolve_batch_norm(settings, model)
        chosen: dict[str, object] = {}
        if settings.batch_norm == "train" and "learning_rate" not in self.model_fields_set:
            chosen["learning_rate"] = self.batch_norm_learning_rate
        if "teacher_cache" not in self.model_fields_set and not (self.augment.changes or self.features):
            seen = max(self.steps * self.batch, self.epochs * samples)
            chosen["teacher_cache"] = seen > samples and _bytes_a_sample(model) * samples <= MOST_CACHED
        return settings.model_copy(update=chosen)

    def also_depends_on(self, target: Target) -> JsonValue:
        """Return the target, where its latency decides, and the content of the plan."""
        goal = self.goal
        timed: JsonValue = target.model_dump(mode="json") if goal and goal.quantity == "latency" else None
        return timed if self.plan is None else hash_file(Path(self.plan))

    def files(self) -> tuple[Path, ...]:
        """Return the plan's file, where there is one."""
        return () if self.plan is None else (Path(self.plan),)


def _bytes_a_sample(model: Model) -> float:
    """Return the bytes of all outputs of a sample as float32; infinity where a size but the batch is not known."""
    shapes = [spec.shape[1:] for spec in model.outputs]
    if any(isinstance(size, str) for shape in shapes for size in shape):
        return math.inf
    return sum(4.0 * math.prod(int(size) for size in shape) for shape in shapes)


def _problem(text: str) -> PydanticCustomError:
    """Return an error that is shown without a prefix."""
    return PydanticCustomError("prune", "{problem}", {"problem": text})
