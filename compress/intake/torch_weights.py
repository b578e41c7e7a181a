"""Weights without a network (state dict, safetensors), and pickled modules."""

import io
import pickle
import pickletools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from compress.errors import ModelError
from compress.intake.archive import open_archive
from compress.intake.export import Exported, export_module
from compress.intake.factory import build_module, importable, load_weights
from compress.intake.recognition import SAVE_PT2, is_legacy_torch
from compress.intake.source import Converted, IntakeOptions, SourceKind, inputs_unknown
from compress.intake.torch_reference import module_reference
from compress.quiet import first_reason, quiet

if TYPE_CHECKING:
    from torch import Tensor, nn

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "module", "params")
_SHOWN = 5

_NO_FACTORY = (
    "Say which network they belong to with `--factory package.module:callable` (it returns the nn.Module), or save a "
    "`.pt2` where the model was made: " + SAVE_PT2
)


def read_torch_file(path: Path, options: IntakeOptions) -> Converted:
    """Return the graph of a file of ``torch.save``: a state dict with a factory, or a trusted pickled module.

    Raises:
        ModelError: Weights without a factory or not fitting it, a pickle that nobody vouched for, unknown inputs.
    """
    if not is_legacy_torch(path.read_bytes()):
        open_archive(path)
    content = _load_plain(path)
    if content is None:
        module = _load_trusted(path, options)
        return _convert(path, module, options, "pickled-module", ("Loading it ran code of the file (--trust-pickle).",))
    return _convert_weights(path, _unwrap(path, content), options, "state-dict")


def read_safetensors(path: Path, options: IntakeOptions) -> Converted:
    """Return the graph of a safetensors file and its factory.

    Raises:
        ModelError: Damaged, no factory, weights that do not fit it, or unknown inputs.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        weights = load(path.read_bytes())
    except (SafetensorError, ValueError, KeyError) as error:
        raise ModelError(
            f"{path.name} is a safetensors file that is cut short or damaged: {first_reason(error)}",
            hint="Save or copy the file again.",
        ) from error
    return _convert_weights(path, weights, options, "safetensors")


def _convert_weights(
    path: Path, weights: Mapping[str, "Tensor"], options: IntakeOptions, kind: SourceKind
) -> Converted:
    if options.factory is None:
        names = ", ".join(list(weights)[:_SHOWN])
        raise ModelError(
            f"{path.name} holds {len(weights)} weights ({names}, …) but not the network they belong to",
            hint=_NO_FACTORY,
        )
    if not options.inputs:
        raise inputs_unknown(path)
    module = build_module(options.factory, options.search_path)
    return _convert(path, load_weights(module, weights, options.factory), options, kind, ())


def _convert(
    path: Path, module: "nn.Module", options: IntakeOptions, kind: SourceKind, notes: tuple[str, ...]
) -> Converted:
    if not options.inputs:
        raise inputs_unknown(path)
    module = module.cpu().eval()
    exported: Exported = export_module(module, options.inputs, options.opset)
    names = [spec.name for spec in options.inputs]
    reference = module_reference(module, names, exported.output_names, by_name=exported.by_name)
    return Converted(kind, exported.graph, reference, notes + exported.notes)


def _load_plain(path: Path) -> object | None:
    """Return what the file holds if that is tensors and plain values, or None if it wants classes."""
    import torch

    try:
        with quiet():
            content: object = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        return None
    except Exception as error:
        raise ModelError(
            f"{path.name} is a file of `torch.save` that cannot be read: {first_reason(error)}",
            hint="Save or copy the file again.",
        ) from error
    return content


def _unwrap(path: Path, content: object) -> dict[str, "Tensor"]:
    """Return the weights in a checkpoint: the dict itself, or the one under a usual key."""
    import torch

    if isinstance(content, Mapping):
        candidates = [content, *(content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping))]
        for candidate in candidates:
            if candidate and all(isinstance(value, torch.Tensor) for value in candidate.values()):
                return {str(name): value for name, value in candidate.items()}
    found = f"a dict with {', '.join(map(str, list(content)[:_SHOWN]))}" if isinstance(content, Mapping) else ""
    raise ModelError(
        f"{path.name} holds {found or f'a {type(content).__name__}'}, no weights by name",
        hint="Save `model.state_dict()`, or a `.pt2`: " + SAVE_PT2,
    )


def _load_trusted(path: Path, options: IntakeOptions) -> "nn.Module":
    import torch

    if not options.trust_pickle:
        classes = ", ".join(find_classes(path)) or "unknown classes"
        raise ModelError(
            f"{path.name} is a pickle that runs code as it loads; it wants {classes}",
            hint=f"Save a `.pt2` where the model was made: {SAVE_PT2} If you trust whoever made this file with "
            "everything on this machine, pass `--trust-pickle`.",
        )
    with importable(options.search_path):
        try:
            content = torch.load(path, map_location="cpu", weights_only=False)
        except Exception as error:
            raise ModelError(
                f"{path.name} cannot be unpickled: {first_reason(error)}",
                hint="The classes it wants must be importable from the folder of compress.toml.",
            ) from error
    if not isinstance(content, torch.nn.Module):
        raise ModelError(
            f"{path.name} holds a {type(content).__name__}, not an nn.Module",
            hint="Save `model.state_dict()`, or a `.pt2`: " + SAVE_PT2,
        )
    return content


def find_classes(path: Path) -> list[str]:
    """Return the classes and functions that a ``torch.save`` file wants beyond plain tensors, without loading it."""
    import torch

    content = path.read_bytes()
    wanted = _globals_in(content if is_legacy_torch(content) else open_archive(path).read("data.pkl"))
    known = ("torch._utils.", "collections.OrderedDict", "torch.storage.", "torch.serialization.")
    plain = {f"torch.{name}" for name in vars(torch) if name.endswith("Storage")}
    return sorted(name for name in wanted if not name.startswith(known) and name not in plain)


def _globals_in(pickled: bytes) -> set[str]:
    names: set[str] = set()
    stream = io.BytesIO(pickled)
    while stream.tell() < len(pickled) and stream.getbuffer()[stream.tell()] == 0x80:
        try:
            names |= set(_globals_of_one(stream))
        except ValueError:
            break
    return names


def _globals_of_one(stream: io.BytesIO) -> Iterator[str]:
    texts: list[str] = []
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name == "GLOBAL":
            yield str(argument).replace(" ", ".")
        elif opcode.name == "STACK_GLOBAL" and len(texts) >= 2:
            yield ".".join(texts[-2:])
        elif isinstance(argument, str):
            texts.append(argument)
