"""``provenance.json``: an in-toto statement of every file that a run left, and of what they were made from.

Source: in-toto Attestation Framework, Statement v1; SLSA v1, Provenance (the predicate).
"""

import json
import os
from pathlib import Path, PurePosixPath
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from compress.errors import ConfigError
from compress.report.record import Report, Sha256
from compress.store import REPORT, hash_file, write_atomically

PROVENANCE: Final = "provenance.json"
ENVELOPE: Final = "statement.dsse.json"
"""The statement with signatures, in DSSE's envelope; made by ``compress sign``."""
UNLISTED: Final = frozenset({PROVENANCE, ENVELOPE, "run.log", ".steps"})
"""What a folder of results has beside the files of the statement: itself, its signature, the log, and the steps of
``--resume``."""

_STATEMENT: Final = "https://in-toto.io/Statement/v1"
_PREDICATE: Final = "https://slsa.dev/provenance/v1"
_MAX_BYTES: Final = 16 << 20
_AGAIN: Final = "take the folder again from where it was made, or run `compress run` again"


class _Read(BaseModel):
    # The framework asks readers to ignore fields that they do not know.
    model_config = ConfigDict(extra="ignore", frozen=True)


class Digest(_Read):
    """The SHA-256, hexadecimal."""

    sha256: Sha256


class Subject(_Read):
    """A file of the folder: its path with slashes, and its digest."""

    name: Annotated[str, Field(min_length=1)]
    digest: Digest


class Statement(_Read):
    """What is read of a statement; the predicate is for other tools."""

    type_: Annotated[Literal["https://in-toto.io/Statement/v1"], Field(alias="_type")]
    subject: Annotated[tuple[Subject, ...], Field(min_length=1)]
    predicate_type: Annotated[Literal["https://slsa.dev/provenance/v1"], Field(alias="predicateType")]

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 by path."""
        return {subject.name: subject.digest.sha256 for subject in self.subject}


def write_statement(report: Report, folder: Path) -> None:
    """Write the statement of a folder whose other files are all there; a signature of an earlier one is removed."""
    (folder / ENVELOPE).unlink(missing_ok=True)
    names = sorted(
        name
        for path in folder.rglob("*")
        if path.is_file() and (name := path.relative_to(folder).as_posix()).partition("/")[0] not in UNLISTED
    )
    content = {
        "_type": _STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": hash_file(folder / name)}} for name in names],
        "predicateType": _PREDICATE,
        "predicate": _describe_build(report),
    }
    write_atomically(folder / PROVENANCE, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def _describe_build(report: Report) -> dict[str, object]:
    tool = f"pkg:pypi/edge-compress@{report.tool.version}"
    data = {"calibration": report.data.calibration, "evaluation": report.data.evaluation}
    return {
        "buildDefinition": {
            "buildType": f"{tool}#run",
            "externalParameters": {
                "command": report.command,
                "targets": [target.target for target in report.targets],
                "seed": report.seed,
            },
            "resolvedDependencies": [
                {"name": report.source.path, "digest": {"sha256": report.source.sha256}},
                *(
                    {"name": used.name, "digest": {"sha256": used.digest}, "annotations": {"role": role}}
                    for role, used in data.items()
                    if used is not None
                ),
                *_timing_caches(report),
                *({"uri": f"pkg:pypi/{name}@{version}"} for name, version in report.tool.packages.items()),
            ],
        },
        "runDetails": {"builder": {"id": tool}, "metadata": {"finishedOn": report.created}},
    }


def _timing_caches(report: Report) -> list[dict[str, object]]:
    """Return the timing caches that engines were built with, each once; the report has their digests."""
    stated = {
        target.engine.versions["timing_cache"].removeprefix("sha256:")
        for target in report.targets
        if target.engine is not None and "timing_cache" in target.engine.versions
    }
    return [{"name": "timing cache", "digest": {"sha256": digest}} for digest in sorted(stated)]


def require_folder(folder: Path) -> None:
    """Raise if something is no folder that can be read.

    Raises:
        ConfigError: It is none.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder", hint="give the folder that `compress run` wrote")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise ConfigError(f"cannot read {folder}: Permission denied", hint="check the permissions")


def read_statement(folder: Path) -> Statement:
    """Return the statement of a folder of results.

    Raises:
        ConfigError: It is not there, no plain file, too large, not such a statement, or names a file twice or none
            for the report.
    """
    path = folder / PROVENANCE
    if path.is_symlink() or not path.is_file():
        raise ConfigError(
            f"{path} is missing, or is no plain file: nothing says what belongs to the folder", hint=_AGAIN
        )
    if path.stat().st_size > _MAX_BYTES:
        raise ConfigError(f"{path} has more than {_MAX_BYTES} bytes", hint=_AGAIN)
    return parse_statement(read_file(path), str(path))


def read_file(path: Path) -> bytes:
    """Return the bytes of a file.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", hint="check the permissions") from error


def list_earlier(folder: Path) -> frozenset[str]:
    """Return the names right below a folder that an earlier run put there; none where its statement cannot be read."""
    try:
        subjects = read_statement(folder).digests
    except ConfigError:
        return frozenset({PROVENANCE, ENVELOPE})
    return frozenset({PROVENANCE, ENVELOPE, *(PurePosixPath(name).parts[0] for name in subjects)})


def parse_statement(content: bytes, path: str) -> Statement:
    """Return the statement that a file, or a signed payload, holds.

    Raises:
        ConfigError: It is no such statement, or names a file twice or none for the report.
    """
    try:
        statement = Statement.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ConfigError(
            f"{path} is no statement of a run: {place or 'content'}: {first['msg']}", hint=_AGAIN
        ) from error
    if len(statement.digests) != len(statement.subject) or REPORT not in statement.digests:
        raise ConfigError(f"{path} names a file twice, or does not name {REPORT}", hint=_AGAIN)
    return statement
