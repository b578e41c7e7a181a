"""Recipes: how a sample set is named, found, checked and opened."""

import hashlib
import json
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from compress.config import explain, read_toml
from compress.data.cache import PREFIX as CACHE_PREFIX
from compress.data.cache import resolve_path
from compress.data.callables import PREFIX as PYTHON_PREFIX
from compress.data.samples import SampleSet
from compress.data.settings import SampleSettings
from compress.data.slices import read_slices
from compress.data.sources.opening import open_source
from compress.data.stream import StreamedSamples
from compress.errors import DataError, suggest
from compress.resources import data_folder

__all__ = ["SampleSettings", "list_recipes", "load_samples", "read_recipe", "resolve_settings"]


def load_samples(spec: str | SampleSettings, *, base: Path) -> SampleSet:
    """Return the sample set of a spec; nothing but headers and checksums is read yet.

    Args:
        spec: Settings; or the name of a recipe (``fashion-mnist/test``), a path to one (``….toml``), a path to samples,
            ``cache:NAME/…``, or ``python:package.module:callable``. A path that exists wins over a recipe's name.
        base: The folder where relative paths of ``spec`` start. Paths in a recipe start at the recipe's folder.

    Raises:
        DataError: No such recipe or path (the hint names the nearest), a wrong checksum, or unreadable samples.
        ConfigError: A recipe that is not TOML or has a wrong key.
    """
    return _open(*_resolve(spec, base))


def resolve_settings(spec: str | SampleSettings, *, base: Path) -> SampleSettings:
    """Return the settings that :func:`load_samples` opens for a spec, every default filled in.

    Raises:
        DataError: No such recipe or path.
        ConfigError: A recipe that is not TOML or has a wrong key.
    """
    return _resolve(spec, base)[0]


def _resolve(spec: str | SampleSettings, base: Path) -> tuple[SampleSettings, str, Path]:
    """Return the settings, the name of the set, and where the paths of the settings start."""
    if isinstance(spec, SampleSettings):
        return spec, spec.name or spec.source, base
    if spec.startswith((PYTHON_PREFIX, CACHE_PREFIX)):
        return SampleSettings(source=spec), spec, base
    path = base / spec
    if spec and path.exists() and path.suffix != ".toml":
        return SampleSettings(source=spec), path.resolve().name, base
    recipe = path if path.suffix == ".toml" else _find_recipe(spec, base)
    settings = read_recipe(recipe)
    return settings, settings.name or (recipe.stem if recipe == path else spec), recipe.parent


def list_recipes() -> tuple[str, ...]:
    """Return the names of the recipes of this installation, sorted: ``fashion-mnist/test``, …."""
    folder = data_folder("calibration")
    return tuple(path.relative_to(folder).with_suffix("").as_posix() for path in sorted(folder.rglob("*.toml")))


def read_recipe(path: Path) -> SampleSettings:
    """Return the settings in a TOML file.

    Raises:
        DataError: No such file.
        ConfigError: Not TOML, an unknown key, or a wrong value; the message names the file and the key.
    """
    if not path.exists():
        raise DataError(f"no recipe {path}", hint=suggest(path.stem, list_recipes()))
    table = read_toml(path)
    try:
        return SampleSettings.model_validate(table)
    except ValidationError as error:
        raise explain(error, str(path), SampleSettings) from error


def _find_recipe(name: str, base: Path) -> Path:
    if name not in list_recipes():
        raise DataError(f"`{name}` is neither a path below {base} nor a recipe", hint=suggest(name, list_recipes()))
    return data_folder("calibration") / f"{name}.toml"


def _open(settings: SampleSettings, name: str, base: Path) -> SampleSet:
    for file, expected in settings.sha256.items():
        _check_sha256(file, expected, base)
    source = open_source(settings, base)
    if len(source) == 0:
        raise DataError(f"`{name}` has no samples", hint=f"Look at {settings.source}.")
    numbers = settings.class_numbers()
    classes = max(numbers.values()) + 1 if numbers else None
    indices = _select(settings, len(source), name)
    return StreamedSamples(
        name,
        source,
        indices,
        settings.transform,
        _describe_transforms(settings),
        classes,
        class_names=settings.class_names(),
        slices={} if settings.slices is None else read_slices(resolve_path(settings.slices, base), len(source)),
    )


def _select(settings: SampleSettings, available: int, name: str) -> list[int] | range:
    if settings.count is None:
        return range(available)
    if settings.count > available:
        raise DataError(
            f"`{name}` has {available} samples, the recipe asks for {settings.count}", hint="Lower or remove `count`."
        )
    if settings.select == "first":
        return range(settings.count)
    generator = np.random.default_rng(settings.seed)
    return sorted(int(index) for index in generator.choice(available, settings.count, replace=False))


def _describe_transforms(settings: SampleSettings) -> str:
    tables = [transform.model_dump(mode="json") for transform in settings.transform]
    return json.dumps({"transform": tables, "background": settings.background}, sort_keys=True)


def _check_sha256(file: str, expected: str, base: Path) -> None:
    path = resolve_path(file, base)
    found = _hash_folder(path) if path.is_dir() else _hash_file(path)
    if found != expected:
        raise DataError(
            f"`{file}` has the SHA-256 {found}, the recipe says {expected}",
            hint="The file is damaged or another version: fetch it again, or correct the recipe.",
        )


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash_folder(folder: Path) -> str:
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    lines = "".join(f"{_hash_file(folder / name)}  {name}\n" for name in names)
    return hashlib.sha256(lines.encode()).hexdigest()
