"""Zip archives from strangers: names that stay inside, sizes that fit, no member twice."""

import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from compress.errors import ModelError

_EXPANSION = 20
"""How many times its size on disk an archive may unpack to; PyTorch stores without compressing at all."""

_ALLOWANCE = 64 * 1024**2

_DAMAGED = "Save or copy the file again."


@dataclass(frozen=True, slots=True)
class Archive:
    """The checked members of a zip archive, without the folder that all of them lie in."""

    path: Path
    members: Mapping[str, zipfile.ZipInfo]

    def read(self, name: str) -> bytes:
        """Return the bytes of a member.

        Raises:
            ModelError: No such member, or it is damaged.
        """
        return self.read_many((name,))[name]

    def read_many(self, names: Iterable[str]) -> dict[str, bytes]:
        """Return the bytes of several members by name.

        Raises:
            ModelError: No such member, or one is damaged.
        """
        contents = {}
        try:
            with zipfile.ZipFile(self.path) as archive:
                for name in names:
                    contents[name] = archive.read(self.members[name])
        except KeyError as error:
            raise ModelError(f"{self.path.name} lacks `{error.args[0]}`", hint=_DAMAGED) from error
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError) as error:
            raise ModelError(f"{self.path.name} is damaged: {error}", hint=_DAMAGED) from error
        return contents


def open_archive(path: Path) -> Archive:
    """Return the checked members of the archive.

    Raises:
        ModelError: Damaged, encrypted, a member twice, a name that leaves the archive, or a size out of proportion.
    """
    infos = _read_directory(path)
    for info in infos:
        _check_name(path, info.filename)
        if info.flag_bits & 0x1:
            raise ModelError(f"{path.name} is encrypted (`{info.filename}`)", hint="Save it without a password.")
    names = [info.filename for info in infos]
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        raise ModelError(f"{path.name} holds `{twice}` twice", hint="No honest tool writes that; do not use this file.")
    unpacked, size = sum(info.file_size for info in infos), path.stat().st_size
    if unpacked > _EXPANSION * size + _ALLOWANCE:
        raise ModelError(
            f"{path.name} ({size} bytes) would unpack to {unpacked} bytes",
            hint="That is how a zip bomb looks; do not use this file.",
        )
    skip = len(_common_folder(names))
    return Archive(path, {info.filename[skip:]: info for info in infos if not info.is_dir()})


def read_names(path: Path) -> frozenset[str]:
    """Return the checked names of the members, without their common folder.

    Raises:
        ModelError: As :func:`open_archive`.
    """
    return frozenset(open_archive(path).members)


def _read_directory(path: Path) -> list[zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise ModelError(
            f"{path.name} is a zip archive that is cut short or damaged: {error}", hint=_DAMAGED
        ) from error


def _check_name(path: Path, name: str) -> None:
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\\" in name or ":" in name:
        raise ModelError(
            f"{path.name} holds a file named `{name}`, which would land outside the archive",
            hint="No honest tool writes that; do not use this file.",
        )


def _common_folder(names: list[str]) -> str:
    folders = {name.partition("/")[0] if "/" in name else "" for name in names}
    return f"{folders.pop()}/" if len(folders) == 1 and "" not in folders else ""
