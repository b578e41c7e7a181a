"""The run that repeats a locked one: the same plan and choices, refused where inputs or versions are not the same."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from compress import __version__
from compress.assembly import list_versions
from compress.data.callables import find_code
from compress.data.gather import RunData
from compress.data.metrics import load_metric
from compress.devices.cpus import EmulatedCpu
from compress.devices.ssh.address import Board
from compress.errors import CompressError, ConfigError, ModelError, TargetError, UsageError
from compress.evidence.lock.inputs import (
    ANEW,
    check_file,
    check_model,
    check_samples,
    check_settings,
    check_target,
    locate_target,
)
from compress.evidence.lock.recipe_table import read_recipe
from compress.evidence.lock.schema import FILE_NAME, Lock, read_lock
from compress.evidence.lock.write import LockInputs, read_inputs
from compress.gate import make_policy
from compress.intake import Intake
from compress.options import Choice, Plan, RunOptions, default_out, from_working_folder, load_run_targets, resolve
from compress.project import DataTable, EngineTable, ModelTable, Project
from compress.recipe import QUANTIZERS, Recipe
from compress.report.record import Report
from compress.runtimes.engine_files import GRAPH
from compress.store import hash_file
from compress.targets import Target

_TENSORRT = "tensorrt"
_OPENVINO = "onnxruntime-ep-openvino"
_NEURAL_COMPRESSOR = "neural-compressor"


@dataclass(frozen=True, slots=True)
class Guard:
    """Checks that a run repeats what a lock says; without a lock it checks nothing.

    Attributes:
        lock: What is repeated.
        place: The lock's path, for messages.
        lenient: Whether other versions and another result are told and not refused.
        notes: What is told.
    """

    lock: Lock | None = None
    place: str = ""
    lenient: bool = False
    notes: tuple[str, ...] = ()

    def check_inputs(self, source: Intake, data: RunData) -> None:
        """Refuse a graph or samples that are not those of the lock.

        Raises:
            ModelError: The graph that was taken in differs, though the model file does not.
            DataError: Samples differ.
        """
        if self.lock is None:
            return
        if source.model.digest() != self.lock.model.graph_sha256 and not self.lenient:
            factory = self.lock.model.factory
            code = f"the code of the factory `{factory}`" if factory else "the code that made it"
            other = "its external data" if source.kind == "onnx" else code
            raise ModelError(
                f"{source.path}: taken in, it is the graph {source.model.digest()}, {self.place} says "
                f"{self.lock.model.graph_sha256}",
                hint=f"is {other} as it was then? {ANEW}",
            )
        for role, samples in (("calibration", data.calibration), ("evaluation", data.evaluation)):
            check_samples(role, samples, getattr(self.lock.data, role), self.place)

    def check_results(self, report: Report, folder: Path) -> Report:
        """Return the report, with what is to be told, of results that are the lock's byte for byte.

        Args:
            report: Of the run.
            folder: Where its results are.

        Raises:
            ConfigError: A graph differs, and nobody allowed that.
        """
        if self.lock is None:
            return report
        wanted = {f"engine/{target.name}/{GRAPH}": target.graph_sha256 for target in self.lock.targets}
        wanted["model.onnx"] = self.lock.model.graph_sha256
        found = {name: hash_file(folder / name) if (folder / name).is_file() else None for name in wanted}
        other = [name for name in sorted(wanted) if wanted[name] != found[name]]
        if other and not self.lenient:
            name = other[0]
            raise ConfigError(
                f"{name} is not what {self.place} says: SHA-256 {found[name]}, not {wanted[name]}",
                hint="another CPU rounds otherwise, and a time budget that ran out or a pruning by measured latency "
                "cannot be repeated; --allow-other-versions keeps the result, and says so",
            )
        told = [f"{name} is not byte for byte what {FILE_NAME} says." for name in other]
        told = told or [f"Repeated from {FILE_NAME}: {len(wanted)} graphs are byte for byte the same."]
        notes = (*report.source.notes, *self.notes, *told)
        return report.model_copy(update={"source": report.source.model_copy(update={"notes": notes})})


def prepare(model: Path | None, options: RunOptions) -> tuple[Plan, Guard, LockInputs]:
    """Return the plan of a run, what guards it, and what its files say now; nothing has been written yet.

    Raises:
        CompressError: A file is missing, a name is unknown, a value is out of range, or the lock is of other inputs.
    """
    if options.locked is None:
        if model is None:
            raise UsageError("no model given", hint="compress run MODEL --target NAME")
        plan = resolve(model, options)
        return plan, Guard(), read_inputs(plan)
    lock, place = read_lock(options.locked), str(options.locked)
    notes = _check_versions(lock, place, lenient=options.allow_other_versions)
    model = model or options.locked.parent / lock.model.path
    check_model(model, lock, options, place)
    plan = _plan(model, lock, options)
    return plan, Guard(lock, place, options.allow_other_versions, notes), read_inputs(plan)


def _check_versions(lock: Lock, place: str, *, lenient: bool) -> tuple[str, ...]:
    here = {"edge-compress": __version__, **list_versions()}
    wanted = {name: version for name, version in lock.versions.items() if _matters(name, lock)}
    other = [name for name, version in wanted.items() if here.get(name) != version]
    if not other:
        return ()
    told = ", ".join(f"{name} {here.get(name, 'none')} instead of {wanted[name]}" for name in other)
    if lenient:
        return (f"Repeated from {FILE_NAME} with other versions: {told}.",)
    pins = " ".join(f"{name}=={wanted[name]}" for name in other)
    raise ConfigError(
        f"{place}: [versions]: {told}",
        hint=f"pip install {pins}; or --allow-other-versions, and the result may be another one",
    )


def _matters(package: str, lock: Lock) -> bool:
    """Return whether a package has to do with the run: some only where a runtime, an engine or a step is theirs."""
    if package.startswith(_TENSORRT):
        return any(target.runtime.startswith(_TENSORRT) for target in lock.targets)
    if package == _OPENVINO:
        return any(target.options is not None and target.options.provider == "openvino" for target in lock.targets)
    if package == _NEURAL_COMPRESSOR:
        return any(key.partition("@")[0] == QUANTIZERS[package] for key in lock.recipe)
    return True


def _check_isas(targets: tuple[Target, ...], lock: Lock, place: str) -> None:
    here = {target.name: target.isa for target in targets}
    stated = [target.name for target in lock.targets]
    if stated != list(here):
        raise ConfigError(
            f"{place}: [[targets]]: `name` says {', '.join(stated)}, the files are of {', '.join(here)}",
            hint="take the lock again from where it was made",
        )
    for target in lock.targets:
        if target.isa != here[target.name]:
            raise TargetError(
                f"{place}: target {target.name} was {target.isa}, here it is {here[target.name]}",
                hint=f"run it on such a CPU; or leave --locked away and name the device: --target {target.isa}",
            )


def _plan(model: Path, lock: Lock, options: RunOptions) -> Plan:
    assert options.locked is not None  # noqa: S101
    place, base = str(options.locked), options.locked.parent
    for target in lock.targets:
        check_target(target, base, place)
    recipe = _read_recipe(lock, place)
    filled = _fill(options, lock, base)
    project = _project(model, lock, filled, place)
    with _naming(place):
        device, targets = load_run_targets(filled)
        metric = load_metric(lock.metric, project.folder)
    _check_isas(targets, lock, place)
    return Plan(
        model=model,
        options=filled,
        project=project,
        targets=targets,
        recipe=recipe,
        metric=metric,
        policy=make_policy(lock.gate, f"{place}: [gate]"),
        out=options.out or default_out(model),
        emulated=device if isinstance(device, EmulatedCpu) else None,
        board=device if isinstance(device, Board) else None,
        choices={each.name: Choice(each.attempt, each.float_layers, each.graph, each.options) for each in lock.targets},
        step_threads=lock.machine.threads,
    )


@contextmanager
def _naming(place: str) -> Iterator[None]:
    """Put the lock's path before what is wrong with a name in it."""
    try:
        yield
    except CompressError as error:
        raise type(error)(f"{place}: {error.message}", hint=error.hint) from error


