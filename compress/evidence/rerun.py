"""Accuracy measured again on the engine of a folder, beside what the report says of it."""

import json
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final, Literal

from compress import machine
from compress.data.binding import bind_samples
from compress.data.metrics import load_metric
from compress.data.recipes import list_recipes, load_samples
from compress.data.samples import SampleSet
from compress.data.subset import take
from compress.devices.choose import parse_device
from compress.devices.cpus import EmulatedCpu
from compress.devices.session import open_emulated
from compress.errors import CompressError, TargetError
from compress.evidence.files import Finding
from compress.machine import core_count
from compress.measure.score import measure_score
from compress.model import Model
from compress.report.record import ELSEWHERE, Accuracy, DataSet, Report, TargetRecord
from compress.runtimes import Engine, EngineFile, Session, load_runtime, open_graph
from compress.runtimes.batching import fixed_batch, in_batches
from compress.runtimes.engine_files import GRAPH
from compress.runtimes.engine_options import EngineOptions
from compress.runtimes.variants import load_variants
from compress.steps import Progress

TOLERANCE: Final = 0.001
"""Of a fraction absolute, of any other metric relative: what other threads or another library's rounding may change."""

_BATCH: Final = 64
_PYTHON: Final = "python:"
_EMULATED: Final = "emulated:"


@dataclass(frozen=True, slots=True)
class Rerun:
    """The accuracy of one target, measured again: same, different, or not measured, and why, in words."""

    target: str
    outcome: Literal["same", "differs", "not run"]
    reason: str


class NotRunError(Exception):
    """The accuracy cannot be measured again here; the text says why."""


def load_evaluation(report: Report, spec: str | None, base: Path) -> SampleSet | Finding | str:
    """Return the evaluation samples of a report, what is wrong with them, or why they are not known.

    Args:
        report: Of the run.
        spec: What the user says they are; where None, the report's own, which must be a recipe of this installation:
            a report is not trusted to name a path.
        base: Where a relative path of ``spec`` starts.

    Raises:
        CompressError: The samples cannot be read.
    """
    wanted = report.data.evaluation
    if wanted is None or wanted.synthetic:
        return "the run had no evaluation samples"
    if spec is None and wanted.name not in list_recipes():
        return f"the report's samples `{wanted.name}` are no recipe of this installation: give them with --data SPEC"
    samples = load_samples(spec or wanted.name, base=base)
    return _compare_data(samples, wanted, spec or wanted.name) or samples


def _compare_data(samples: SampleSet, wanted: DataSet, name: str) -> Finding | None:
    digest = samples.digest()
    if digest == wanted.digest:
        return None
    return Finding("changed", f"data {name}", f"digest {digest}, the report says {wanted.digest}")


def rerun_target(
    record: TargetRecord, folder: Path, original: Model, samples: SampleSet, progress: Progress
) -> Rerun | None:
    """Return how the engine's accuracy compares with the report's; None where the report has none.

    Args:
        record: Of the target; its files have been checked.
        folder: Of the results.
        original: The graph that came in: its inputs are the engine's.
        samples: The evaluation samples of the report.
        progress: Told how far it is.

    Raises:
        CompressError: The engine or the samples cannot be taken.
    """
    said = record.accuracy
    if said is None:
        return None
    if said.metric.startswith(_PYTHON):
        return Rerun(record.target, "not run", f"the metric {said.metric} is code, which a report may not name")
    bound = take(bind_samples(samples, original.inputs), min(said.samples, len(samples)))
    try:
        session = _open(record, folder)
    except (NotRunError, TargetError) as error:
        return Rerun(record.target, "not run", str(error))
    with in_batches(session, original) as opened:
        score = measure_score(
            opened,
            bound,
            load_metric(said.metric, folder),
            batch=fixed_batch(original) or _BATCH,
            progress=lambda done, total: progress(f"{record.target}: accuracy", done, total),
        )
    return _compare(record.target, said, score.estimate.value, score.samples)


def _compare(target: str, said: Accuracy, value: float, samples: int) -> Rerun:
    text = f"{said.metric} {value:.6g} on {samples} samples, the report says {said.compressed:.6g} on {said.samples}"
    scale = 1.0 if said.unit == "fraction" else abs(said.compressed)
    # One sample must be allowed to change where a sample weighs more than the tolerance.
    allowed = max(TOLERANCE * scale, 1.0 / samples if said.unit == "fraction" else 0.0) + 1e-12
    same = samples == said.samples and abs(value - said.compressed) <= allowed
    return Rerun(target, "same" if same else "differs", text)


def _open(record: TargetRecord, folder: Path) -> Session:
    """Return a session of what the report's accuracy was measured on.

    Raises:
        NotRunError: That cannot be had here.
    """
    paths = {PurePosixPath(file.path).name: file.path for file in record.engine.files} if record.engine else {}
    names = set(paths)
    if GRAPH not in names:
        raise NotRunError(f"the engine has no {GRAPH}")
    # The folder is that of a file that was checked: the target's name comes from the report, and may be a path.
    graph = folder / paths[GRAPH]
    engine_folder = graph.parent
    if record.accuracy is not None and record.accuracy.measured_on == "simulated":
        return open_graph(graph, threads=core_count(), simulate=True)
    if record.engine is None or record.engine.kind != "onnx":
        raise NotRunError(f"engines of {record.runtime} are measured by `compress run` on their device only")
    engine = _engine(record, engine_folder, graph, _read_options(engine_folder, names))
    device = record.device.measured_on or ""
    if device.startswith(_EMULATED):
        cpu = parse_device(device)
        if not isinstance(cpu, EmulatedCpu):
            raise NotRunError(f"unknown device {device}")
        return open_emulated(cpu, engine.main)
    if device.startswith(ELSEWHERE):
        raise NotRunError(f"it was measured on {device}: `compress run --device` measures there again")
    here = machine.detect_isa()
    if record.runtime == "onnxruntime" and record.device.isa != here:
        raise NotRunError(f"it was measured on {record.device.isa}, this CPU is {here}: INT8 kernels round otherwise")
    options, variants = _read_options(engine_folder, names), load_variants(record.runtime)
    if options is None or variants is None:
        return load_runtime(record.runtime).open(engine, threads=core_count())
    return variants.open_packed(engine, replace(options[1], threads=core_count()))


def _engine(record: TargetRecord, folder: Path, graph: Path, options: tuple[str, EngineOptions] | None) -> Engine:
    files = tuple(
        EngineFile(folder / PurePosixPath(file.path).name, file.sha256, file.bytes)
        for file in (record.engine.files if record.engine else ())
    )
    main = graph if options is None else folder / options[0]
    return Engine(record.runtime, "onnx", record.target, folder, main, graph, files, versions={})


def _read_options(folder: Path, names: set[str]) -> tuple[str, EngineOptions] | None:
    """Return the file that is loaded and how it is run, from ``engine.json``; None where there is none."""
    if "engine.json" not in names:
        return None
    try:
        content = json.loads((folder / "engine.json").read_bytes())
        found, options = content["model"], EngineOptions(**content["options"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise CompressError(
            f"{folder / 'engine.json'} cannot be read: {error}", hint="run `compress run` again"
        ) from error
    if found not in names:
        raise CompressError(f"{folder / 'engine.json'} names `{found}`, no file of the engine", hint="do not trust it")
    return found, options
