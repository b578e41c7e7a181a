"""The folder of fetched files: what ``examples/fetch.py`` fills and ``cache:`` in a recipe points at."""

import os
from pathlib import Path

from compress.errors import DataError

PREFIX = "cache:"


def cache_folder() -> Path:
    """Return ``$COMPRESS_CACHE``, or ``~/.cache/edge-compress`` where it is not set."""
    chosen = os.environ.get("COMPRESS_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "edge-compress"


def resolve_path(spec: str, base: Path) -> Path:
    """Return the existing path that a setting names: below the cache folder (``cache:x/y``), or relative to ``base``.

    Raises:
        DataError: Nothing is there; for ``cache:`` the hint is the command that fetches it.
    """
    if not spec.startswith(PREFIX):
        path = base / spec
        if not path.exists():
            raise DataError(f"no file or folder `{spec}` in {base}", hint="Paths start at the folder of the file.")
        return path
    relative = spec.removeprefix(PREFIX)
    path = cache_folder() / relative
    if not path.resolve().is_relative_to(cache_folder().resolve()):
        raise DataError(f"`{spec}` leaves the cache folder", hint="Write `cache:NAME/file`, without `..`.")
    if not path.exists():
        name = relative.split("/")[0]
        raise DataError(
            f"`{spec}` is not in the cache folder {cache_folder()}",
            hint=f"Run `python examples/fetch.py {name}` (COMPRESS_CACHE moves the folder).",
        )
    return path
