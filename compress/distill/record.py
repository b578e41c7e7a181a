"""What ``compress distill`` writes about a training: schema ``compress.distillation/1``; fractions, seconds, dB."""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from compress.data.samples import SampleSet
from compress.distill.fidelity import HeldOut
from compress.distill.imitation import Imitation
from compress.distill.result import TrainingResult
from compress.report.record import Accuracy

SCHEMA: Final = "compress.distillation/1"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelRecord(_Record):
    """A model that took part."""

    path: str
    sha256: str
    parameters: int
    macs: int


class DataRecord(_Record):
    """The samples that were trained on; ``held_out`` of them only chose the best weights."""

    name: str
    digest: str
    samples: int
    trained: int
    held_out: int


class FidelityRecord(_Record):
    """How near the student is to the teacher on the held-out samples; ``sqnr_db`` is None where they are equal."""

    sqnr_db: float | None
    agreement: float | None

    @classmethod
    def of(cls, found: HeldOut) -> "FidelityRecord":
        """Return the record of what was measured."""
        return cls(sqnr_db=found.sqnr_db, agreement=found.agreement)


class Look(_Record):
    """One look at the held-out samples; ``loss`` is the mean over the steps since the one before."""

    step: int
    loss: float
    fidelity: FidelityRecord


class TrainingRecord(_Record):
    """What training did."""

    steps: int
    best_step: int
    stopped: str
    seconds: float
    batch: int
    processes: int
    pairs: tuple[tuple[str, str], ...]
    history: tuple[Look, ...]


class Fidelities(_Record):
    """Before and after training."""

    before: FidelityRecord
    after: FidelityRecord


class Accuracies(_Record):
    """Accuracies on labelled samples, paired.

    Attributes:
        against_teacher: ``baseline`` is the teacher, ``compressed`` the trained student.
        against_start: ``baseline`` is the student before training.
        overlap: Evaluation samples that were among the training samples.
    """

    against_teacher: Accuracy
    against_start: Accuracy
    overlap: int


class Distillation(_Record):
    """The whole file."""

    schema_: Annotated[Literal["compress.distillation/1"], Field(alias="schema")] = SCHEMA
    version: str
    seed: int
    teacher: ModelRecord
    student: ModelRecord
    data: DataRecord
    settings: dict[str, JsonValue]
    fidelity: Fidelities
    training: TrainingRecord
    accuracy: Accuracies | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return the file's text."""
        return self.model_dump_json(by_alias=True, indent=2) + "\n"


def record_data(samples: SampleSet, training: TrainingResult) -> DataRecord:
    """Return the record of the samples."""
    return DataRecord(
        name=samples.name,
        digest=samples.digest(),
        samples=len(samples),
        trained=training.trained,
        held_out=training.before.samples,
    )


def record_training(done: Imitation, processes: int) -> TrainingRecord:
    """Return the record of a training."""
    training = done.training
    return TrainingRecord(
        steps=training.steps,
        best_step=training.best_step,
        stopped=training.stopped,
        seconds=training.seconds,
        batch=training.batch,
        processes=processes,
        pairs=tuple((pair.student, pair.teacher) for pair in done.pairs),
        history=tuple(
            Look(step=step, loss=loss, fidelity=FidelityRecord.of(found)) for step, loss, found in training.history
        ),
    )


def record_fidelities(training: TrainingResult) -> Fidelities:
    """Return the fidelities before and after."""
    return Fidelities(before=FidelityRecord.of(training.before), after=FidelityRecord.of(training.after))
