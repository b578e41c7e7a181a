"""One engine on standard input and output: what an emulated CPU's interpreter runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO

from .common import take_output
from .engine import open_engine
from .facts import describe_host
from .frames import Message, pack_arrays, read_message, unpack_arrays, write_message


def main(words: list[str]) -> int:
    """``serve MODEL``: say what runs here, then answer every feed until the input ends.

    Returns 1 where the engine fails, with the reason in the last line on standard error.
    """
    with take_output() as replies:
        try:
            _serve(Path(words[0]), replies)
        except Exception as error:  # noqa: BLE001 - whatever it is, the process that started this one tells it
            sys.stderr.write(f"{' '.join(str(error).split())}\n")
            return 1
    return 0


def _serve(model: Path, replies: IO[bytes]) -> None:
    engine = open_engine(model, threads=1)
    write_message(replies, Message({**engine.versions, "machine": describe_host()["machine"]}))
    while (message := read_message(sys.stdin.buffer)) is not None:
        described, payload = pack_arrays(engine.run(unpack_arrays(message.head["arrays"], message.payload)))
        write_message(replies, Message({"arrays": described}, payload))
