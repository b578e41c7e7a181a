"""What a rule of the checker finds, and what it is told about the place where the graph is to run."""

from dataclasses import dataclass
from typing import Any, Literal

import onnx_ir as ir
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Problem:
    """A node that TensorRT does not take, why, and what to do about it.

    Attributes:
        mistreated: Whether a compiler takes it nevertheless, and computes something else or only in some versions.
    """

    node: str
    reason: str
    fix: str
    mistreated: bool = False

    def __str__(self) -> str:
        return f"node `{self.node}`: {self.reason}"


@dataclass(frozen=True, slots=True)
class Place:
    """The product that compiles the graph, and the GPU's compute capability, (8, 6) for 8.6; None where unknown."""

    product: Literal["tensorrt", "tensorrt_rtx"]
    capability: tuple[int, int] | None

    def is_older_than(self, major: int, minor: int) -> bool:
        """Return whether the GPU is known to be older than a capability."""
        return self.capability is not None and self.capability < (major, minor)


def name_node(node: ir.Node) -> str:
    """Return a node's name, or what tells it apart where it has none."""
    return node.name or f"{node.op_type} → {node.outputs[0].name}"


def read_constant(value: ir.Value | None) -> NDArray[Any] | None:
    """Return the array of a constant, None for what is computed."""
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def read_type(value: ir.Value | None) -> ir.DataType | None:
    """Return the type of a value's elements, None where it is unknown."""
    if value is None:
        return None
    tensor = ir.convenience.get_const_tensor(value)
    return value.dtype if tensor is None else tensor.dtype
