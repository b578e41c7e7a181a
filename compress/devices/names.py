"""Devices that have a name: the user's ``devices.toml``."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from compress.config import explain, read_toml
from compress.devices.ssh.address import Board, parse_address
from compress.errors import ConfigError, UsageError
from compress.store import write_atomically

VARIABLE: Final = "COMPRESS_DEVICES"
"""Environment variable that names another file."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


Words = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]*$")]
"""No control characters: no program takes them, and a terminal takes commands from them."""


class NamedDevice(BaseModel):
    """One table of the file, ``[devices.my-pi]``.

    Attributes:
        address: ``ssh://user@host:port``.
        python: The board's interpreter that has the runtime.
        folder: Where the agent lives on the board while it runs.
        ssh: More words for ssh, as a shell writes them: ``"-i ~/.ssh/boards"``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: str
    python: Words = "python3"
    folder: Words | None = None
    ssh: Words = ""

    def board(self) -> Board:
        """Return the board.

        Raises:
            UsageError: The address is none, or the words for ssh cannot be split.
        """
        place = parse_address(self.address)
        try:
            words = tuple(
                str(Path(word).expanduser()) if word.startswith("~") else word for word in shlex.split(self.ssh)
            )
        except ValueError as error:
            raise UsageError(f"`{self.ssh}`: {error}", hint="quote it as in a shell") from None
        return Board(place.host, place.user, place.port, self.python, self.folder, words)


class DeviceFile(BaseModel):
    """The whole file: a table for each name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    devices: dict[Name, dict[str, object]] = Field(default_factory=dict)


def devices_file() -> Path:
    """Return the file: ``$COMPRESS_DEVICES``, or ``edge-compress/devices.toml`` in the user's config folder."""
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return Path(chosen)
    config = os.environ.get("XDG_CONFIG_HOME")
    return (Path(config) if config else Path.home() / ".config") / "edge-compress" / "devices.toml"


def read_devices() -> Mapping[str, NamedDevice]:
    """Return the named devices; none where there is no file.

    Raises:
        ConfigError: The file is not valid; the message names the key.
    """
    path = devices_file()
    if not path.exists():
        return {}
    try:
        tables = DeviceFile.model_validate(read_toml(path)).devices
    except ValidationError as error:
        raise explain(error, str(path), DeviceFile) from None
    return {name: _read_device(table, f"{path}: [devices.{name}]") for name, table in tables.items()}


def _read_device(table: Mapping[str, object], place: str) -> NamedDevice:
    try:
        return NamedDevice.model_validate(table)
    except ValidationError as error:
        raise explain(error, place, NamedDevice) from None


def write_devices(devices: Mapping[str, NamedDevice]) -> Path:
    """Write the file anew and return its path.

    Raises:
        ConfigError: It cannot be written, or a name has other characters than letters, digits, ``.``, ``_``, ``-``.
    """
    path = devices_file()
    try:
        checked = DeviceFile(
            devices={name: device.model_dump(exclude_defaults=True) for name, device in devices.items()}
        )
    except ValidationError as error:
        raise explain(error, "devices", DeviceFile) from None
    text = tomli_w.dumps(checked.model_dump())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode())
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}", hint=f"{VARIABLE} names another file") from error
    return path
