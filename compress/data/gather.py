"""Which samples a run uses: what the user said, or made-up ones that are marked as such."""

from dataclasses import dataclass
from pathlib import Path

from compress.data.binding import bind_samples
from compress.data.drift import describe_drift
from compress.data.overlap import count_overlap
from compress.data.recipes import SampleSettings, load_samples
from compress.data.samples import SampleSet
from compress.data.subset import take
from compress.data.synthetic import synthesize
from compress.model import TensorSpec

Spec = str | SampleSettings

SYNTHETIC_SAMPLES = 32
BORROWED_SAMPLES = 256
FEW_SAMPLES = 16
"""Fewer calibration samples than these are worth a sentence."""


@dataclass(frozen=True, slots=True)
class RunData:
    """The samples of a run, bound to the model's inputs.

    Attributes:
        overlap: How many evaluation samples calibration saw too.
        notes: Sentences for the report.
    """

    calibration: SampleSet
    evaluation: SampleSet
    overlap: int
    notes: tuple[str, ...] = ()


def load_if_named(spec: Spec | None, base: Path) -> SampleSet | None:
    """Return the samples that a specification names, or None where there is none."""
    return None if spec is None else load_samples(spec, base=base)


def gather_samples(
    calibration: SampleSet | None, evaluation: SampleSet | None, inputs: tuple[TensorSpec, ...], seed: int
) -> RunData:
    """Return calibration and evaluation samples for a model with these inputs.

    Without evaluation samples, made-up ones serve to compare outputs; they never give an accuracy. Without calibration
    samples, some of the evaluation samples serve, evenly picked, which the overlap then shows; without either, made-up
    ones.

    Raises:
        DataError: The samples do not fit the inputs.
    """
    notes = []
    synthetic = synthesize(inputs, count=SYNTHETIC_SAMPLES, seed=seed)
    if calibration is None and evaluation is not None:
        calibration = take(evaluation, min(BORROWED_SAMPLES, len(evaluation)))
        notes.append(f"calibrated on {len(calibration)} of the evaluation samples: no calibration samples were given")
    if calibration is None:
        notes.append("calibrated on made-up samples: no data was given, so the ranges are guesses")
    bound = synthetic if calibration is None else bind_samples(calibration, inputs)
    judged = synthetic if evaluation is None else bind_samples(evaluation, inputs)
    overlap = 0 if evaluation is None or calibration is None else count_overlap(bound, judged)
    if overlap:
        notes.append(f"{overlap} of {len(judged)} evaluation samples are calibration samples too")
    if calibration is not None and len(calibration) < FEW_SAMPLES:
        what = "one sample" if len(calibration) == 1 else f"{len(calibration)} samples"
        notes.append(f"calibrated on {what} only: ranges may not hold for others; hundreds are usual")
    if evaluation is not None and not evaluation.labelled:
        notes.append(f"`{evaluation.name}` has no labels: no metric that needs them can be measured on it")
    if calibration is not None and evaluation is not None:
        notes += describe_drift(bound, judged)
    return RunData(bound, judged, overlap, tuple(notes))
