"""Writing the lock: what was asked for with every default, what it was asked of, and what the run chose."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tomli_w

from compress.data.callables import PREFIX as PYTHON
from compress.data.callables import find_code
from compress.data.gather import Spec
from compress.data.recipes import resolve_settings
from compress.data.samples import SampleSet, describe_samples
from compress.data.slices import digest_slices
from compress.evidence.lock.inputs import hash_input
from compress.evidence.lock.recipe_table import describe_recipe
from compress.evidence.lock.schema import FILE_NAME, SCHEMA
from compress.machine import core_count
from compress.options import Plan
from compress.report.record import DataSet, Report, Step, TargetRecord
from compress.resources import data_folder
from compress.runtimes.engine_files import GRAPH
from compress.runtimes.engine_options import EngineOptions
from compress.runtimes.variants import load_variants
from compress.store import hash_file, write_atomically
from compress.targets import find_target

_MIXED = "mixed"


@dataclass(frozen=True, slots=True)
class LockInputs:
    """What files say when a run begins, as the lock has it: what becomes of them meanwhile is not what went in.

    Attributes:
        recipe: The table of the recipe.
        metric_sha256: Of a ``python:`` metric's module.
        data: Where the samples come from, by role.
        engine: The table of the engine.
        targets: By path of each target's file, its SHA-256.
    """

    recipe: Mapping[str, Any]
    metric_sha256: str | None
    data: Mapping[str, Mapping[str, Any]]
    engine: Mapping[str, Any]
    targets: Mapping[Path, str]


def read_inputs(plan: Plan) -> LockInputs:
    """Return what goes into a run.

    Raises:
        ConfigError: A file is not there.
        DataError: A recipe of samples cannot be read.
    """
    code = find_code(plan.metric_spec, plan.project.folder) if plan.metric_spec.startswith(PYTHON) else None
    return LockInputs(
        recipe=describe_recipe(plan.recipe),
        metric_sha256=None if code is None else hash_input(code),
        data={
            "calibration": _describe_source(plan.calibration, plan),
            "evaluation": _describe_source(plan.evaluation, plan),
        },
        engine=_describe_engine(plan),
        targets={path: hash_input(path) for path in _target_files(plan)},
    )


def write_lock(plan: Plan, inputs: LockInputs, evaluation: SampleSet, report: Report, folder: Path) -> None:
    """Write ``recipe.lock.toml`` into the folder of a run's results, where ``model.onnx`` is."""
    slices = digest_slices(describe_samples(evaluation).slices)
    lock = {
        "schema": SCHEMA,
        "command": report.command,
        "seed": plan.options.seed,
        "metric": plan.metric_spec,
        "metric_sha256": inputs.metric_sha256,
        "quantizer": plan.options.quantizer,
        "prune": plan.options.prune,
        "model": _describe_model(plan, report, folder / GRAPH),
        "data": {
            "calibration": _describe_data(inputs.data["calibration"], report.data.calibration),
            "evaluation": {
                **_describe_data(inputs.data["evaluation"], report.data.evaluation),
                "slices_digest": slices,
            },
            "pictures": plan.project.data.pictures,
        },
        "recipe": inputs.recipe,
        "gate": plan.policy.model_dump(mode="json"),
        "latency": {
            "threads": plan.options.threads,
            "batch": plan.options.batch,
            "seconds": plan.options.latency_seconds,
        },
        "device": {
            "name": plan.options.device,
            "samples": plan.options.device_samples,
            "lock_clocks": plan.options.lock_clocks,
        },
        "engine": inputs.engine,
        "machine": {"threads": plan.step_threads or core_count()},
        "versions": {"edge-compress": report.tool.version, **report.tool.packages},
        "targets": [_describe_target(path, sha256, plan, report) for path, sha256 in inputs.targets.items()],
    }
    write_atomically(folder / FILE_NAME, tomli_w.dumps(_without_none(lock)).encode())


def relative(path: Path, folder: Path) -> str:
    """Return a path as it is written down: from a folder, with slashes."""
    return Path(os.path.relpath(path.absolute(), folder.absolute())).as_posix()


def _without_none(value: Any) -> Any:
    """Return tables without the keys that have no value: TOML has no null."""
    if isinstance(value, dict):
        return {key: _without_none(each) for key, each in value.items() if each is not None}
    return [_without_none(each) for each in value] if isinstance(value, list | tuple) else value


