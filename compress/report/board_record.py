"""What a board writes: ``board-report.json``, schema ``compress.board-report/1``."""

import base64
import json
from pathlib import Path
from typing import Annotated, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from compress.errors import ConfigError
from compress.report.base import Count, NotNegative, Number, Positive
from compress.report.record import Sha256

NAME: Final = "board-report.json"
_MAX_BYTES: Final = 1 << 30


class _Part(BaseModel):
    """A board may say more than this version reads."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class Kit(_Part):
    """Which kit it was."""

    target: str
    tool_version: str
    model_sha256: Sha256


class Host(_Part):
    """What decides how an engine runs there, as :func:`compress.board.facts.describe_host` says it."""

    python: str
    machine: str
    system: str
    cpu: str | None
    cpu_part: tuple[str | None, str | None]
    flags: tuple[str, ...]
    cores: Count
    memory_bytes: Count
    governor: str | None
    temperature_celsius: Number | None
    load: NotNegative | None
    runtimes: dict[str, str]
    compute_capabilities: tuple[str, ...]


class BuiltEngine(_Part):
    """An engine as the board built it."""

    path: str
    sha256: Sha256
    bytes: Count
    build_seconds: NotNegative
    built_with: Literal["trtexec", "python"]


class Summary(_Part):
    """Latency in seconds, power in watts, energy in joules a query."""

    runs: Annotated[Count, Field(ge=1)]
    p50: Positive
    watts: NotNegative | None = None
    joules: NotNegative | None = None


class Power(_Part):
    """Mean watts by rail and the hottest sensor while one engine ran."""

    rails: dict[str, Number]
    temperature_celsius: Number | None


class Block(_Part):
    """One run of trtexec."""

    engine: str
    power: Power | None
    throttled: tuple[str, ...] = ()


class StoredOutput(_Part):
    """One output of all samples: its shape, and little-endian floats in base64."""

    shape: tuple[Count, ...]
    float32: str


class LayerTime(_Part):
    """One of the engine's layers: TensorRT's name, and mean seconds in a run."""

    name: str
    seconds: NotNegative


class BoardReport(_Part):
    """The whole file."""

    schema_: Annotated[Literal["compress.board-report/1"], Field(alias="schema")]
    created: str
    kit: Kit
    board: dict[str, str | None]
    host: Host
    engine: BuiltEngine
    original: BuiltEngine | None = None
    latency: Summary | None
    original_latency: Summary | None = None
    seconds: dict[str, tuple[Positive, ...]] = Field(default_factory=dict)
    blocks: tuple[Block, ...] = ()
    outputs: dict[str, StoredOutput] | None = None
    layers: tuple[LayerTime, ...] | None = None
    clocks_locked: bool = False
    notes: tuple[str, ...] = ()

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return the outputs of the samples by name, each [samples, …]; empty where there are none.

        Raises:
            ConfigError: An output is not as long as its shape says.
        """
        found = {}
        for name, stored in (self.outputs or {}).items():
            try:
                values = np.frombuffer(base64.b64decode(stored.float32, validate=True), dtype="<f4")
                found[name] = values.reshape(stored.shape).astype(np.float32)
            except ValueError as error:
                raise ConfigError(
                    f"{NAME}: output `{name}` is damaged: {error}", hint="copy it from the board again"
                ) from None
        return found


def parse_board_report(content: str, place: str) -> BoardReport:
    """Return a board's report.

    Args:
        content: The JSON.
        place: What it is called in a message.

    Raises:
        ConfigError: It is not whole, or of another schema; the message names the key.
    """
    try:
        return BoardReport.model_validate(json.loads(content))
    except (ValueError, RecursionError) as error:
        if not isinstance(error, ValidationError):
            raise ConfigError(f"{place} is not whole JSON: {error}", hint="copy it from the board again") from None
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"{place}: `{key}`: {first['msg']}", hint="run the kit's ./run.sh again, with the kit of this version"
        ) from None


def read_board_report(path: Path) -> BoardReport:
    """Return the board's report in a file.

    Raises:
        ConfigError: It cannot be read, is not whole, or has another schema.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"{path} is larger than 1 GiB", hint="is it a board-report.json?")
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", hint="copy it from the board: scp …") from None
    return parse_board_report(content, str(path))
