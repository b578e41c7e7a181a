"""Recipes: which steps, in which order, with which settings."""

import importlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from pydantic import ValidationError

from compress.config import explain, read_toml
from compress.errors import ConfigError, UsageError, suggest
from compress.model import JsonValue
from compress.steps import Step, StepSettings

STEPS: dict[str, tuple[str, str, str]] = {
    "prune": ("compress.prune.step", "prune", "PruneSettings"),
    "distill": ("compress.distill.step", "distill", "DistillSettings"),
    "sparsify": ("compress.prune.sparsify_step", "sparsify", "SparsifySettings"),
    "weight-only": ("compress.quantize.weight_only", "quantize_weights", "WeightOnlySettings"),
    "quantize": ("compress.quantize.static", "quantize_static", "QuantizeSettings"),
    "quantize-onnxruntime": (
        "compress.quantize.onnxruntime_static",
        "quantize_with_onnxruntime",
        "OrtSettings",
    ),
    "quantize-neural-compressor": (
        "compress.quantize.neural_compressor",
        "quantize_with_neural_compressor",
        "IncSettings",
    ),
    "reconstruct": ("compress.quantize.reconstruct.step", "reconstruct", "ReconstructSettings"),
    "float16": ("compress.quantize.half.step", "convert_to_float16", "Float16Settings"),
    "mixed": ("compress.quantize.mixed.step", "mix_precision", "MixedSettings"),
    "qat": ("compress.quantize.qat.step", "train_quantized", "QatSettings"),
}
"""Module, function and settings class of each step; imported only when a recipe uses it."""

RECIPES: dict[str, str] = {
    "auto": 'attempts = [["quantize"], ["quantize", "mixed"], ["quantize", "qat"]]\n[qat]\nsteps = 200',
    "best": 'steps = ["quantize", "qat", "mixed"]\n[mixed]\nmin_speedup = 1.5',
    "int8": 'steps = ["quantize"]',
    "int8-mixed": 'steps = ["quantize", "mixed"]',
    "int8-reconstruct": 'steps = ["quantize", "reconstruct"]',
    "int8-qat": 'steps = ["quantize", "qat"]',
    "fp16": 'steps = ["float16"]',
    "int8+fp16": 'steps = ["quantize", "float16"]',
    "int8-weights": 'steps = ["weight-only"]\n[weight-only]\nbits = 8',
    "int4-weights": 'steps = ["weight-only"]',
    "float": "steps = []",
}
"""The recipes that have a name, in the same form as a recipe file."""

QUANTIZERS: dict[str, str] = {
    "native": "quantize",
    "onnxruntime": "quantize-onnxruntime",
    "neural-compressor": "quantize-neural-compressor",
}
"""The step of each quantizer."""

BEST = "best"
"""Every quantizer is tried, and the best kept."""

