"""``compress distill TEACHER STUDENT --data SPEC``."""

import argparse
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from compress.cli.distill_flags import add_model_flags, add_training_flags, read_settings

if TYPE_CHECKING:
    from compress.cli import Subparsers
    from compress.data.samples import SampleSet
    from compress.distill.choice import DistillSettings
    from compress.distill.distributed import Processes
    from compress.distill.imitation import Imitation
    from compress.distill.record import Accuracies, Distillation, ModelRecord
    from compress.intake import Intake
    from compress.model import Model
    from compress.steps import Progress

STUDENT, RECORD, LAST_GOOD = "student.onnx", "distillation.json", "student.last-good.onnx"
_TRAINING = ".training"
_OURS = frozenset({STUDENT, RECORD, LAST_GOOD, _TRAINING})
_BATCH = 64
_EPILOG = """\
exit codes: 0 the student is nearer to the teacher than before, 2 usage or bad input, 10 training made nothing better,
1 internal error

example:
  compress distill teacher.pt student.onnx --data photos --time-budget 10m --eval photos/val
several processes:
  torchrun --nproc-per-node 2 -m compress distill teacher.pt student.onnx --data photos
"""


def add_parser(commands: "Subparsers") -> None:
    """Add the command's flags."""
    parser = commands.add_parser(
        "distill",
        help="train a smaller model to give the outputs of a larger one",
        description="Train a student to give its teacher's outputs on unlabelled samples; both may be of any format.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("teacher", type=Path, metavar="TEACHER", help="any model that `compress run` takes")
    parser.add_argument("student", type=Path, metavar="STUDENT", help="likewise, with the same inputs and outputs")
    parser.add_argument("--data", required=True, metavar="SPEC", help="samples to train on; labels are not needed")
    parser.add_argument("--eval", metavar="SPEC", help="labelled samples: accuracy before and after")
    parser.add_argument("--metric", default="top1", metavar="NAME", help="top1 (default), top5, f1, mse, python:…")
    parser.add_argument("--out", type=Path, metavar="DIR", help="output folder (default: <student>.distilled)")
    parser.add_argument("--resume", action="store_true", help="take up a training that was killed")
    parser.add_argument("--seed", type=int, default=0)
    add_training_flags(parser)
    add_model_flags(parser)
    printing = parser.add_argument_group("output").add_mutually_exclusive_group()
    printing.add_argument("--json", action="store_true", help=f"print {RECORD} instead of text")
    printing.add_argument("--quiet", action="store_true", help="print the result only")


def run(options: argparse.Namespace) -> int:
    """Train, write the student and the record, print what came of it, and return 0, or 10 where nothing got better.

    Raises:
        CompressError: Anything that the user can mend.
    """
    from compress.cli.distill_text import print_distillation
    from compress.cli.progress import show_progress
    from compress.distill.distributed import joined_processes

    settings = read_settings(options)
    out = options.out or Path(f"{options.student.stem}.distilled")
    with joined_processes() as processes, _folder(out, processes, resume=options.resume):
        shown = processes.rank == 0 and not (options.quiet or options.json)
        with show_progress(enabled=shown) as (_, progress):
            record = _distill(options, settings, out, processes, progress)
        if record is None:
            return 0
    if options.json:
        print(record.to_json(), end="")
    else:
        print_distillation(record, out, quiet=options.quiet)
    return 0 if record.training.best_step > 0 else 10


def _distill(
    options: argparse.Namespace, settings: "DistillSettings", out: Path, processes: "Processes", progress: "Progress"
) -> "Distillation | None":
    """Return the record; None in every process but the first, which alone writes."""
    from compress import __version__
    from compress.batch_norm import fold_batch_norm
    from compress.data.binding import bind_samples
    from compress.data.recipes import load_samples
    from compress.distill.record import Distillation, record_data, record_fidelities, record_training
    from compress.distill.settings import resolve_batch_norm
    from compress.store import write_atomically

    samples = load_samples(options.data, base=Path.cwd())
    teacher = _take(options.teacher, options.teacher_factory, options, samples)
    student = _take(options.student, options.student_factory, options, samples)
    bound = bind_samples(samples, student.model.inputs)
    settings = resolve_batch_norm(settings, student.trainable)
    done = _train(options, student, teacher, bound, settings, out=out, progress=progress)
    if processes.rank != 0:
        return None
    final = fold_batch_norm(done.model)
    record = Distillation(
        version=__version__,
        seed=options.seed,
        teacher=_record_model(teacher),
        student=_record_model(student),
        data=record_data(bound, done.training),
        settings=settings.model_dump(mode="json"),
        fidelity=record_fidelities(done.training),
        training=record_training(done, processes.count),
        accuracy=_evaluate(options, teacher.model, student.model, final, bound, progress),
        notes=(*teacher.notes, *student.notes),
    )
    write_atomically(out / STUDENT, final.to_bytes())
    write_atomically(out / RECORD, record.to_json().encode())
    shutil.rmtree(out / _TRAINING, ignore_errors=True)
    (out / LAST_GOOD).unlink(missing_ok=True)
    return record


def _take(path: Path, factory: str | None, options: argparse.Namespace, samples: "SampleSet") -> "Intake":
    """Return a model."""
    from compress.errors import ModelError
    from compress.intake import IntakeOptions, take_in
    from compress.project import load_project, parse_input

    if not path.exists():
        raise ModelError(f"{path} does not exist", hint="check the path of the model")
    project = load_project(path)
    stated = tuple(parse_input(text) for text in options.input) or project.model.inputs
    return take_in(
        path,
        IntakeOptions(
            inputs=stated or samples.specs,
            inputs_of_samples=not stated,
            factory=factory or project.model.factory,
            trust_pickle=options.trust_pickle,
            search_path=project.folder,
        ),
    )


def _train(
    options: argparse.Namespace, student: "Intake", teacher: "Intake", samples: "SampleSet",
    settings: "DistillSettings", *, out: Path, progress: "Progress",
) -> "Imitation":  # fmt: skip
    """Return the trained student; one that diverges leaves its last good weights in the folder."""
    from compress.batch_norm import fold_batch_norm
    from compress.distill.distributed import current_processes
    from compress.distill.imitation import imitate, imitation_key
    from compress.distill.loop import CheckpointStore, NonFiniteError
    from compress.machine import core_count
    from compress.store import write_atomically

    key = imitation_key(student.trainable, teacher.model, samples, settings, options.seed)
    try:
        return imitate(
            student.trainable, teacher.model, samples, settings, seed=options.seed,
            threads=options.threads or core_count(), checkpoint=CheckpointStore(out / _TRAINING, key),
            progress=progress,
        )  # fmt: skip
    except NonFiniteError as error:
        if error.model is not None and current_processes().rank == 0:
            write_atomically(out / LAST_GOOD, fold_batch_norm(error.model).to_bytes())
            error.message += f", written to {out / LAST_GOOD}"
        raise


def _evaluate(
    options: argparse.Namespace, teacher: "Model", before: "Model", after: "Model",
    trained_on: "SampleSet", progress: "Progress",
) -> "Accuracies | None":  # fmt: skip
    """Return the accuracies on labelled samples in ONNX Runtime, or None where none are given."""
    if options.eval is None:
        return None
    from compress.data.binding import bind_samples
    from compress.data.metrics import load_metric
    from compress.data.overlap import count_overlap
    from compress.data.recipes import load_samples
    from compress.distill.record import Accuracies
    from compress.errors import DataError
    from compress.machine import core_count
    from compress.measure.accuracy import measure_accuracy
    from compress.runtimes import open_graph
    from compress.runtimes.batching import fixed_batch, in_batches

    samples = bind_samples(load_samples(options.eval, base=Path.cwd()), after.inputs)
    metric = load_metric(options.metric, Path.cwd())
    found = []
    for what, baseline in (("evaluate against the teacher", teacher), ("evaluate against the start", before)):

        def tell(done: int, total: int, what: str = what) -> None:
            progress(what, done, total)

        sizes = [fixed_batch(model) or _BATCH for model in (baseline, after)]
        one, other = (in_batches(open_graph(m.to_bytes(), threads=core_count()), m) for m in (baseline, after))
        with one, other:
            accuracy, _ = measure_accuracy(
                one, other, samples, metric, batch=min(sizes), measured_on="engine", seed=options.seed,
                progress=tell,
            )  # fmt: skip
        if accuracy is None:
            raise DataError(f"{samples.name} has no labels, which {metric.name} needs", hint="give labelled samples")
        found.append(accuracy)
    overlap = count_overlap(trained_on, samples)
    return Accuracies(against_teacher=found[0], against_start=found[1], overlap=overlap)


def _record_model(intake: "Intake") -> "ModelRecord":
    from compress.distill.record import ModelRecord
    from compress.measure.cost import count_cost, sum_cost

    macs = sum_cost(count_cost(intake.model)).macs
    return ModelRecord(path=intake.path.name, sha256=intake.sha256, parameters=intake.parameters, macs=macs)


@contextmanager
def _folder(out: Path, processes: "Processes", *, resume: bool) -> Iterator[None]:
    """Make the output folder; what the user can mend leaves nothing behind that was not there before."""
    from compress.errors import CompressError, UsageError

    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file, not a folder", hint="choose another folder with --out")
    if out.is_dir() and not _OURS.issuperset(path.name for path in out.iterdir()):
        raise UsageError(f"{out} holds other files than `compress distill` writes", hint="choose another with --out")
    if processes.rank == 0:
        out.mkdir(parents=True, exist_ok=True)
        if not resume:
            shutil.rmtree(out / _TRAINING, ignore_errors=True)
    processes.wait()
    try:
        yield
    except CompressError:
        if processes.rank == 0:
            shutil.rmtree(out / _TRAINING, ignore_errors=True)
            if not any(out.iterdir()):
                out.rmdir()
        raise
