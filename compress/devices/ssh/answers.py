"""What a board may answer: another machine, whose every word is checked before it is used."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from compress.board.frames import Message, unpack_arrays
from compress.devices.ssh.address import Board
from compress.errors import TargetError
from compress.report.base import Count, NotNegative, Number, Positive
from compress.report.board_record import Host

_HINT = "is it the board that you mean? `compress devices check` asks it anew"


class Answer(BaseModel):
    """An agent of another version may say more than this one reads."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class Start(Answer):
    """What became of the agent's start: ``folder`` where it runs, or one of the others."""

    folder: str | None = None
    python: str | None = None
    busy: str | None = None
    error: str | None = None
    kind: str | None = None


class End(Answer):
    """How the keeper ended, and its last words."""

    how: str
    last: tuple[str, ...]


class Facts(Answer):
    """What a board says of itself."""

    host: Host
    board: dict[str, str | None]
    throttled: dict[str, int]


class Versions(Answer):
    """Of what runs an engine there."""

    onnxruntime: str
    python: str


class Opened(Answer):
    """An engine is loaded."""

    versions: Versions


class Described(Answer):
    """One array of a message's payload."""

    name: str
    dtype: str
    shape: tuple[Count, ...]
    bytes: Count


class Outputs(Answer):
    """What an engine computed."""

    arrays: tuple[Described, ...]


class Peak(Answer):
    """The peak of an engine's memory, or why there is none."""

    bytes: Count | None = None
    reason: str | None = None


class Seconds(Answer):
    """CPU seconds over all cores until a moment."""

    total: NotNegative
    busy: Number
    own: NotNegative
    steal: NotNegative | None


class Power(Answer):
    """Mean watts and the hottest sensor while engines ran."""

    watts: NotNegative | None
    rails: dict[str, Number]
    temperature_celsius: Number | None


class Timed(Answer):
    """Two engines timed in turn, as :func:`compress.board.engine.time_in_turn` returns it."""

    seconds: Annotated[tuple[tuple[Positive, Positive], ...], Field(min_length=1)]
    warm_up: tuple[tuple[Positive, Positive], ...]
    steady: bool
    pressure: tuple[Seconds, Seconds]
    power: Power | None
    throttled: tuple[str, ...]


Kind = TypeVar("Kind", bound=Answer)


def read_answer(board: Board, schema: type[Kind], head: Mapping[str, Any]) -> Kind:
    """Return a board's answer.

    Raises:
        TargetError: It is none of that kind; the message names the key.
    """
    try:
        return schema.model_validate(head)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise TargetError(
            f"{board.device} answers what is not understood: `{key}`: {first['msg']}", hint=_HINT
        ) from None


def read_outputs(board: Board, answer: Message) -> dict[str, NDArray[np.generic]]:
    """Return the arrays of a board's answer by name.

    Raises:
        TargetError: They are none, or not as long as it says.
    """
    described = read_answer(board, Outputs, answer.head)
    try:
        return unpack_arrays([each.model_dump() for each in described.arrays], answer.payload)
    except (ValueError, TypeError, OverflowError) as error:
        raise TargetError(f"{board.device} sends outputs that are none: {error}", hint=_HINT) from None
