"""Whether the files of a folder are those that its statement and its report name."""

import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from compress.errors import ConfigError
from compress.evidence.statement import UNLISTED
from compress.report.board_record import NAME as BOARD_REPORT
from compress.report.record import Report
from compress.store import hash_file

Fault = Literal["missing", "changed", "extra", "unsafe", "differs", "unsigned"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong: with which file or data, and what, in words."""

    fault: Fault
    what: str
    reason: str


def check_files(folder: Path, digests: Mapping[str, str]) -> tuple[Finding, ...]:
    """Return everything that is wrong with the files of a folder; nothing outside it is read, no link followed.

    Args:
        folder: Of a run's results.
        digests: SHA-256 by path below the folder, with slashes; from a file that is not trusted.

    Raises:
        ConfigError: The folder cannot be read.
    """
    try:
        found = dict(_walk(folder, ""))
        checked = tuple(_check(folder, found, name, digest) for name, digest in digests.items())
    except OSError as error:
        raise ConfigError(f"cannot read {error.filename}: {error.strerror}", hint="check the permissions") from error
    extra = (
        Finding("extra", name, "it was not there when the run ended: move it out of the folder")
        for name, mode in found.items()
        if name not in digests and name not in UNLISTED and not _is_board_report(name, mode)
    )
    return (*(finding for finding in checked if finding is not None), *extra)


def check_report(report: Report, digests: Mapping[str, str]) -> tuple[Finding, ...]:
    """Return where the report names another digest of a file than the statement does."""
    files = [file for target in report.targets if target.engine for file in target.engine.files]
    files += [target.measurements for target in report.targets if target.measurements]
    return tuple(
        Finding("differs", file.path, f"the report says SHA-256 {file.sha256}, the statement {digests.get(file.path)}")
        for file in files
        if digests.get(file.path) != file.sha256
    )


def list_board_reports(folder: Path, digests: Mapping[str, str]) -> tuple[str, ...]:
    """Return the reports that a board has left in its kit, and that are not in the statement yet."""
    return tuple(name for name, mode in _walk(folder, "") if name not in digests and _is_board_report(name, mode))


def _is_board_report(name: str, mode: int) -> bool:
    """Return whether a file is what a kit's ``run.sh`` writes beside itself."""
    parts = PurePosixPath(name).parts
    return len(parts) == 3 and parts[0] == "engine" and parts[2] == BOARD_REPORT and stat.S_ISREG(mode)


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, int]]:
    """Yield path and mode of everything but folders."""
    for path in sorted(folder.iterdir()):
        name = f"{prefix}{path.name}"
        mode = path.lstat().st_mode
        if not stat.S_ISDIR(mode):
            yield name, mode
        elif name not in UNLISTED:
            yield from _walk(path, f"{name}/")


def _check(folder: Path, found: Mapping[str, int], name: str, digest: str) -> Finding | None:
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name or "\0" in name:
        return Finding("unsafe", name, "the path leads out of the folder: do not trust this statement")
    if name not in found:
        return Finding("missing", name, "the statement names it, and it is not there")
    if not stat.S_ISREG(found[name]):
        return Finding("unsafe", name, "a link or a device, not a plain file: it was not read")
    actual = hash_file(folder / name)
    return None if actual == digest else Finding("changed", name, f"SHA-256 {actual}, the statement says {digest}")
