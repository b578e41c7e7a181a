"""What a file is, judged by its bytes and never by its name."""

import struct
import zipfile
from pathlib import Path
from typing import Literal

from compress.errors import ModelError
from compress.intake.archive import read_names

Content = Literal["torch.export", "torchscript", "torch-zip", "torch-legacy", "safetensors", "onnx"]

_LEGACY_MAGIC = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""What the first pickle of a legacy (before torch 1.6) ``torch.save`` file holds: a magic number."""

_PROTOBUF_LIMIT = 2 * 1024**3

_TAKEN = (
    "Give a `torch.export` archive (.pt2), a state dict or safetensors file with `--factory`, "
    "a TorchScript archive, or an ONNX file."
)

_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"\x89PNG\r\n", "a PNG image"),
    (0, b"GIF8", "a GIF image"),
    (0, b"%PDF-", "a PDF document"),
    (0, b"\x1f\x8b", "a gzip file"),
    (0, b"\x89HDF\r\n", "an HDF5 file (Keras?)"),
    (0, b"\x93NUMPY", "a NumPy array file"),
    (0, b"GGUF", "a GGUF file"),
    (0, b"\x7fELF", "a program or library (ELF)"),
    (0, b"version https://git-lfs", "a Git LFS pointer, not the file it points to"),
    (4, b"TFL3", "a TensorFlow Lite model"),
    (257, b"ustar", "a tar archive"),
)


def recognise(path: Path) -> Content:
    """Return what kind of model the file holds.

    Raises:
        ModelError: Missing, a folder, empty, unreadable, or not a model; the message says what it looks like.
    """
    head = _read_head(path)
    if zipfile.is_zipfile(path) or head.startswith(b"PK\x03\x04"):
        return _recognise_archive(path)
    if is_legacy_torch(head):
        return "torch-legacy"
    if _is_safetensors(path, head):
        return "safetensors"
    if (found := _signature(head)) is not None:
        raise ModelError(f"{path.name} is {found}, not a model", hint=_TAKEN)
    if _is_pickle(head):
        raise ModelError(
            f"{path.name} is a bare pickle, not a file of `torch.save`; it is never loaded, because that runs its code",
            hint="Save a `.pt2` where the model was made: " + SAVE_PT2,
        )
    if _is_onnx(path):
        return "onnx"
    if _begins_like_onnx(head):
        raise ModelError(
            f"{path.name} is an ONNX file that is cut short or damaged", hint="Export or copy the file again."
        )
    raise ModelError(f"{path.name} is {_describe_unknown(head)}, not a model", hint=_TAKEN)


SAVE_PT2 = (
    "`program = torch.export.export(model.eval(), (example,), dynamic_shapes=({0: torch.export.Dim('batch')},))`, "
    "then `torch.export.save(program, 'model.pt2')`."
)


def is_legacy_torch(head: bytes) -> bool:
    """Return whether a file that begins like this was written by ``torch.save`` in its legacy, not zipped format."""
    return head[:1] == b"\x80" and _LEGACY_MAGIC in head[:32]


def _read_head(path: Path) -> bytes:
    if not path.exists():
        raise ModelError(f"{path} does not exist", hint="Check the path of the model.")
    if path.is_dir():
        raise ModelError(f"{path} is a folder, not a model file", hint="Give the model file inside it.")
    if not path.is_file():
        raise ModelError(f"{path} is not a regular file", hint="Give the model file itself.")
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}", hint="Check its permissions.") from error
    if not head:
        raise ModelError(f"{path.name} is empty", hint="Save or copy the model again; the file has no bytes.")
    return head


def _recognise_archive(path: Path) -> Content:
    names = read_names(path)
    if "archive_format" in names and any(name.startswith("models/") for name in names):
        return "torch.export"
    if "data.pkl" in names:
        scripted = "constants.pkl" in names or any(name.startswith("code/") for name in names)
        return "torchscript" if scripted else "torch-zip"
    if "serialized_exported_program.json" in names:
        raise ModelError(
            f"{path.name} is a `torch.export` archive in the format of torch 2.6 or older",
            hint="Load it with the torch that wrote it and save it again with torch 2.9 or newer.",
        )
    if "archive_format" in names:
        raise ModelError(
            f"{path.name} is a PT2 archive without an exported program (compiled by AOTInductor?)",
            hint="Save the program itself: " + SAVE_PT2,
        )
    raise ModelError(f"{path.name} is a zip archive with no model in it", hint=_TAKEN)


def _is_safetensors(path: Path, head: bytes) -> bool:
    if len(head) < 9 or head[8:9] != b"{":
        return False
    length = int(struct.unpack("<Q", head[:8])[0])
    return 2 <= length <= path.stat().st_size


def _is_pickle(head: bytes) -> bool:
    return head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")


def _is_onnx(path: Path) -> bool:
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    if path.stat().st_size >= _PROTOBUF_LIMIT:
        return False
    try:
        model = onnx.ModelProto.FromString(path.read_bytes())
    except DecodeError:
        return False
    return model.ir_version > 0 and bool(model.graph.output)


def _signature(head: bytes) -> str | None:
    return next((name for offset, mark, name in _SIGNATURES if head[offset : offset + len(mark)] == mark), None)


def _begins_like_onnx(head: bytes) -> bool:
    return head[:1] == b"\x08" and head[1:2] < b"\x20"


def _describe_unknown(head: bytes) -> str:
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        return "a text file"
    return "of an unknown format"
