"""What flows down the line: a graph, what goes in and out of it, and what was done to it."""

import hashlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import onnx_ir as ir

# The library logs a traceback for every graph that it leaves as it is; who set up logging still gets it.
logging.getLogger("onnx_ir").addHandler(logging.NullHandler())

JsonValue = str | int | float | bool | None | list["JsonValue"] | dict[str, "JsonValue"]

Dimension = int | str
"""A fixed size, or the name of a dynamic one (``"batch"``)."""

BATCH = "batch"


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, element type and shape of a model input or output.

    Attributes:
        name: The graph's name of it, ``"image"``.
        dtype: NumPy's name of the element type, ``"float32"``.
        shape: ``("batch", 3, 224, 224)``: numbers are fixed, names are dynamic.
    """

    name: str
    dtype: str
    shape: tuple[Dimension, ...]

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{', '.join(str(size) for size in self.shape)}]"

    @property
    def has_dynamic_batch(self) -> bool:
        """Whether the first axis is dynamic."""
        return bool(self.shape) and isinstance(self.shape[0], str)


@dataclass(frozen=True, slots=True)
class StepRecord:
    """What one step did: its settings, how long it took in seconds, what it measured, digests before and after."""

    step: str
    settings: Mapping[str, JsonValue]
    seconds: float
    metrics: Mapping[str, JsonValue]
    input_digest: str
    output_digest: str


@dataclass(frozen=True, slots=True)
class Model:
    """An ONNX graph in memory with its interface and its history: the one thing that flows.

    Steps never change the graph of the model they are given: they work on :meth:`copy_graph`.
    """

    graph: ir.Model
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    history: tuple[StepRecord, ...] = field(default=())

    @classmethod
    def from_ir(cls, graph: ir.Model, history: tuple[StepRecord, ...] = ()) -> "Model":
        """Return the model of a graph, its interface read from the graph."""
        return cls(graph, _specs(graph.graph.inputs), _specs(graph.graph.outputs), history)

    @classmethod
    def from_bytes(cls, serialized: bytes, history: tuple[StepRecord, ...] = ()) -> "Model":
        """Return the model of a serialized ``ModelProto`` without external data."""
        import onnx

        return cls.from_ir(ir.from_proto(onnx.ModelProto.FromString(serialized)), history)

    def to_bytes(self) -> bytes:
        """Return the graph as a serialized ``ModelProto``; equal graphs give equal bytes."""
        return bytes(ir.to_proto(self.graph).SerializeToString(deterministic=True))

    def digest(self) -> str:
        """Return the SHA-256 of :meth:`to_bytes` in hexadecimal."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def copy_graph(self) -> ir.Model:
        """Return a copy of the graph that a step may change; tensors are shared, not copied."""
        return self.graph.clone()

    def with_record(self, record: StepRecord) -> "Model":
        """Return this model with one more step in its history."""
        return replace(self, history=(*self.history, record))


def _specs(values: Iterable[ir.Value]) -> tuple[TensorSpec, ...]:
    return tuple(_spec(value) for value in values)


def _spec(value: ir.Value) -> TensorSpec:
    shape = () if value.shape is None else value.shape
    dims = tuple(
        size if isinstance(size, int) else (size.value or f"{value.name}_{axis}") for axis, size in enumerate(shape)
    )
    dtype = "float32" if value.dtype is None else value.dtype.numpy().name
    return TensorSpec(value.name or "", dtype, dims)
