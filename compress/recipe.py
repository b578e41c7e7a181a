"""Recipes: which steps, in which order, with which settings."""

import importlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pydantic import ValidationError

from compress.config import explain, read_toml
from compress.errors import ConfigError, UsageError, suggest
from compress.model import JsonValue
from compress.steps import Step, StepSettings

STEPS: dict[str, tuple[str, str, str]] = {
    "quantize": ("compress.quantize.static", "quantize_static", "QuantizeSettings"),
}
"""Module, function and settings class of each step; imported only when a recipe uses it."""

RECIPES: dict[str, str] = {
    "int8": 'steps = ["quantize"]',
    "float": "steps = []",
}
"""The recipes that have a name, in the same form as a recipe file."""

DEFAULT = "int8"


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step with its settings resolved."""

    name: str
    settings: StepSettings
    function: Step


@dataclass(frozen=True, slots=True)
class Recipe:
    """Steps in order."""

    name: str
    steps: tuple[PlannedStep, ...]

    def describe(self) -> dict[str, JsonValue]:
        """Return the recipe as a table with every default filled in."""
        names: list[JsonValue] = [step.name for step in self.steps]
        return {"steps": names, **{step.name: step.settings.model_dump(mode="json") for step in self.steps}}


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
    order = table.get("steps")
    if not isinstance(order, list) or not all(isinstance(step, str) for step in order):
        raise ConfigError(f"{place}: `steps` must be a list of names", hint=suggest("", STEPS))
    for key in (*order, *table):
        if key not in STEPS and key != "steps":
            raise ConfigError(f"{place}: unknown step `{key}`", hint=suggest(key, STEPS))
    for key in table:
        if key != "steps" and key not in order:
            raise ConfigError(f"{place}: settings for `{key}`, which is not in `steps`", hint=f"add it to {order}")
    return Recipe(name, tuple(_plan_step(step, table.get(step, {}), place) for step in order))


def _plan_step(name: str, table: object, place: str) -> PlannedStep:
    module_name, function, settings_name = STEPS[name]
    module = importlib.import_module(module_name)
    settings_class = cast("type[StepSettings]", getattr(module, settings_name))
    try:
        settings = settings_class.model_validate(table)
    except ValidationError as error:
        raise explain(error, f"{place}: [{name}]", settings_class) from error
    return PlannedStep(name, settings, cast("Step", getattr(module, function)))