DEFAULT = "auto"
_ORDER_KEYS = ("steps", "attempts")
_TIME_BUDGET = "time_budget_seconds"
_PRUNE = "prune"
MIXED = "mixed"
"""The step that chooses layers by measuring."""
_GOALS = ("max_drop", "min_agreement", "min_sqnr_db", "min_speedup")
_LAST_TRAINING = "last_training"


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step with its settings resolved."""

    name: str
    settings: StepSettings
    function: Step


@dataclass(frozen=True, slots=True)
class Recipe:
    """Attempts, each a sequence of steps; the next one is made only where the one before misses the accuracy budget.

    Attributes:
        contest: How many of the attempts are made in any case, and the best kept.
    """

    name: str
    attempts: tuple[tuple[PlannedStep, ...], ...]
    contest: int = 1

    def by_key(self) -> tuple[list[list[str]], dict[str, PlannedStep]]:
        """Return the keys of each attempt's steps, and the steps by key.

        A key is the step's name; ``name@2`` is the step of the second attempt where it has other settings than before.
        """
        attempts, known = [], dict[str, PlannedStep]()
        for number, attempt in enumerate(self.attempts, 1):
            keys = [step.name if known.get(step.name, step) == step else f"{step.name}@{number}" for step in attempt]
            known.update(zip(keys, attempt, strict=True))
            attempts.append(keys)
        return attempts, known

    def describe(self) -> dict[str, JsonValue]:
        """Return the recipe as a table with every default filled in."""
        attempts, known = self.by_key()
        names: list[JsonValue] = [list[JsonValue](keys) for keys in attempts]
        order: dict[str, JsonValue] = {"steps": names[0]} if len(names) == 1 else {"attempts": names}
        settings = {key: step.settings.model_dump(mode="json", exclude_none=True) for key, step in known.items()}
        return {**order, **settings}

    def within(self, seconds: float | None) -> "Recipe":
        """Return the recipe with a time budget for each step that can have one and has none; as it is for None."""
        if seconds is None:
            return self
        return replace(self, attempts=tuple(tuple(_within(step, seconds) for step in steps) for steps in self.attempts))

    def quantized_by(self, quantizer: str) -> "Recipe":
        """Return the recipe with another quantizer in the place of the native one, or with all of them side by side.

        With ``best``, every quantizer takes the first attempt; the other attempts are as they were.

        Raises:
            UsageError: No such quantizer, or the recipe does not quantize.
        """
        if quantizer not in (*QUANTIZERS, BEST):
            raise UsageError(f"unknown quantizer `{quantizer}`", hint=suggest(quantizer, (*QUANTIZERS, BEST)))
        if quantizer == "native":
            return self
        if not any(step.name == QUANTIZERS["native"] for step in self.attempts[0]):
            raise UsageError(
                f"--quantizer {quantizer}: recipe {self.name} has no step `quantize` to put it in the place of",
                hint="use --recipe int8, or leave --quantizer away",
            )
        if quantizer != BEST:
            return replace(self, attempts=tuple(_exchange(steps, quantizer) for steps in self.attempts))
        first = tuple(_exchange(self.attempts[0], name) for name in QUANTIZERS)
        return replace(self, attempts=(*first, *self.attempts[1:]), contest=len(first))

    def pruned(self, settings: Mapping[str, object]) -> "Recipe":
        """Return the recipe with pruning before the other steps of every attempt.

        Args:
            settings: Of the step ``prune``; a recipe that has the step already keeps those that are not named here.

        Raises:
            ConfigError: A setting is wrong.
        """
        own = [step for attempt in self.attempts for step in attempt if step.name == _PRUNE]
        stated = own[0].settings.model_dump(exclude_unset=True) if own else {}
        planned = plan_step(_PRUNE, {**stated, **settings}, "--prune")
        attempts = tuple((planned, *(step for step in steps if step.name != _PRUNE)) for steps in self.attempts)
        return replace(self, attempts=tuple(map(_leave_training, attempts)))

    def aimed(self, max_drop: float | None, latency: Mapping[str, int]) -> "Recipe":
        """Return the recipe with what its choice of float layers aims at, where it does not say so itself.

        Args:
            max_drop: Of the step ``mixed``, for one that states no goal at all.
            latency: Its settings of how latency is measured.
        """

        def aim(step: PlannedStep) -> PlannedStep:
            if step.name != MIXED:
                return step
            stated = step.settings.model_dump(exclude_unset=True)
            goal = {} if any(stated.get(key) is not None for key in _GOALS) else {"max_drop": max_drop}
            added = {key: value for key, value in {**latency, **goal}.items() if key not in stated}
            return replace(step, settings=step.settings.model_copy(update=added))

        return replace(self, attempts=tuple(tuple(map(aim, steps)) for steps in self.attempts))


def _exchange(steps: tuple[PlannedStep, ...], quantizer: str) -> tuple[PlannedStep, ...]:
    """Return the steps with another quantizer, its settings at their defaults, in the place of the native one."""
    name, native = QUANTIZERS[quantizer], QUANTIZERS["native"]
    if name == native:
        return steps
    return tuple(plan_step(name, {}, "--quantizer") if step.name == native else step for step in steps)


def _leave_training(steps: tuple[PlannedStep, ...]) -> tuple[PlannedStep, ...]:
    """Return the steps of an attempt; where ``distill`` follows ``prune``, the last training is left to it."""
    names = [step.name for step in steps]
    if _PRUNE not in names or "distill" not in names[names.index(_PRUNE) :]:
        return steps
    return tuple(
        replace(step, settings=step.settings.model_copy(update={_LAST_TRAINING: False}))
        if step.name == _PRUNE and _LAST_TRAINING not in step.settings.model_fields_set
        else step
        for step in steps
    )


def _within(step: PlannedStep, seconds: float) -> PlannedStep:
    if getattr(step.settings, _TIME_BUDGET, None) != 0:
        return step
    return replace(step, settings=step.settings.model_copy(update={_TIME_BUDGET: seconds}))


def load_recipe(name: str) -> Recipe:
    """Return a named recipe, or the one in a TOML file.

    Raises:
        UsageError: Neither a name nor a file.
        ConfigError: The file is not a recipe; the message names the key.
    """
    if name in RECIPES:
        return _resolve(name, tomllib.loads(RECIPES[name]), name)
    path = Path(name)
    if path.suffix != ".toml" and not path.is_file():
        raise UsageError(f"unknown recipe `{name}`", hint=suggest(name, RECIPES) + " Or give a .toml file.")
    return _resolve(path.stem, read_toml(path), str(path))


def _resolve(name: str, table: Mapping[str, object], place: str) -> Recipe:
    attempts = _read_order(table, place)
    used = [step for attempt in attempts for step in attempt]
    for key in (*used, *table):
        if key not in STEPS and key not in _ORDER_KEYS:
            raise ConfigError(f"{place}: unknown step `{key}`", hint=suggest(key, STEPS))
    for key in table:
        if key not in _ORDER_KEYS and key not in used:
            raise ConfigError(f"{place}: settings for `{key}`, which is not in `steps`", hint=f"add it to {used}")
    planned = {step: plan_step(step, table.get(step, {}), place) for step in dict.fromkeys(used)}
    return Recipe(name, tuple(_leave_training(tuple(planned[step] for step in attempt)) for attempt in attempts))


def _read_order(table: Mapping[str, object], place: str) -> list[list[str]]:
    """Return the names of the steps of each attempt: ``steps`` is one attempt, ``attempts`` are several."""
    given = [key for key in _ORDER_KEYS if key in table]
    attempts = table.get("attempts", [table.get("steps")])
    if len(given) != 1 or not isinstance(attempts, list) or not attempts or not all(map(_is_names, attempts)):
        message = f"{place}: `steps` must be a list of names (or `attempts` a list of such lists)"
        raise ConfigError(message, hint=suggest("", STEPS))
    return attempts


def _is_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(step, str) for step in value)


def plan_step(name: str, table: object, place: str) -> PlannedStep:
    """Return a step with the settings of a table.

    Args:
        name: One of ``STEPS``.
        table: Its settings; what is not there has its default.
        place: Where the table stands, for messages.

    Raises:
        ConfigError: An unknown key or a value that the key does not take.
    """
    module_name, function, settings_name = STEPS[name]
    module = importlib.import_module(module_name)
    settings_class = cast("type[StepSettings]", getattr(module, settings_name))
    try:
        settings = settings_class.model_validate(table)
    except ValidationError as error:
        raise explain(error, f"{place}: [{name}]", settings_class) from error
    return PlannedStep(name, settings, cast("Step", getattr(module, function)))
