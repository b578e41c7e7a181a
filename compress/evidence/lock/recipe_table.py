"""A recipe as a table of the lock, and back: which settings somebody stated is kept too, since steps may ask for it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from compress.errors import ConfigError, suggest
from compress.evidence.lock.inputs import check_file, hash_input
from compress.model import JsonValue
from compress.recipe import STEPS, PlannedStep, Recipe, plan_step

_ORDER = ("steps", "attempts")
_NEEDED = ("name", "contest", "stated")
_FILES = "files"
_KNOWN = (*_ORDER, *_NEEDED, _FILES)


def describe_recipe(recipe: Recipe) -> dict[str, JsonValue]:
    """Return the whole recipe as a table, with the SHA-256 of the files that its steps name.

    Raises:
        ConfigError: Such a file is not there.
    """
    _, known = recipe.by_key()
    files: dict[str, JsonValue] = {
        path.as_posix(): hash_input(path) for step in known.values() for path in step.settings.files()
    }
    digests: dict[str, JsonValue] = {_FILES: files} if files else {}
    stated: dict[str, JsonValue] = {
        key: list[JsonValue](sorted(step.settings.model_fields_set)) for key, step in known.items()
    }
    return {"name": recipe.name, "contest": recipe.contest, **recipe.describe(), "stated": stated, **digests}


def read_recipe(table: Mapping[str, JsonValue], place: str) -> Recipe:
    """Return the recipe of a table that :func:`describe_recipe` wrote.

    Args:
        table: From a lock.
        place: The lock's path, for messages.

    Raises:
        ConfigError: It is no such table (the message names the key), or a file that a step names is not what it was.
    """
    name, contest, stated = (table.get(key) for key in _NEEDED)
    if not isinstance(name, str) or not isinstance(contest, int) or not isinstance(stated, dict) or contest < 1:
        raise _wrong(place, "`name`, `contest` and `stated` must be there")
    attempts = _read_order(table, place)
    keys = list(dict.fromkeys(key for attempt in attempts for key in attempt))
    for key in keys:
        if (step := key.partition("@")[0]) not in STEPS:
            raise ConfigError(f"{place}: [recipe]: unknown step `{step}`", hint=suggest(step, STEPS))
    for key in table:
        if key not in (*keys, *_KNOWN):
            raise ConfigError(f"{place}: [recipe]: unknown key `{key}`", hint=suggest(key, [*keys, *_KNOWN]))
    _check_files(table.get(_FILES, {}), place)
    steps = {key: _read_step(key, table.get(key), stated.get(key), place) for key in keys}
    return Recipe(name, tuple(tuple(steps[key] for key in attempt) for attempt in attempts), contest)


def _read_order(table: Mapping[str, JsonValue], place: str) -> list[list[str]]:
    found = table.get("attempts", [table.get("steps")])
    attempts: list[list[str]] = []
    for attempt in found if isinstance(found, list) else [None]:
        if not isinstance(attempt, list) or not all(isinstance(key, str) for key in attempt):
            raise _wrong(place, "`steps` must be a list of names, or `attempts` a list of such lists")
        attempts.append([str(key) for key in attempt])
    return attempts


def _check_files(files: JsonValue, place: str) -> None:
    """Refuse files of steps that are not what they were; a lock without their digests says nothing of them."""
    if not isinstance(files, dict):
        raise _wrong(place, "`files` must be a table of SHA-256 by path")
    for path, digest in files.items():
        check_file(Path(path), digest, place, gone="its path starts at the working folder: go there, or put it back")


def _read_step(key: str, table: JsonValue, stated: JsonValue, place: str) -> PlannedStep:
    name = key.partition("@")[0]
    if not isinstance(table, dict) or not isinstance(stated, list):
        raise _wrong(place, f"the settings of `{key}` must be there, and in `stated` a list of those that were stated")
    step = plan_step(name, table, f"{place}: [recipe]")
    settings = type(step.settings).model_construct(_fields_set={str(each) for each in stated}, **dict(step.settings))
    return replace(step, settings=settings)


def _wrong(place: str, what: str) -> ConfigError:
    return ConfigError(f"{place}: [recipe]: {what}", hint="take the lock again from where it was made")
