"""Writing the files of an engine and listing them."""

from collections.abc import Sequence
from pathlib import Path

from compress.model import Model
from compress.runtimes import EngineFile
from compress.store import hash_file, write_atomically

GRAPH = "model.onnx"


def write_graph(model: Model, folder: Path) -> Path:
    """Return the path of ``model.onnx``, a single file without external data; equal graphs give equal bytes."""
    path = folder / GRAPH
    write_atomically(path, model.to_bytes())
    return path


def list_files(paths: Sequence[Path]) -> tuple[EngineFile, ...]:
    """Return path, SHA-256 and bytes of each file."""
    return tuple(EngineFile(path, hash_file(path), path.stat().st_size) for path in paths)
