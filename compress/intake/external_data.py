"""Tensors of ONNX files: external data confined to the model's folder, and every tensor as long as its shape says."""

import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from compress.errors import ModelError

if TYPE_CHECKING:
    from google.protobuf.message import Message  # type: ignore[import-untyped]
    from onnx import ModelProto, TensorProto

_BITS = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}
_MOST_BYTES = 2 * 1024**3 - 1024**2

_AGAIN = "Copy or export the model again: the file is damaged."
_COMPLETE = "Copy the model together with its data files, all in one folder."
_OUTSIDE = (
    "Save the model again with `onnx.save_model(model, path, save_as_external_data=True)`, data beside the model."
)


def load_external_data(model: "ModelProto", folder: Path) -> int:
    """Read all external data into the model, and return the bytes of the files that it lay in.

    Raises:
        ModelError: A path that leaves the folder (``..``, absolute, or through a link), a missing file, an offset or
            length outside it, a length that does not fit the tensor, or more than protobuf's 2 GB in all.
    """
    from onnx import TensorProto

    external = [tensor for tensor in _tensors(model) if tensor.data_location == TensorProto.EXTERNAL]
    parts = [(tensor, *_locate(tensor, folder)) for tensor in external]
    total = sum(length for *_, length in parts)
    if total > _MOST_BYTES:
        raise ModelError(
            f"the model's external data is {total} bytes; more than 2 GB does not fit one ONNX file",
            hint="Give a smaller model, or one with float16 weights.",
        )
    for tensor, path, offset, length in parts:
        with path.open("rb") as file:
            file.seek(offset)
            tensor.raw_data = file.read(length)
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]
    return sum(path.stat().st_size for path in {path for _, path, *_ in parts})


def check_tensors(model: "ModelProto") -> None:
    """Refuse tensors that ONNX's checker lets pass, and that nobody could read.

    Raises:
        ModelError: An element type that ONNX does not know, a negative size, or data that does not fit the shape.
    """
    from onnx import numpy_helper

    for tensor in _tensors(model):
        needed = _byte_size(tensor)
        if tensor.HasField("raw_data"):
            if len(tensor.raw_data) != needed:
                raise ModelError(
                    f"tensor `{tensor.name}` has {len(tensor.raw_data)} bytes, its shape {list(tensor.dims)} "
                    f"needs {needed}",
                    hint=_AGAIN,
                )
            continue
        try:
            numpy_helper.to_array(tensor)
        except (ValueError, TypeError, OverflowError) as error:
            raise ModelError(f"tensor `{tensor.name}` cannot be read: {error}", hint=_AGAIN) from error


def _tensors(message: "Message") -> Iterator["TensorProto"]:
    """Yield every tensor of a model, wherever protobuf allows one: no list of places that could be incomplete."""
    from onnx import TensorProto

    if isinstance(message, TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for item in value if field.is_repeated else (value,):
                yield from _tensors(item)


def _locate(tensor: "TensorProto", folder: Path) -> tuple[Path, int, int]:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    path = _inside(tensor.name, entries.get("location", ""), folder)
    size = path.stat().st_size
    offset = _number(tensor.name, "offset", entries.get("offset", "0"))
    length = _number(tensor.name, "length", entries.get("length") or str(max(size - offset, 0)))
    if offset + length > size:
        raise ModelError(
            f"external data of `{tensor.name}` ends at byte {offset + length}, but {path.name} has {size}",
            hint=_COMPLETE,
        )
    if length != (needed := _byte_size(tensor)):
        raise ModelError(
            f"external data of `{tensor.name}` has {length} bytes, its shape {list(tensor.dims)} needs {needed}",
            hint=_COMPLETE,
        )
    return path, offset, length


def _inside(name: str, location: str, folder: Path) -> Path:
    parts = PurePosixPath(location).parts
    if not location or location.startswith("/") or ".." in parts or "\\" in location or ":" in location:
        raise ModelError(f"external data of `{name}` lies at `{location}`, outside the model's folder", hint=_OUTSIDE)
    path = (folder / location).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ModelError(
            f"external data of `{name}` lies at `{location}`, a link that leaves the model's folder", hint=_OUTSIDE
        )
    if not path.is_file():
        raise ModelError(f"external data of `{name}` is missing: `{location}`", hint=_COMPLETE)
    return path


def _number(name: str, key: str, text: str) -> int:
    if not text.isdecimal() or len(text) > 18:
        raise ModelError(f"external data of `{name}` has the {key} `{text[:40]}`", hint=_OUTSIDE)
    return int(text)


def _byte_size(tensor: "TensorProto") -> int:
    from onnx import TensorProto, helper

    if tensor.data_type not in TensorProto.DataType.values() or tensor.data_type == TensorProto.UNDEFINED:
        raise ModelError(
            f"tensor `{tensor.name}` has the element type {tensor.data_type}, which ONNX does not know", hint=_AGAIN
        )
    if any(size < 0 for size in tensor.dims):
        raise ModelError(f"tensor `{tensor.name}` has the shape {list(tensor.dims)}", hint=_AGAIN)
    elements: int = math.prod(tensor.dims)
    kind = TensorProto.DataType.Name(tensor.data_type)
    if kind in _BITS:
        return (elements * _BITS[kind] + 7) // 8
    return elements * int(helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
