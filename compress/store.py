"""Files that are whole or absent: atomic writes, a content-addressed cache of steps, a staged output folder."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from compress.errors import CompressError, UsageError

REPORT = "report.json"
_STEPS = ".steps"
_STAGING = ".staging-"


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file such that a reader, or a kill at any moment, sees all of it or nothing."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_output(path: Path, data: bytes) -> None:
    """Write a file that a user named: whole or not at all; a device, a pipe or a link stays what it is."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        path.write_bytes(data)
    else:
        write_atomically(path, data)


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def replace_folder(source: Path, final: Path) -> None:
    """Move a folder to its place, in the place of one that is there."""
    if final.exists():
        shutil.rmtree(final)
    final.parent.mkdir(parents=True, exist_ok=True)
    source.replace(final)


@dataclass(frozen=True, slots=True)
class Store:
    """Results by key; each entry is a folder that appears whole, by one rename."""

    folder: Path

    def get(self, key: str) -> dict[str, bytes] | None:
        """Return the files of an entry, or None."""
        entry = self.folder / key
        return {path.name: path.read_bytes() for path in sorted(entry.iterdir())} if entry.is_dir() else None

    def put(self, key: str, files: Mapping[str, bytes]) -> None:
        """Store an entry; one that is there already stays."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=self.folder, prefix=".new-"))
        for name, data in files.items():
            write_atomically(temporary / name, data)
        try:
            temporary.rename(self.folder / key)
        except OSError:
            shutil.rmtree(temporary)


@dataclass(frozen=True, slots=True)
class Workspace:
    """The output folder while a run is under way: results are staged beside what an earlier run left.

    Attributes:
        out: The folder that the user sees.
        staging: Where results wait until :meth:`publish`.
        scratch: For what nobody needs afterwards.
        store: Finished steps.
    """

    out: Path
    staging: Path
    scratch: Path
    store: Store

    def publish(self, earlier: Collection[str] = ()) -> None:
        """Move what was staged into place, the report last; what an earlier run left there is replaced or removed.

        Args:
            earlier: Names right below the output folder of what an earlier run put there.
        """
        staged = sorted(self.staging.iterdir(), key=lambda path: path.name == REPORT)
        (self.out / REPORT).unlink(missing_ok=True)
        for name in set(earlier) - {path.name for path in staged}:
            _remove(self.out / name)
        for path in staged:
            final = self.out / path.name
            if final.is_dir() and not final.is_symlink():
                shutil.rmtree(final)
            path.replace(final)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def open_workspace(out: Path, *, resume: bool) -> Iterator[Workspace]:
    """Yield the workspace of a run.

    A run that fails by the user's mistake leaves everything as it was before, the finished steps of an earlier run too.
    One that is killed leaves its own finished steps, which ``resume`` takes up.

    Raises:
        UsageError: The folder holds something that is not ours, or cannot be made or written to.
    """
    existed = out.exists()
    _check_ours(out)
    hidden = _make_hidden(out)
    staging, scratch, earlier = hidden / "results", hidden / "scratch", hidden / "steps"
    staging.mkdir()
    scratch.mkdir()
    steps = out / _STEPS
    if not resume and steps.exists():
        steps.replace(earlier)
    kept = steps.exists()
    try:
        yield Workspace(out, staging, scratch, Store(steps))
    except CompressError:
        if not kept:
            shutil.rmtree(steps, ignore_errors=True)
        if earlier.exists():
            earlier.replace(steps)
        raise
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
        if not existed and not any(out.iterdir()):
            out.rmdir()


def _make_hidden(out: Path) -> Path:
    """Return a new folder in the output folder, without those that killed runs left."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for leftover in out.glob(f"{_STAGING}*"):
            shutil.rmtree(leftover)
        return Path(tempfile.mkdtemp(dir=out, prefix=_STAGING))
    except OSError as error:
        raise UsageError(
            f"cannot write to the folder {out}: {error.strerror}", hint="choose another folder with --out"
        ) from error


def _check_ours(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file, not a folder", hint="choose another folder with --out")
    if not out.is_dir():
        return
    known = (out / REPORT).exists() or (out / _STEPS).exists()
    if any(out.iterdir()) and not known and not all(p.name.startswith(_STAGING) for p in out.iterdir()):
        raise UsageError(
            f"{out} is not empty and holds no {REPORT} of an earlier run", hint="choose another folder with --out"
        )
