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
    """

    inputs: tuple[TensorSpec, ...] = ()
    factory: str | None = None
    trust_pickle: bool = False
    search_path: Path | None = None
    opset: int = 20


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