def _read_recipe(lock: Lock, place: str) -> Recipe:
    recipe = read_recipe(lock.recipe, place)
    for target in lock.targets:
        if target.attempt > len(recipe.attempts):
            raise ConfigError(
                f"{place}: [[targets]] {target.name}: `attempt` is {target.attempt} of {len(recipe.attempts)}",
                hint="take the lock again from where it was made",
            )
    return recipe


def _fill(options: RunOptions, lock: Lock, base: Path) -> RunOptions:
    """Return the options with everything that the lock says."""
    return from_working_folder(
        replace(
            options,
            targets=tuple(locate_target(target, base) for target in lock.targets),
            metric=lock.metric,
            recipe=str(lock.recipe.get("name")),
            quantizer=lock.quantizer,
            prune=lock.prune,
            threads=lock.latency.threads,
            batch=lock.latency.batch,
            latency_seconds=lock.latency.seconds,
            device=lock.device.name,
            device_samples=lock.device.samples,
            lock_clocks=lock.device.lock_clocks,
            seed=lock.seed,
            command=options.command or lock.command,
        )
    )


def _project(model: Path, lock: Lock, options: RunOptions, place: str) -> Project:
    """Return what ``compress.toml`` said, as the lock has it."""
    engine = lock.engine.model_dump(exclude={"timing_cache_sha256"})
    project = Project(
        folder=model.parent,
        model=ModelTable(input_tables=lock.model.inputs, factory=lock.model.factory, ranges=lock.model.ranges),
        data=DataTable(
            calibration=lock.data.calibration.spec,
            evaluation=lock.data.evaluation.spec,
            pictures=lock.data.pictures,
        ),
        engine=EngineTable.model_validate(engine),
    )
    cache = project.build.timing_cache
    if cache is not None:
        check_file(cache, lock.engine.timing_cache_sha256, place)
    _check_metric(lock, project.folder, place)
    for role, flag, given in (("calibration", "--data", options.data), ("evaluation", "--eval", options.evaluation)):
        if given is None:
            check_settings(role, getattr(lock.data, role), project.folder, flag, place)
    return project


def _check_metric(lock: Lock, folder: Path, place: str) -> None:
    """Refuse a metric whose code is not what it was, before any of it has run."""
    code = None if lock.metric_sha256 is None else find_code(lock.metric, folder)
    if code is not None:
        check_file(code, lock.metric_sha256, place)
