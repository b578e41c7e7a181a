"""What the intake is told, and what it hands on."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compress.errors import ModelError
from compress.model import Model, TensorSpec
from compress.runtimes import Feed

SourceKind = Literal["torch.export", "state-dict", "safetensors", "pickled-module", "torchscript", "onnx"]

Reference = Callable[[Feed], dict[str, NDArray[np.generic]]]
"""Runs the source model itself: inputs by name → outputs by the graph's output names."""


@dataclass(frozen=True, slots=True)
class IntakeOptions:
    """What the user says about the model.

    Attributes:
        inputs: The inputs, from compress.toml, flags or data; empty where the file itself says them.
        factory: ``package.module:callable`` that returns the ``nn.Module`` of a state dict.
        trust_pickle: Whether pickled code of the file may run.
        search_path: Folder put on ``sys.path`` while the factory (or a trusted pickle's classes) is imported.
        opset: ONNX opset that PyTorch models are exported to.
        inputs_of_samples: Whether ``inputs`` are those of the samples and not what the user said: where the file says
            something else, the samples are refused later, by name.
    """

    inputs: tuple[TensorSpec, ...] = ()
    factory: str | None = None
    trust_pickle: bool = False
    search_path: Path | None = None
    opset: int = 20
    inputs_of_samples: bool = False


@dataclass(frozen=True, slots=True)
class Converted:
    """What one source module makes of its file: the graph before it is normalised, and how to run the source."""

    kind: SourceKind
    graph: ir.Model
    reference: Reference
    notes: tuple[str, ...] = ()
    extra_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Intake:
    """A model that was taken in.

    Attributes:
        model: The normalised graph, BatchNormalization folded into the weights before it: what an engine is made of.
        trainable: The same graph with BatchNormalization as operators of its own, where the file has it (TorchScript's
            exporter always folds): what is cut and trained.
        kind: What the file was recognised as.
        path: The file.
        sha256: Digest of that file, hexadecimal.
        bytes: Size of the file and of the external data that belongs to it.
        parameters: Elements of all floating-point initializers of the graph.
        notes: Sentences for the report.
        reference: Runs the source model itself (the PyTorch module, or the ONNX file as it came).
    """

    model: Model
    trainable: Model
    kind: SourceKind
    path: Path
    sha256: str
    bytes: int
    parameters: int
    notes: tuple[str, ...]
    reference: Reference


def inputs_unknown(path: Path) -> ModelError:
    """Return the error for a model whose file does not say what goes in."""
    return ModelError(
        f"{path.name} does not say what its inputs are",
        hint="Say it with `--input image=batch,3,224,224:float32`, or in compress.toml beside the model: "
        '`[model]` and `inputs = { image = { shape = ["batch", 3, 224, 224], dtype = "float32" } }`. '
        "Names in a shape are dynamic, numbers are fixed.",
    )


def check_stated(path: Path, found: tuple[TensorSpec, ...], stated: tuple[TensorSpec, ...]) -> None:
    """Check that inputs as the user states them are those of the file.

    Names may stand for what the file fixes, and numbers for what it leaves open: that is said, and not contradicted.

    Raises:
        ModelError: Another name, type, rank or number.
    """
    known = {spec.name: spec for spec in found}
    for spec in stated:
        own = known.get(spec.name)
        pairs = () if own is None else zip(own.shape, spec.shape, strict=False)
        if own is None or own.dtype != spec.dtype or len(own.shape) != len(spec.shape) or any(map(_differ, pairs)):
            raise ModelError(
                f"{path.name} takes {', '.join(map(str, found))}, and `{spec}` is stated",
                hint="correct --input or [model] in compress.toml, or leave it away where the file itself says it",
            )


def _differ(sizes: tuple[int | str, int | str]) -> bool:
    return all(isinstance(size, int) for size in sizes) and sizes[0] != sizes[1]
