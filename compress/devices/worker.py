"""Runs an engine on an emulated CPU: a feed comes in, the outputs go out, until the input ends.

The interpreter of the emulated CPU starts this file as a script, so it needs nothing but the standard library, NumPy
and ONNX Runtime. Both directions carry frames: eight bytes of length (little endian), then that many bytes.
"""

import io
import json
import os
import platform
import struct
import sys
from collections.abc import Mapping
from typing import IO, Any

import numpy as np

_LENGTH = struct.Struct("<Q")

Arrays = Mapping[str, np.ndarray[Any, np.dtype[Any]]]


def main(model: str) -> int:
    """Serve an engine; return 1 where it fails, with the reason in the last line on standard error."""
    try:
        serve(model)
    except Exception as error:  # noqa: BLE001 - whatever it is, the process that started this one tells it
        print(f"{type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def serve(model: str) -> None:
    """Say what runs here, then answer every feed on standard input."""
    # What a library prints must not get between the frames.
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    facts = {
        "onnxruntime": onnxruntime.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    write_frame(replies, json.dumps(facts).encode())
    while (frame := read_frame(sys.stdin.buffer)) is not None:
        outputs = session.run(names, unpack_arrays(frame))
        write_frame(replies, pack_arrays(dict(zip(names, outputs, strict=True))))


def pack_arrays(arrays: Arrays) -> bytes:
    """Return named arrays as one frame's content."""
    names = json.dumps(list(arrays)).encode()
    stored = io.BytesIO()
    np.savez(stored, *arrays.values())
    return _LENGTH.pack(len(names)) + names + stored.getvalue()


def unpack_arrays(content: bytes) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    """Return the named arrays in a frame's content."""
    start = _LENGTH.size + _LENGTH.unpack_from(content)[0]
    names = json.loads(content[_LENGTH.size : start])
    with np.load(io.BytesIO(content[start:]), allow_pickle=False) as stored:
        return {name: stored[f"arr_{index}"] for index, name in enumerate(names)}


def write_frame(stream: IO[bytes], content: bytes) -> None:
    """Write one frame."""
    stream.write(_LENGTH.pack(len(content)))
    stream.write(content)
    stream.flush()


def read_frame(stream: IO[bytes]) -> bytes | None:
    """Return the content of the next frame, or None where the stream ends before it is whole."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    length: int = _LENGTH.unpack(head)[0]
    content = stream.read(length)
    return content if len(content) == length else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
