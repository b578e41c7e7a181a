"""From what a run did to its report."""

import importlib.metadata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import PurePosixPath

from pydantic import JsonValue

from compress import __version__
from compress.data.gather import RunData
from compress.data.samples import SampleSet
from compress.engines import Engines
from compress.errors import TargetError
from compress.gate import Policy, accuracy_budget
from compress.intake import Intake
from compress.measure.cost import count_cost
from compress.measure.fidelity import compare_outputs
from compress.measure.machine import describe_machine
from compress.measured import Measured
from compress.model import Model, StepRecord
from compress.options import Plan
from compress.precision import count_precisions
from compress.report.record import (
    Attempt,
    Data,
    DataSet,
    EngineFile,
    EngineRecord,
    Fidelity,
    Measurements,
    Report,
    Source,
    Step,
    TargetRecord,
    Tool,
    VerdictRecord,
)
from compress.runtimes import open_graph
from compress.speed import Speed
from compress.targets import Target

PACKAGES = (
    "neural-compressor",
    "numpy",
    "onnx",
    "onnx-ir",
    "onnxruntime",
    "onnxruntime-ep-openvino",
    "onnxruntime-gpu",
    "onnxscript",
    "pillow",
    "scipy",
    "tensorrt-rtx-cu13-bindings",
    "tensorrt",
    "torch",
)
_CHECKED_SAMPLES = 64


def describe_run(
    plan: Plan,
    source: Intake,
    data: RunData,
    export_check: Fidelity,
    records: tuple[TargetRecord, ...],
    verdict: VerdictRecord,
) -> Report:
    """Return the report of a run whose targets are all done."""
    shared, own = _split_steps(records)
    return Report(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=plan.options.command,
        tool=Tool(version=__version__, packages=list_versions()),
        seed=plan.options.seed,
        source=describe_source(source, export_check),
        data=describe_data(data),
        steps=shared,
        targets=own,
        verdict=verdict,
    )


def check_export(source: Intake, samples: SampleSet) -> Fidelity:
    """Return how near the exported graph is to the source model itself, on the first samples.

    Raises:
        CompressError: One of the two gives outputs that are not finite.
    """
    first = next(iter(samples.batches(_CHECKED_SAMPLES if source.model.inputs[0].has_dynamic_batch else 1)))
    with open_graph(source.model.to_bytes(), threads=1) as session:
        return compare_outputs(source.reference, session.run, [first], synthetic=samples.synthetic)


def describe_source(source: Intake, export_check: Fidelity) -> Source:
    """Return the record of the model file."""
    return Source(
        path=source.path.name,
        sha256=source.sha256,
        kind=source.kind,
        parameters=source.parameters,
        macs=sum(layer.macs for layer in count_cost(source.model)),
        bytes=source.bytes,
        export_check=export_check,
        notes=source.notes,
    )


def describe_data(data: RunData) -> Data:
    """Return the record of the samples."""
    return Data(
        calibration=_data_set(data.calibration, None),
        evaluation=_data_set(data.evaluation, data.overlap),
        notes=data.notes,
    )


def _data_set(samples: SampleSet, overlap: int | None) -> DataSet:
    return DataSet(
        name=samples.name,
        digest=samples.digest(),
        samples=len(samples),
        synthetic=samples.synthetic,
        overlap_with_calibration=overlap,
    )


def describe_target(engines: Engines, model: Model, measured: Measured, speed: Speed) -> Measurements:
    """Return everything that is known about one target; paths are those in the output folder."""
    place = PurePosixPath("engine", engines.target.name)
    built = measured.engine or engines.compressed
    folder = built.folder
    files = tuple(
        EngineFile(path=str(place / file.path.relative_to(folder).as_posix()), sha256=file.sha256, bytes=file.bytes)
        for file in built.files
    )
    engine = EngineRecord(
        kind=built.kind,
        files=files,
        nodes=count_precisions(engines.shipped_model),
        versions=dict(built.versions),
        notes=(*built.notes, *measured.notes),
    )
    found = _measurements(engines.target, model, measured=measured, engine=engine)
    explained = {"bound": speed.bound, "attribution": speed.attribution, "roofline": speed.roofline}
    return found.model_copy(update={"contest": engines.contest, **explained})


def describe_unbuilt(target: Target, model: Model, error: TargetError) -> Measurements:
    """Return the record of a target for which no engine could be built."""
    return _measurements(target, model, error=f"{error.message}. {error.hint or ''}".strip())


def _measurements(
    target: Target,
    model: Model,
    *,
    measured: Measured | None = None,
    engine: EngineRecord | None = None,
    error: str | None = None,
) -> Measurements:
    ran_here = measured is not None and measured.latency is not None
    elsewhere = measured.machine if measured else None
    return Measurements(
        target=target.name,
        runtime=target.runtime,
        dialect=target.dialect,
        device=elsewhere or describe_machine("this machine" if ran_here else None),
        engine=engine,
        steps=tuple(_step(record) for record in model.history),
        accuracy=measured.accuracy if measured else None,
        fidelity=measured.fidelity if measured else None,
        latency=measured.latency if measured else None,
        size=measured.size if measured else None,
        memory=measured.memory if measured else None,
        bound=None,
        error=error,
        energy=measured.energy if measured else None,
    )


def with_verdict(measurements: Measurements, verdict: VerdictRecord, policy: Policy) -> TargetRecord:
    """Return the finished record of a target, with the verdict that the policy gave."""
    known = {name: getattr(measurements, name) for name in Measurements.model_fields}
    accuracy = measurements.accuracy
    return TargetRecord(
        **known, verdict=verdict, budget=None if accuracy is None else accuracy_budget(accuracy, policy)
    )


def with_attempts(kept: TargetRecord, tried: Sequence[TargetRecord], problems: Sequence[str]) -> TargetRecord:
    """Return the record that is kept, with a line about each attempt where there were several, and what went wrong."""
    best = kept
    if problems and kept.engine is not None:
        notes = (*kept.engine.notes, *problems)
        kept = kept.model_copy(update={"engine": kept.engine.model_copy(update={"notes": notes})})
    if len(tried) == 1:
        return kept
    lines = tuple(
        Attempt(
            steps=tuple(step.step for step in record.steps),
            status=record.verdict.status,
            drop=record.accuracy.drop if record.accuracy else None,
            sqnr_db=record.fidelity.sqnr_db if record.fidelity else None,
            kept=record is best,
        )
        for record in tried
    )
    return kept.model_copy(update={"attempts": lines})


def _step(record: StepRecord) -> Step:
    settings: Mapping[str, JsonValue] = record.settings
    return Step(
        step=record.step,
        settings=dict(settings),
        seconds=record.seconds,
        metrics=dict(record.metrics),
        input_digest=record.input_digest,
        output_digest=record.output_digest,
    )


def _split_steps(records: tuple[TargetRecord, ...]) -> tuple[tuple[Step, ...], tuple[TargetRecord, ...]]:
    """Return the steps that all targets share, and the targets with the steps that are theirs alone."""
    chains = [[step.output_digest for step in record.steps] for record in records]
    shared = sum(1 for _ in takewhile(lambda step: len(set(step)) == 1, zip(*chains, strict=False)))
    own = tuple(record.model_copy(update={"steps": record.steps[shared:]}) for record in records)
    return records[0].steps[:shared], own


def list_versions() -> dict[str, str]:
    """Return the versions of the installed packages that a result depends on."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
