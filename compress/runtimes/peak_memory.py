"""The memory that an engine takes, measured in a process of its own by the file that loads it for users."""

import sys
import tempfile
from pathlib import Path
from typing import Final

from compress.board.common import Failed
from compress.board.frames import Message, pack_arrays
from compress.board.memory import ask_process
from compress.errors import TargetError
from compress.runtimes import Engine, Feed
from compress.runtimes.kit.archive import NAME, pack_board

SECONDS: Final = 300.0
"""For loading and a few calls; OpenVINO compiles a large model for a minute."""
_LOADER: Final = "load.py"


def measure_peak(engine: Engine, feed: Feed) -> int:
    """Return the bytes by which loading and calling an engine raise a process's peak of resident memory.

    The process has imported ONNX Runtime and nothing of this project; it ends with the measurement, so that no engine
    finds memory that another one left. What an execution provider loads of its own counts as the engine's.

    Args:
        engine: As it was packed: its folder has what loads it.
        feed: One call's inputs, which do not count.

    Raises:
        TargetError: It cannot be measured; the message has the process's last words.
    """
    described, payload = pack_arrays(dict(feed))
    asked = Message({"engine": {"loader": str(engine.folder / _LOADER)}, "arrays": described}, payload)
    with tempfile.TemporaryDirectory(prefix="compress-memory-") as scratch:
        # Outside this package, which would import more than the archive does.
        program = Path(scratch) / NAME
        program.write_bytes(pack_board())
        try:
            return int(ask_process([sys.executable, str(program), "memory"], asked, seconds=SECONDS)["bytes"])
        except Failed as failure:
            raise TargetError(f"the engine cannot be loaded in a process of its own: {failure}") from None
