"""What a run was asked to do: flags, ``compress.toml`` and defaults brought together before any work starts."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import tomli_w

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
from compress.model import JsonValue, TensorSpec
from compress.project import EngineTable, Project, load_project, require_files
from compress.prune.amount import parse_amount
from compress.recipe import DEFAULT, Recipe, load_recipe
from compress.report.record import Report
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
    """

    targets: tuple[str, ...]
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


@dataclass(frozen=True, slots=True)
class Plan:
    """A run with everything resolved."""

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
        )

    def lock(self, report: Report) -> str:
        """Return ``recipe.lock.toml``: every default resolved, seeds, versions, digests."""
        data = {
            role: {"name": used.name, "digest": used.digest, "samples": used.samples}
            for role, used in (("calibration", report.data.calibration), ("evaluation", report.data.evaluation))
            if used
        }
        policy = {key: value for key, value in self.policy.model_dump(mode="json").items() if value is not None}
        lock: dict[str, JsonValue | object] = {
            "schema": "compress.lock/1",
            "seed": self.options.seed,
            "targets": [target.name for target in self.targets],
            "model": {"path": self.model.name, "sha256": report.source.sha256},
            "recipe": {"name": self.recipe.name, **self.recipe.describe()},
            "metric": self.metric.name,
            "gate": policy,
            "data": data,
            "latency": {"threads": self.options.threads, "batch": self.options.batch},
            "engine": self.engine.model_dump(include={"providers", "seconds"}),
            "build": self.project.build.describe(),
            "versions": {"edge-compress": report.tool.version, **report.tool.packages},
        }
        return tomli_w.dumps(lock)


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
    device, targets = _load_targets(options)
    metric = load_metric(options.metric or project.data.metric, project.folder)
    policy = override_policy(project.gate, options.gate)
    policy.refuse_impossible(metric.unit, "[gate]")
    return Plan(
        model=model,
        options=_in_working_folder(options),
        project=project,
        targets=targets,
        recipe=_load_recipe(options, metric, policy),
        metric=metric,
        policy=policy,
        out=options.out or default_out(model),
        emulated=device if isinstance(device, EmulatedCpu) else None,
        board=device if isinstance(device, Board) else None,
    )


def _load_targets(options: RunOptions) -> tuple[EmulatedCpu | Board | None, tuple[Target, ...]]:
    """Return the device, None for this machine, and the targets, each once; ``cpu`` is the device's own CPU."""
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


def _in_working_folder(options: RunOptions) -> RunOptions:
    """Return the options with relative paths of data made absolute: flags start from the working folder."""

    def absolute(spec: str | None) -> str | None:
        return str(Path(spec).resolve()) if spec is not None and Path(spec).exists() else spec

    return replace(options, data=absolute(options.data), evaluation=absolute(options.evaluation))
