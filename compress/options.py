"""What a run was asked to do: flags, ``compress.toml`` and defaults brought together before any work starts."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from compress.data.gather import Spec
from compress.data.metrics import Metric, load_metric
from compress.data.samples import SampleSet
from compress.devices.choose import parse_device
from compress.devices.cpus import LOCAL, EmulatedCpu, check_targets
from compress.devices.qemu import plan_launch
from compress.devices.ssh.address import Board
from compress.devices.ssh.probe import check_board, probe_board
from compress.errors import ModelError, UsageError
from compress.gate import Policy, override_policy
from compress.intake import IntakeOptions
from compress.model import TensorSpec
from compress.project import EngineTable, Project, load_project, require_files
from compress.prune.amount import parse_amount
from compress.recipe import DEFAULT, MIXED, PlannedStep, Recipe, load_recipe
from compress.runtimes.engine_options import EngineOptions
from compress.targets import Target, load_target


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What the user said; everything that is None comes from ``compress.toml`` or a default.

    Attributes:
        targets: Names of targets.
        data: Calibration samples.
        evaluation: Labelled evaluation samples.
        quantizer: Which quantizer takes the step ``quantize``: native, onnxruntime, or best (each of them is tried).
        prune: What is pruned before the other steps of the recipe, ``"50%macs"``; nothing where None.
        gate: Keys of the policy that win over the project's, as the policy spells them.
        providers: Execution providers that the contest for the fastest engine tries.
        contest_seconds: How long engines race at most, for each target; 0 for no contest.
        threads: Threads of the engines while latency is measured.
        batch: Samples a call while latency is measured.
        latency_seconds: How long latency is measured at most, for each target.
        time_budget_seconds: How long each training or search may take at most; the recipe's own limit where None.
        device: Where engines are measured: ``local``, an emulated CPU (``emulated:haswell``), a board
            (``ssh://user@host``) or a board's name.
        device_samples: How many evaluation samples another device computes at most; None for what suits it.
        lock_clocks: Whether a Jetson's clocks are held at their maximum while it measures.
        command: What the user typed, for the report.
        locked: A ``recipe.lock.toml`` that is repeated; it says everything but ``data``, ``evaluation`` (where
            samples are now), ``out``, ``resume`` and ``trust_pickle``.
        allow_other_versions: Whether other versions of packages, and another result, are told and not refused.
    """

    targets: tuple[str, ...] = ()
    data: str | None = None
    evaluation: str | None = None
    metric: str | None = None
    recipe: str = DEFAULT
    quantizer: str = "native"
    prune: str | None = None
    out: Path | None = None
    gate: Mapping[str, object] = field(default_factory=dict)
    inputs: tuple[TensorSpec, ...] = ()
    factory: str | None = None
    trust_pickle: bool = False
    providers: Literal["all", "cpu"] | None = None
    contest_seconds: float | None = None
    threads: int = 1
    batch: int = 1
    seed: int = 0
    resume: bool = False
    latency_seconds: float = 8.0
    time_budget_seconds: float | None = None
    device: str = LOCAL
    device_samples: int | None = None
    lock_clocks: bool = False
    command: str | None = None
    locked: Path | None = None
    allow_other_versions: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """What a run chose for a target by measuring, so that a run that repeats it need not.

    Attributes:
        attempt: Which of the recipe's attempts, from 1.
        float_layers: What the step ``mixed`` left in float; None where the attempt has no such step.
        graph: Which graph is the engine.
        options: How it is run; None for a runtime with one way only.
    """

    attempt: int
    float_layers: tuple[str, ...] | None
    graph: Literal["compressed", "original"]
    options: EngineOptions | None

    def pin(self, steps: tuple[PlannedStep, ...]) -> tuple[PlannedStep, ...]:
        """Return the steps of an attempt with what was found in the place of the search for it."""
        stated = {"float_layers": self.float_layers}
        return tuple(
            replace(step, settings=step.settings.model_copy(update=stated)) if step.name == MIXED else step
            for step in steps
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """A run with everything resolved.

    Attributes:
        choices: By target, for a run that repeats another one.
        step_threads: Threads of the steps; all cores where None.
    """

    model: Path
    options: RunOptions
    project: Project
    targets: tuple[Target, ...]
    recipe: Recipe
    metric: Metric
    policy: Policy
    out: Path
    emulated: EmulatedCpu | None = None
    board: Board | None = None
    choices: Mapping[str, Choice] = field(default_factory=dict)
    step_threads: int | None = None

    @property
    def metric_spec(self) -> str:
        """What names the metric."""
        return self.options.metric or self.project.data.metric

    @property
    def calibration(self) -> Spec | None:
        """Where calibration samples come from."""
        return self.options.data or self.project.data.calibration

    @property
    def evaluation(self) -> Spec | None:
        """Where evaluation samples come from."""
        return self.options.evaluation or self.project.data.evaluation

    @property
    def engine(self) -> EngineTable:
        """How the fastest engine is looked for."""
        said = {"providers": self.options.providers, "seconds": self.options.contest_seconds}
        return self.project.engine.model_copy(update={key: value for key, value in said.items() if value is not None})

    def intake_options(self, samples: SampleSet | None) -> IntakeOptions:
        """Return how the model file is to be read: stated inputs, or the shape of the samples."""
        stated = self.options.inputs or self.project.model.inputs
        return IntakeOptions(
            inputs=stated or (samples.specs if samples else ()),
            factory=self.options.factory or self.project.model.factory,
            trust_pickle=self.options.trust_pickle,
            search_path=self.project.folder,
            inputs_of_samples=not stated,
        )

    def attempts(self, target: str) -> tuple[tuple[PlannedStep, ...], ...]:
        """Return the recipe's attempts for a target; only the one that was kept, as it came out, for a repeated run."""
        choice = self.choices.get(target)
        return self.recipe.attempts if choice is None else (choice.pin(self.recipe.attempts[choice.attempt - 1]),)


def resolve(model: Path, options: RunOptions) -> Plan:
    """Return the plan of a run; every mistake in flags and files is found here, before anything is written.

    Raises:
        CompressError: A file is missing, a name is unknown, a value is out of range.
    """
    if not model.exists():
        raise ModelError(f"{model} does not exist", hint="check the path of the model")
    for name in ("threads", "batch", "device_samples"):
        if (getattr(options, name) or 0) < 1 and getattr(options, name) is not None:
            flag = "--" + name.replace("_", "-")
            raise UsageError(f"{flag} {getattr(options, name)} is not a positive number", hint=f"use {flag} 1")
    if options.contest_seconds is not None and options.contest_seconds < 0:
        raise UsageError(f"--contest-seconds {options.contest_seconds:g} is negative", hint="0 means no contest")
    if not options.targets:
        raise UsageError("no target given", hint="add --target NAME; `compress targets` lists the names")
    project = load_project(model)
    require_files(project)
    device, targets = load_run_targets(options)
    metric = load_metric(options.metric or project.data.metric, project.folder)
    policy = override_policy(project.gate, options.gate)
    policy.refuse_impossible(metric.unit, "[gate]")
    return Plan(
        model=model,
        options=from_working_folder(options),
        project=project,
        targets=targets,
        recipe=_load_recipe(options, metric, policy),
        metric=metric,
        policy=policy,
        out=options.out or default_out(model),
        emulated=device if isinstance(device, EmulatedCpu) else None,
        board=device if isinstance(device, Board) else None,
    )


def load_run_targets(options: RunOptions) -> tuple[EmulatedCpu | Board | None, tuple[Target, ...]]:
    """Return the device, None for this machine, and the targets, each once; ``cpu`` is the device's own CPU.

    Raises:
        CompressError: No such device or target, it cannot be reached, or the one is not for the other.
    """
    device = parse_device(options.device)
    if options.lock_clocks and not isinstance(device, Board):
        raise UsageError("--lock-clocks is for --device ssh://…", hint="on the board itself: ./run.sh --lock-clocks")
    facts = probe_board(device) if isinstance(device, Board) else None
    isa = facts.isa if facts is not None else device.isa if isinstance(device, EmulatedCpu) else None
    targets = tuple({(target := load_target(name, isa)).name: target for name in options.targets}.values())
    if isinstance(device, Board) and facts is not None:
        check_board(device, facts, targets)
    if isinstance(device, EmulatedCpu):
        check_targets(device, targets)
        plan_launch(device)
    return device, targets


def _load_recipe(options: RunOptions, metric: Metric, policy: Policy) -> Recipe:
    timing = {"latency_threads": options.threads, "latency_batch": options.batch}
    max_drop = policy.points_aimed_at(metric.unit)
    recipe = load_recipe(options.recipe).quantized_by(options.quantizer).aimed(max_drop, timing)
    if options.prune is not None:
        amount = parse_amount(options.prune)
        recipe = recipe.pruned({"amount": str(amount), "plan": None, **timing})
    return recipe.within(options.time_budget_seconds)


def default_out(model: Path) -> Path:
    """Return the folder of the results when none is named: in the working folder, after the model."""
    return Path(f"{model.stem}.compressed")


def from_working_folder(options: RunOptions) -> RunOptions:
    """Return the options with relative paths of data made absolute: flags start from the working folder."""

    def absolute(spec: str | None) -> str | None:
        return str(Path(spec).resolve()) if spec is not None and Path(spec).exists() else spec

    return replace(options, data=absolute(options.data), evaluation=absolute(options.evaluation))
