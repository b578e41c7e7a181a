"""``compress distill TEACHER STUDENT --data SPEC``."""

import argparse
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

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
    _add_training_flags(parser)
    _add_model_flags(parser)
    printing = parser.add_argument_group("output").add_mutually_exclusive_group()
    printing.add_argument("--json", action="store_true", help=f"print {RECORD} instead of text")
    printing.add_argument("--quiet", action="store_true", help="print the result only")


def _add_training_flags(parser: argparse.ArgumentParser) -> None:
    training = parser.add_argument_group("training")
    training.add_argument("--settings", type=Path, metavar="FILE", help="TOML of settings (guide: Distillation)")
    training.add_argument("--steps", type=int, metavar="N", help="optimizer steps (default 1000)")
    training.add_argument("--epochs", type=int, metavar="N", help="passes over the samples instead")
    training.add_argument("--time-budget", metavar="TIME", help="90s, 10m: stop then, keep the best")
    training.add_argument("--batch", type=int, metavar="N", help="samples a step (default 32)")
    training.add_argument("--learning-rate", type=float, metavar="RATE", help="peak (default 0.001)")
    training.add_argument("--loss", metavar="NAME", help="auto (default), kl, mse, cosine")
    training.add_argument("--temperature", type=float, metavar="T", help="of the softmax in kl (default 2)")
    training.add_argument("--features", type=int, metavar="N", help="pairs of values inside both, compared too")
    training.add_argument("--attention-weight", type=float, metavar="W", help="compare attention maps too")
    training.add_argument("--task-weight", type=float, metavar="W", help="learn from labels too")
    training.add_argument("--mirror", action="store_true", help="mirror images at random")
    training.add_argument("--shift", type=int, metavar="PIXELS", help="shift images at random")
    training.add_argument("--device", metavar="NAME", help="auto (default), cpu, cuda")


def _add_model_flags(parser: argparse.ArgumentParser) -> None:
    models = parser.add_argument_group("models (compress.toml beside each says the same in [model])")
    models.add_argument("--input", action="append", default=[], metavar="SPEC", help="image=batch,3,224,224:float32")
    models.add_argument("--teacher-factory", metavar="MODULE:CALLABLE", help="makes the module of a state dict")
    models.add_argument("--student-factory", metavar="MODULE:CALLABLE", help="likewise")
    models.add_argument("--trust-pickle", action="store_true", help="run the code in pickled modules: only your own")


def run(options: argparse.Namespace) -> int:
    """Train, write the student and the record, print what came of it, and return 0, or 10 where nothing got better.

    Raises:
        CompressError: Anything that the user can mend.
    """
    from compress.cli.distill_text import print_distillation
    from compress.cli.progress import show_progress
    from compress.distill.distributed import joined_processes

    settings = _read_settings(options)
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


def _read_settings(options: argparse.Namespace) -> "DistillSettings":
    from pydantic import ValidationError

    from compress.config import explain, read_toml
    from compress.distill.choice import DistillSettings
    from compress.quantities import parse_duration

    table = read_toml(options.settings) if options.settings else {}
    names = ("steps", "epochs", "batch", "learning_rate", "loss", "temperature", "features", "device")
    flags = {name: getattr(options, name) for name in (*names, "attention_weight", "task_weight")}
    if options.time_budget is not None:
        flags["time_budget_seconds"] = parse_duration(options.time_budget)
    if options.mirror or options.shift is not None:
        flags["augment"] = {"mirror": options.mirror, "shift": options.shift or 0}
    try:
        return DistillSettings.model_validate({**table, **{k: v for k, v in flags.items() if v is not None}})
    except ValidationError as error:
        place = f"{options.settings} and flags" if options.settings else "flags"
        raise explain(error, place, DistillSettings) from error


def _distill(
    options: argparse.Namespace, settings: "DistillSettings", out: Path, processes: "Processes", progress: "Progress"
) -> "Distillation | None":
    """Return the record; None in every process but the first, which alone writes."""
    from compress import __version__
    from compress.data.binding import bind_samples
    from compress.data.recipes import load_samples
    from compress.distill.record import Distillation, record_data, record_fidelities, record_training
    from compress.store import write_atomically

    samples = load_samples(options.data, base=Path.cwd())
    teacher = _take(options.teacher, options.teacher_factory, options, samples)
    student = _take(options.student, options.student_factory, options, samples)
    bound = bind_samples(samples, student.model.inputs)
    done = _train(options, student, teacher, bound, settings, out=out, progress=progress)
    if processes.rank != 0:
        return None
    record = Distillation(
        version=__version__,
        seed=options.seed,
        teacher=_record_model(teacher),
        student=_record_model(student),
        data=record_data(bound, done.training),
        settings=settings.model_dump(mode="json"),
        fidelity=record_fidelities(done.training),
        training=record_training(done, processes.count),
        accuracy=_evaluate(options, teacher.model, student.model, done.model, bound, progress),
        notes=(*teacher.notes, *student.notes),
    )
    write_atomically(out / STUDENT, done.model.to_bytes())
    write_atomically(out / RECORD, record.to_json().encode())
    shutil.rmtree(out / _TRAINING, ignore_errors=True)
    (out / LAST_GOOD).unlink(missing_ok=True)
    return record


def _take(path: Path, factory: str | None, options: argparse.Namespace, samples: "SampleSet") -> "Intake":
    from compress.errors import ModelError
    from compress.intake import IntakeOptions, take_in
    from compress.project import load_project, parse_input

    if not path.exists():
        raise ModelError(f"{path} does not exist", hint="check the path of the model")
    project = load_project(path)
    inputs = tuple(parse_input(text) for text in options.input) or project.model.inputs or samples.specs
    return take_in(
        path,
        IntakeOptions(
            inputs=inputs,
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
    from compress.distill.distributed import current_processes
    from compress.distill.imitation import imitate, imitation_key
    from compress.distill.loop import CheckpointStore, NonFiniteError
    from compress.machine import core_count
    from compress.store import write_atomically

    key = imitation_key(student.model, teacher.model, samples, settings, options.seed)
    try:
        return imitate(
            student.model, teacher.model, samples, settings, seed=options.seed, threads=core_count(),
            checkpoint=CheckpointStore(out / _TRAINING, key), progress=progress,
        )  # fmt: skip
    except NonFiniteError as error:
        if error.model is not None and current_processes().rank == 0:
            write_atomically(out / LAST_GOOD, error.model.to_bytes())
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
