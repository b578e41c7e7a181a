"""Which source a file is of: by its content, never by its suffix."""

from collections.abc import Callable
from pathlib import Path

from compress.data.cache import resolve_path
from compress.data.callables import PREFIX as PYTHON_PREFIX
from compress.data.callables import load_callable
from compress.data.settings import SampleSettings
from compress.data.sources import Source
from compress.errors import DataError

_FORMATS = "an image folder, .npz, .npy, idx (plain or gzipped), or python:package.module:callable"


def open_source(settings: SampleSettings, base: Path) -> Source:
    """Return the source that settings name; relative paths start at ``base``.

    Raises:
        DataError: Nothing is there, it is of no known format, or it is damaged.
    """
    if settings.source.startswith(PYTHON_PREFIX):
        return _open_python(settings, base)
    path = resolve_path(settings.source, base)
    for is_format, opener in _OPENERS:
        if is_format(path):
            return opener(path, settings, base)
    raise DataError(f"`{settings.source}` is of no known format", hint=f"Samples come from {_FORMATS}.")


def _open_python(settings: SampleSettings, base: Path) -> Source:
    from compress.data.sources.python import PythonSource

    _refuse(settings, "labels", "files")
    return PythonSource(load_callable(settings.source, base), settings.source, settings.input or "x")


def _open_folder(path: Path, settings: SampleSettings, base: Path) -> Source:
    from compress.data.sources.folder import FolderSource

    _refuse(settings, "labels", "slices")
    table = resolve_path(settings.files, base) if settings.files else None
    return FolderSource(path, table, settings.class_numbers(), settings.background, settings.input or "image")


def _open_npz(path: Path, settings: SampleSettings, base: Path) -> Source:  # noqa: ARG001
    from compress.data.sources.npz import NpzSource

    _refuse(settings, "files", "input")
    return NpzSource(path, settings.labels)


def _open_npy(path: Path, settings: SampleSettings, base: Path) -> Source:
    from compress.data.sources.npy import NpySource

    _refuse(settings, "files")
    labels = resolve_path(settings.labels, base) if settings.labels else None
    return NpySource(path, labels, settings.input or "x")


def _open_idx(path: Path, settings: SampleSettings, base: Path) -> Source:
    from compress.data.sources.idx import IdxSource

    _refuse(settings, "files")
    labels = resolve_path(settings.labels, base) if settings.labels else None
    return IdxSource(path, labels, settings.input or "image")


def _refuse(settings: SampleSettings, *keys: str) -> None:
    for key in keys:
        if getattr(settings, key) is not None:
            raise DataError(f"`{key}` means nothing for the source `{settings.source}`", hint=f"Remove `{key}`.")


def _starts_with(*magics: bytes) -> Callable[[Path], bool]:
    return lambda path: _start(path).startswith(magics)


def _is_idx(path: Path) -> bool:
    from compress.data.sources.idx import GZIP_MAGIC, is_idx_header

    start = _start(path)
    return start.startswith(GZIP_MAGIC) or is_idx_header(start)


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(8)


_OPENERS: tuple[tuple[Callable[[Path], bool], Callable[[Path, SampleSettings, Path], Source]], ...] = (
    (Path.is_dir, _open_folder),
    (_starts_with(b"PK\x03\x04", b"PK\x05\x06"), _open_npz),
    (_starts_with(b"\x93NUMPY"), _open_npy),
    (_is_idx, _open_idx),
)
