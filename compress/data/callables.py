"""Callables that a project's settings name: ``python:package.module:callable``."""

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path

from compress.errors import DataError, suggest

PREFIX = "python:"

# Which folder a top-level module was imported from: two projects in one process may both have a `samples.py`.
_imported_from: dict[str, Path] = {}


def load_callable(spec: str, base: Path) -> Callable[..., object]:
    """Return the callable that ``python:package.module:callable`` names; ``base`` is searched first.

    This runs the module: a project's own settings are trusted, data and model files never name one.

    Raises:
        DataError: Not of that form, no such module or callable, or the module fails as it is imported.
    """
    module_name, _, attribute = spec.removeprefix(PREFIX).partition(":")
    if not attribute.isidentifier() or not all(part.isidentifier() for part in module_name.split(".")):
        raise DataError(f"`{spec}` is not of the form python:package.module:callable", hint="as in python:my_data:load")
    top = module_name.split(".")[0]
    _forget_other_project(top, base)
    try:
        with _searched_first(base):
            module = importlib.import_module(module_name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{module_name}.".startswith(f"{error.name}."):
            raise DataError(
                f"`{spec}`: no module `{error.name}`", hint=f"Looked in {base} and in Python's path."
            ) from error
        raise DataError(
            f"`{spec}`: importing it raised {type(error).__name__}: {error}",
            hint=f"Try `python -c 'import {module_name}'`.",
        ) from error
    found = getattr(module, attribute, None)
    if not callable(found):
        known = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        raise DataError(
            f"`{spec}`: module `{module_name}` has no callable `{attribute}`", hint=suggest(attribute, known)
        )
    return found  # type: ignore[no-any-return]


def find_code(spec: str, base: Path) -> Path | None:
    """Return the file of the module that ``python:package.module:callable`` names; nothing is run.

    Args:
        spec: As for :func:`load_callable`.
        base: The folder that is searched first.

    Returns:
        None where there is no such module, or it is no file.
    """
    path: Sequence[str] | None = [str(base), *sys.path]
    importlib.invalidate_caches()
    found = None
    for part in spec.removeprefix(PREFIX).partition(":")[0].split("."):
        found = None if path is None else PathFinder.find_spec(part, path)
        path = None if found is None else found.submodule_search_locations
    return None if found is None or not found.has_location else Path(str(found.origin))


def _forget_other_project(top: str, base: Path) -> None:
    """Drop a module of the same name that another project's folder gave; refuse to hide one of anybody else."""
    found = PathFinder.find_spec(top, [str(base)])
    if found is None:
        return
    previous = _imported_from.get(top)
    loaded_from = getattr(sys.modules.get(top), "__file__", None)
    if previous is None and top in sys.modules and loaded_from != found.origin:
        raise DataError(
            f"the module `{top}` in {base} has the name of one that is loaded already", hint="Rename the file."
        )
    if previous is not None and previous != base.resolve():
        for name in [name for name in sys.modules if name == top or name.startswith(f"{top}.")]:
            del sys.modules[name]
    _imported_from[top] = base.resolve()


@contextmanager
def _searched_first(base: Path) -> Iterator[None]:
    sys.path.insert(0, str(base))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(base))
