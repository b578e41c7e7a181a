"""What an ``.onnx`` file on the command line takes in and gives out."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compress.model import Model


def read_interface(path: Path) -> "Model":
    """Return the graph without the external data that it may point to: only its inputs are needed here."""
    import onnx
    import onnx_ir as ir
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    from compress.errors import ModelError
    from compress.model import Model

    try:
        model = Model.from_ir(ir.from_proto(onnx.load(path, load_external_data=False)))
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}", hint=_find_file(path)) from error
    except (DecodeError, ValueError) as error:
        raise ModelError(f"{path} is not an ONNX file", hint="give the .onnx file in the engine's folder") from error
    if not model.inputs:
        raise ModelError(f"{path} has no inputs", hint="give an .onnx file whose graph computes something")
    return model


def _find_file(path: Path) -> str:
    """Return a hint that names the engines in a folder of results."""
    inside = sorted(path.glob("engine/*/model.onnx")) or sorted(path.glob("*.onnx")) if path.is_dir() else []
    return "give the path of an .onnx file" + (f": {', '.join(map(str, inside))}" if inside else "")
