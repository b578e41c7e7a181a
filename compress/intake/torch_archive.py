"""``torch.export`` archives (``.pt2``): a sanitized copy in memory is what PyTorch loads.

``torch.export.load`` unpickles sample inputs, weights marked ``use_pickle`` and custom objects, and evaluates the shape
expressions of the program; a crafted archive runs code that way. Here only raw tensors and the checked program
(:mod:`compress.intake.archive_schema`) are copied into a new archive. The residual trust is in PyTorch's own kernels.
"""

import io
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, cast

from compress.errors import ModelError
from compress.intake.archive import Archive, open_archive
from compress.intake.archive_schema import clean_payloads, clean_program
from compress.intake.export import export_program
from compress.intake.recognition import SAVE_PT2
from compress.intake.source import Converted, IntakeOptions
from compress.intake.torch_reference import program_reference
from compress.model import JsonValue
from compress.quiet import first_reason, quiet

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_NAME = "model"
_AGAIN = "Save it again with `torch.export.save(program, 'model.pt2')`, torch 2.9 or newer."


def read_torch_archive(path: Path, options: IntakeOptions) -> Converted:
    """Return the graph of a ``torch.export`` archive, and how to run the program itself.

    Raises:
        ModelError: The archive could run code, is damaged, was exported in training mode, or does not convert.
    """
    program = load_program(path)
    _check_inference(path, program)
    exported = export_program(program, options.inputs, options.opset)
    return Converted("torch.export", exported.graph, program_reference(program, exported), exported.notes)


def load_program(path: Path) -> "ExportedProgram":
    """Return the program of an archive, loaded from a sanitized copy.

    Raises:
        ModelError: The archive could run code, or PyTorch cannot read it.
    """
    import torch

    sanitized = sanitize(open_archive(path))
    with quiet():
        try:
            return torch.export.load(io.BytesIO(sanitized))
        except Exception as error:
            raise ModelError(f"{path.name} cannot be loaded: {first_reason(error)}", hint=_AGAIN) from error


def sanitize(archive: Archive) -> bytes:
    """Return a new archive with the checked program, its raw weights and constants, and nothing else.

    Raises:
        ModelError: Something in it would be unpickled, evaluated, imported or executed.
    """
    name = _program_name(archive)
    members: dict[str, bytes] = {
        "archive_format": b"pt2",
        "archive_version": b"0",
        "byteorder": b"little",
        ".data/version": b"6",
        f"data/sample_inputs/{_NAME}.pt": b"",
    }
    program = clean_program(_read_json(archive, f"models/{name}.json"))
    _keep_outer_call(program)
    members[f"models/{_NAME}.json"] = _to_json(program)
    _check_samples(archive, f"data/sample_inputs/{name}.pt")
    for folder in ("weights", "constants"):
        members |= _copy_payloads(archive, name, folder)
    return _pack(members)


def _program_name(archive: Archive) -> str:
    names = [name[len("models/") : -len(".json")] for name in archive.members if name.startswith("models/")]
    if len(names) > 1 and _NAME not in names:
        raise ModelError(
            f"{archive.path.name} holds {len(names)} programs: {', '.join(sorted(names)[:5])}",
            hint="Save one program an archive: " + SAVE_PT2,
        )
    return _NAME if _NAME in names else names[0]


def _check_samples(archive: Archive, member: str) -> None:
    """Refuse sample inputs that hold more than tensors: harmless here, since they are dropped, but nowhere else."""
    from torch.serialization import get_unsafe_globals_in_checkpoint

    content = archive.read(member) if member in archive.members else b""
    if not content:
        return
    try:
        wanted = get_unsafe_globals_in_checkpoint(io.BytesIO(content))
    except Exception as error:
        raise ModelError(
            f"the sample inputs of {archive.path.name} are no file of `torch.save`: {first_reason(error)}", hint=_AGAIN
        ) from error
    if wanted:
        raise ModelError(
            f"the sample inputs of {archive.path.name} run code as they load: {', '.join(sorted(wanted))}",
            hint="Do not load this file anywhere unless you know where it comes from; export again with plain tensors.",
        )


def _keep_outer_call(program: dict[str, JsonValue]) -> None:
    """Drop how submodules were called: nothing here runs them apart from the whole."""
    module = cast("dict[str, list[dict[str, JsonValue]]]", program["graph_module"])
    module["module_call_graph"] = [entry for entry in module["module_call_graph"] if entry.get("fqn") == ""]


def _copy_payloads(archive: Archive, name: str, folder: str) -> dict[str, bytes]:
    config = clean_payloads(_read_json(archive, f"data/{folder}/{name}_{folder}_config.json"))
    payloads = cast("dict[str, dict[str, JsonValue]]", config["config"])
    files: set[str] = set()
    for tensor, payload in payloads.items():
        file = str(payload["path_name"])
        if payload.get("use_pickle") is not False or not file.startswith(("weight_", "tensor_")):
            raise ModelError(
                f"{archive.path.name} stores `{tensor}` as a pickle or a custom object, which runs code as it loads",
                hint="Save the model with plain tensors (no tensor subclasses, no custom classes): " + SAVE_PT2,
            )
        files.add(file)
    contents = archive.read_many(f"data/{folder}/{file}" for file in sorted(files))
    for tensor, payload in payloads.items():
        _check_filled(archive, tensor, payload, contents[f"data/{folder}/{payload['path_name']}"])
    return {f"data/{folder}/{_NAME}_{folder}_config.json": _to_json(config), **contents}


def _check_filled(archive: Archive, tensor: str, payload: dict[str, JsonValue], content: bytes) -> None:
    meta = cast("dict[str, list[dict[str, int]]]", payload.get("tensor_meta") or {"sizes": [{}]})
    elements = 1
    for size in meta["sizes"]:
        elements *= size.get("as_int", -1)
    if elements < 0 or (elements > 0 and not content):
        raise ModelError(f"{archive.path.name} lacks the values of `{tensor}`", hint=_AGAIN)


def _read_json(archive: Archive, name: str) -> object:
    try:
        return json.loads(archive.read(name))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{archive.path.name} is damaged: `{name}` is not JSON", hint=_AGAIN) from error


def _to_json(value: JsonValue) -> bytes:
    return json.dumps(value).encode()


def _pack(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as packed:
        for name, content in members.items():
            packed.writestr(f"archive/{name}", content)
    return buffer.getvalue()


def _check_inference(path: Path, program: "ExportedProgram") -> None:
    training = {"aten.batch_norm.default": 5, "aten.dropout.default": 2, "aten.dropout_.default": 2}
    for node in program.graph.nodes:
        position = training.get(str(node.target))
        if position is not None and len(node.args) > position and node.args[position] is True:
            raise ModelError(
                f"{path.name} was exported in training mode (`{node.name}` is active)",
                hint="Call `model.eval()` before `torch.export.export`, and save it again.",
            )