def _describe_model(plan: Plan, report: Report, graph: Path) -> dict[str, object]:
    inputs = plan.options.inputs or plan.project.model.inputs
    return {
        "path": relative(plan.model, plan.out),
        "sha256": report.source.sha256,
        "graph_sha256": hash_file(graph),
        "factory": plan.options.factory or plan.project.model.factory,
        "trust_pickle": plan.options.trust_pickle,
        "inputs": {spec.name: {"shape": list(spec.shape), "dtype": spec.dtype} for spec in inputs},
        "ranges": {name: sizes.model_dump() for name, sizes in plan.project.model.ranges.items()},
    }


def _describe_data(source: Mapping[str, Any], used: DataSet | None) -> dict[str, object]:
    if used is None:
        raise ValueError("a run always has samples, made-up ones if need be")
    return {
        "name": used.name,
        "digest": used.digest,
        "samples": used.samples,
        "synthetic": used.synthetic,
        **source,
    }


def _describe_source(spec: Spec | None, plan: Plan) -> dict[str, object]:
    settings = None if spec is None else resolve_settings(spec, base=plan.project.folder)
    if isinstance(spec, str) and (plan.project.folder / spec).exists():
        spec = relative(plan.project.folder / spec, plan.project.folder)
    return {
        "spec": spec if spec is None or isinstance(spec, str) else spec.model_dump(mode="json"),
        "settings": None if settings is None else settings.model_dump(mode="json"),
    }


def _describe_engine(plan: Plan) -> dict[str, object]:
    cache = plan.project.build.timing_cache
    return {
        "providers": plan.engine.providers,
        "seconds": plan.engine.seconds,
        "dla": plan.engine.dla,
        "timing_cache": None if cache is None else relative(cache, plan.project.folder),
        "timing_cache_sha256": None if cache is None else hash_input(cache),
    }


def _target_files(plan: Plan) -> list[Path]:
    """Return the file of each target, each once: ``jetson`` and ``jetson-orin-nano`` are one."""
    return list({path.stem: path for path in map(find_target, plan.options.targets)}.values())


def _describe_target(path: Path, sha256: str, plan: Plan, report: Report) -> dict[str, object]:
    record = next(each for each in report.targets if each.target == path.stem)
    steps = (*report.steps, *record.steps)
    files = {Path(file.path).name: file.sha256 for file in record.engine.files} if record.engine else {}
    shipped = _shipped(record, plan)
    return {
        "name": record.target,
        "runtime": record.runtime,
        "spec": record.target if path.parent == data_folder("targets") else relative(path, plan.out),
        "sha256": sha256,
        "isa": next(target.isa for target in plan.targets if target.name == record.target),
        "attempt": _kept_attempt(steps, record.target, plan),
        "float_layers": next((step.metrics["float_layers"] for step in steps if step.step == _MIXED), None),
        "graph": shipped[0],
        "options": None if shipped[1] is None else asdict(shipped[1]),
        "graph_sha256": files.get(GRAPH),
    }


def _kept_attempt(steps: Sequence[Step], target: str, plan: Plan) -> int:
    """Return which attempt of the recipe was kept, from 1; the first where a target was refused before any step."""
    if target in plan.choices:
        return plan.choices[target].attempt
    made = [(step.step, step.settings) for step in steps]
    planned = [[(step.name, step.settings.model_dump(mode="json")) for step in each] for each in plan.recipe.attempts]
    return planned.index(made) + 1 if made in planned else 1


def _shipped(record: TargetRecord, plan: Plan) -> tuple[str, EngineOptions | None]:
    """Return which graph is the engine, and how it is run."""
    if record.target in plan.choices:
        choice = plan.choices[record.target]
        return choice.graph, choice.options
    if load_variants(record.runtime) is None or record.engine is None:
        return "compressed", None
    contest = record.contest
    for contestant in () if contest is None else (*contest.settings, *contest.engines):
        if contest is not None and contestant.how == contest.shipped:
            return contestant.graph, EngineOptions(**contestant.options)  # type: ignore[arg-type]
    return "compressed", EngineOptions(threads=plan.options.threads)
