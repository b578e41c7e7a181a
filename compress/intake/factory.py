"""The user's own model code: ``package.module:callable`` that returns an ``nn.Module``."""

import contextlib
import importlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from compress.errors import ModelError
from compress.quiet import first_reason

if TYPE_CHECKING:
    from torch import Tensor, nn

_SHOWN = 5
_FORM = "Give `--factory package.module:callable`, a callable without arguments that returns the nn.Module."
_BUFFERS = ("num_batches_tracked",)


def build_module(factory: str, search_path: Path | None) -> "nn.Module":
    """Return the module that the factory makes.

    Raises:
        ModelError: Not of the form ``package.module:callable``, not importable, or not an ``nn.Module``.
    """
    from torch import nn

    name, separator, attribute = factory.partition(":")
    if not separator or not name or not attribute:
        raise ModelError(f"factory `{factory}` is not of the form package.module:callable", hint=_FORM)
    with importable(search_path):
        make = _find_callable(factory, name, attribute, search_path)
        try:
            module = make()
        except Exception as error:
            raise ModelError(f"factory `{factory}` failed: {first_reason(error)}", hint=_FORM) from error
    if not isinstance(module, nn.Module):
        raise ModelError(f"factory `{factory}` returned a {type(module).__name__}, not an nn.Module", hint=_FORM)
    return module


def load_weights(module: "nn.Module", weights: Mapping[str, "Tensor"], factory: str) -> "nn.Module":
    """Return the module in evaluation mode with exactly these weights.

    Raises:
        ModelError: Names or shapes that differ; the message lists the first few.
    """
    own = module.state_dict()
    missing = [name for name in own if name not in weights and not name.endswith(_BUFFERS)]
    unexpected = [name for name in weights if name not in own]
    if missing or unexpected:
        parts = [_list_names("it lacks", missing), _list_names("it has, and the module has not,", unexpected)]
        raise ModelError(
            f"the weights do not fit the module of `{factory}`: {'; '.join(part for part in parts if part)}",
            hint="Make the factory build the very architecture that was trained (same widths, same names).",
        )
    for name, tensor in weights.items():
        if tensor.shape != own[name].shape:
            raise ModelError(
                f"weight `{name}` is {list(tensor.shape)} in the file and {list(own[name].shape)} in `{factory}`",
                hint="Make the factory build the very architecture that was trained (same widths, same classes).",
            )
    module.load_state_dict(dict(weights), strict=False)
    return module.eval()


@contextlib.contextmanager
def importable(folder: Path | None) -> Iterator[None]:
    """Put a folder first on ``sys.path`` for a while."""
    if folder is None:
        yield
        return
    entry = str(folder.resolve())
    sys.path.insert(0, entry)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(entry)


def _find_callable(factory: str, name: str, attribute: str, search_path: Path | None) -> "type[nn.Module]":
    try:
        found: object = importlib.import_module(name)
    except Exception as error:
        where = f" (looked in {search_path} first)" if search_path is not None else ""
        raise ModelError(
            f"factory `{factory}` cannot be imported: {first_reason(error)}{where}",
            hint="Run from the folder that holds the package, or put compress.toml there.",
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ModelError(f"module `{name}` has no `{attribute}` (factory `{factory}`)", hint=_FORM)
        found = getattr(found, part)
    if not callable(found):
        raise ModelError(f"factory `{factory}` is a {type(found).__name__}, not a callable", hint=_FORM)
    return found  # type: ignore[return-value]


def _list_names(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{what} {', '.join(names[:_SHOWN])}{more}"
