"""What ``compress distill`` prints."""

from pathlib import Path

from compress.distill.record import Accuracies, Distillation, FidelityRecord
from compress.report.units import format_fraction, format_value


def print_distillation(record: Distillation, out: Path, *, quiet: bool) -> None:
    """Print how near the student has come, what it costs, and how it was trained."""
    before, after = record.fidelity.before, record.fidelity.after
    print(f"fidelity  {_show(before)} → {_show(after)}, on {record.data.held_out} samples that were not trained on")
    if record.accuracy is not None:
        _print_accuracy(record.accuracy)
    if not quiet:
        _print_training(record)
        print(f"results in {out}")
    if record.training.best_step == 0:
        print("nothing got better: the student is what it was; try another learning rate, or more steps")


def _print_accuracy(found: Accuracies) -> None:
    start, end = found.against_start, found.against_teacher
    show = format_fraction if end.unit == "fraction" else format_value
    low, high = end.interval
    print(
        f"{end.metric:<9} {show(start.baseline)} → {show(end.compressed)}, the teacher has {show(end.baseline)}: "
        f"{show(end.drop)} lost ({show(low)} to {show(high)}, 95 %), {end.samples} samples"
    )
    if found.overlap:
        print(f"note      {found.overlap} of these samples were trained on: new ones would score lower")


def _print_training(record: Distillation) -> None:
    small, large, training = record.student, record.teacher, record.training
    share = small.macs / large.macs if large.macs else 1.0
    print(f"size      {small.parameters:,} of {large.parameters:,} parameters, {100 * share:.0f} % of the MACs")
    print(
        f"training  {training.steps} steps of {training.batch} in {training.seconds:.0f} s, best after "
        f"{training.best_step} ({training.stopped}), {record.data.trained} samples"
    )


def _show(found: FidelityRecord) -> str:
    sqnr = "equal outputs" if found.sqnr_db is None else f"{found.sqnr_db:.1f} dB"
    return sqnr if found.agreement is None else f"{sqnr} and {100 * found.agreement:.1f} % agreement"
