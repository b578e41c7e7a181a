"""Messages between a computer and the agent: a JSON head and raw bytes, both directions.

A frame is eight bytes of length (little endian), four bytes of the head's length, the head, the payload.
"""

from __future__ import annotations

import json
import struct
from typing import IO, TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

MAX_BYTES = 1 << 31
"""A longer frame is no frame of ours: something else is talking."""

_MAX_HEAD_BYTES = 1 << 24

_LENGTH = struct.Struct("<QI")


class Message(NamedTuple):
    """One message: what is asked or answered, and the bytes that go with it."""

    head: dict[str, Any]
    payload: bytes = b""


class BrokenFrame(Exception):  # noqa: N818 the stream's state, not a mistake of a caller
    """What comes is no frame: another program prints on this channel."""


def write_message(stream: IO[bytes], message: Message) -> None:
    """Write one message."""
    head = json.dumps(message.head).encode()
    stream.write(_LENGTH.pack(len(head) + len(message.payload), len(head)))
    stream.write(head)
    stream.write(message.payload)
    stream.flush()


def read_message(stream: IO[bytes]) -> Message | None:
    """Return the next message, or None where the stream ends before it is whole.

    Raises:
        BrokenFrame: Something else is talking.
    """
    start = stream.read(_LENGTH.size)
    if len(start) < _LENGTH.size:
        return None
    length, head_length = _LENGTH.unpack(start)
    if length > MAX_BYTES or head_length > min(length, _MAX_HEAD_BYTES):
        raise BrokenFrame(start.decode(errors="replace"))
    content = stream.read(length)
    if len(content) < length:
        return None
    try:
        head = json.loads(content[:head_length])
    except (ValueError, RecursionError) as error:
        raise BrokenFrame(content[:200].decode(errors="replace")) from error
    if not isinstance(head, dict):
        raise BrokenFrame(content[:200].decode(errors="replace"))
    return Message(head, content[head_length:])


def pack_arrays(arrays: dict[str, np.ndarray[Any, Any]]) -> tuple[list[dict[str, Any]], bytes]:
    """Return the description of named arrays for a message's head, and their bytes."""
    described: list[dict[str, Any]] = []
    parts = []
    for name, values in arrays.items():
        content = values.tobytes()
        described.append({"name": name, "dtype": values.dtype.str, "shape": list(values.shape), "bytes": len(content)})
        parts.append(content)
    return described, b"".join(parts)


def unpack_arrays(described: list[dict[str, Any]], payload: bytes) -> dict[str, np.ndarray[Any, Any]]:
    """Return the named arrays of a message."""
    import numpy as np

    found, start = {}, 0
    for entry in described:
        content = payload[start : start + entry["bytes"]]
        found[entry["name"]] = np.frombuffer(content, dtype=np.dtype(entry["dtype"])).reshape(entry["shape"])
        start += entry["bytes"]
    return found
