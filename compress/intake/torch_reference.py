"""The source model itself, run in PyTorch: what the exported graph is compared with."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from compress.errors import ModelError
from compress.intake.source import Reference
from compress.quiet import first_reason, quiet
from compress.runtimes import Feed

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.export import ExportedProgram

    from compress.intake.export import Exported


def program_reference(program: "ExportedProgram", exported: "Exported") -> Reference:
    """Return a function that runs the exported program."""
    from torch.export.graph_signature import ConstantArgument, InputKind
    from torch.utils import _pytree as pytree

    with quiet():
        try:
            module = program.module()
        except Exception as error:
            raise ModelError(
                f"the exported program is inconsistent: {first_reason(error)}",
                hint="Save it again with `torch.export.save(program, 'model.pt2')`, torch 2.9 or newer.",
            ) from error
    arguments = [spec.arg for spec in program.graph_signature.input_specs if spec.kind is InputKind.USER_INPUT]

    def run(feed: Feed) -> dict[str, NDArray[np.generic]]:
        tensors = iter(_tensors(feed, exported.input_names))
        leaves = [spec.value if isinstance(spec, ConstantArgument) else next(tensors) for spec in arguments]
        args, kwargs = pytree.tree_unflatten(leaves, program.call_spec.in_spec)
        return _run(module, args, kwargs, exported.output_names)

    return run


def module_reference(module: "nn.Module", names: Sequence[str], outputs: Sequence[str], *, by_name: bool) -> Reference:
    """Return a function that runs a module (or a scripted one) on inputs in the order of ``names``."""

    def run(feed: Feed) -> dict[str, NDArray[np.generic]]:
        tensors = _tensors(feed, names)
        if by_name:
            return _run(module, (), dict(zip(names, tensors, strict=True)), outputs)
        return _run(module, tuple(tensors), {}, outputs)

    return run


def flatten_tensors(result: object) -> list["Tensor"]:
    """Return the tensors in whatever a model returned, in PyTorch's order."""
    import torch
    from torch.utils import _pytree as pytree

    return [leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, torch.Tensor)]


def _tensors(feed: Feed, names: Sequence[str]) -> list["Tensor"]:
    import torch

    missing = [name for name in names if name not in feed]
    if missing:
        raise ModelError(
            f"the samples lack the model's input `{missing[0]}`", hint=f"The model takes: {', '.join(names)}."
        )
    return [torch.from_numpy(np.array(feed[name])) for name in names]


def _run(
    module: "nn.Module", args: tuple[Any, ...], kwargs: dict[str, Any], outputs: Sequence[str]
) -> dict[str, NDArray[np.generic]]:
    import torch

    try:
        with torch.no_grad():
            results = flatten_tensors(module(*args, **kwargs))
    except Exception as error:
        raise ModelError(
            f"the source model cannot run these samples: {first_reason(error)}",
            hint="Check that the samples have the shape and type of the model's inputs.",
        ) from error
    if len(results) != len(outputs):
        raise ModelError(
            f"the model returned {len(results)} tensors, its graph has {len(outputs)} outputs",
            hint="Return the same tensors every time, and no tensor twice.",
        )
    return {name: result.detach().cpu().numpy() for name, result in zip(outputs, results, strict=True)}
