"""What each operator computes, in small files by family.

A family module has a literal ``OPERATORS`` dict from operator name to *factory*. A factory reads the attributes of one
node once and returns the *kernel* that is called at every step with the node's inputs (None for an absent one). An
attribute that a factory does not read is an error: an ignored attribute is a wrong answer.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import onnx_ir as ir
from torch import Tensor

from compress.errors import CompressError
from compress.torchnet.attributes import Attributes

Kernel = Callable[..., Any]
"""Takes one tensor (or None, or a list of tensors for a sequence) an input; returns one output, or a tuple of them."""

FAMILIES: tuple[str, ...] = (
    "activation",
    "attention",
    "contrib",
    "control",
    "convolution",
    "creation",
    "detection",
    "elementwise",
    "indexing",
    "integer",
    "logic",
    "loss",
    "matmul",
    "normalization",
    "padding",
    "pooling",
    "quantization",
    "random",
    "recurrent",
    "reduction",
    "resize",
    "sampling",
    "sequence",
    "shape",
    "signal",
)


class OperatorError(CompressError):
    """A graph that cannot be run in PyTorch: operators, attributes or types that are not there."""


class Body(Protocol):
    """A subgraph that a kernel can run."""

    @property
    def results(self) -> int:
        """How many outputs it has."""
        ...

    def __call__(self, *inputs: Any) -> tuple[Any, ...]:
        """Return its outputs for the values of its inputs, then those of the outer scope."""
        ...

    def nothing(self, index: int) -> Tensor:
        """Return what an output is when it was computed no times and stacked: [0, …] in its type."""
        ...


@dataclass(frozen=True, slots=True)
class Node:
    """What a factory may know of its node.

    Attributes:
        domain: Operator domain, empty for ONNX's own.
        opset: Version of the operator's own domain in this graph.
        present: For each input position, whether there is an input.
        types: For each input position, the element type where the graph says it.
        outputs: For each output position, whether somebody reads it.
        subgraphs: Bodies of control flow by attribute name. The kernel gets the values that they read from outside
            after the node's own inputs.
    """

    name: str
    op_type: str
    opset: int
    present: tuple[bool, ...]
    outputs: tuple[bool, ...]
    attributes: Attributes
    subgraphs: Mapping[str, "Body"]
    types: tuple[ir.DataType | None, ...] = ()
    domain: str = ""

    def type_of(self, index: int) -> ir.DataType | None:
        """Return the element type of an input, or None where the graph does not say it."""
        return self.types[index] if index < len(self.types) else None


Factory = Callable[[Node], Kernel]


@cache
def operators() -> dict[str, Factory]:
    """Return all operators by name (those of other domains as ``domain::Name``)."""
    found: dict[str, Factory] = {}
    for family in FAMILIES:
        found.update(importlib.import_module(f"{__name__}.{family}").OPERATORS)
    return found


def operator_key(domain: str, op_type: str) -> str:
    """Return the name under which an operator is found."""
    return op_type if domain in ("", "ai.onnx") else f"{domain}::{op_type}"
