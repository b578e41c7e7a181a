"""Which positions of every axis are kept, and the few ways in which a node is changed accordingly."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compress.prune.concrete import Array, Shape
from compress.prune.labels import Ids
from compress.prune.names import free_name
from compress.prune.solver import Classes


@dataclass(frozen=True, slots=True)
class Kept:
    """A graph that is being cut.

    Attributes:
        graph: It is changed in place.
        classes: What is cut together in it.
        removed: For each class, whether it goes.
        names: Of all values and nodes; a new one gets another.
    """

    graph: ir.Graph
    classes: Classes
    removed: NDArray[np.bool_]
    names: set[str]

    def of(self, ids: Ids) -> NDArray[np.bool_]:
        """Return for each label whether it is kept."""
        return ~self.removed[self.classes.of[ids]]

    def mask(self, value: ir.Value | None, axis: int) -> NDArray[np.bool_]:
        """Return for each position of an axis, as it was before, whether it is kept."""
        labels = self.classes.labels
        shape = labels.shape(value)
        assert value is not None  # noqa: S101 - it has a shape
        ids = labels.known(value, axis % len(shape))
        return np.ones(shape[axis], bool) if ids is None else self.of(ids)

    def old_shape(self, value: ir.Value | None) -> Shape:
        """Return the shape of a value before cutting, in the first run."""
        return self.classes.labels.shape(value)

    def new_shape(self, value: ir.Value | None) -> Shape:
        """Return the shape of a value after cutting, in the first run."""
        return tuple(int(self.mask(value, axis).sum()) for axis in range(len(self.old_shape(value))))

    def constant(self, value: ir.Value | None) -> Array:
        """Return what an initializer holds."""
        return self.classes.labels.constant(value)

    def add_constant(self, array: Array, name: str) -> ir.Value:
        """Return a new initializer."""
        name = self.free_name(name)
        value = ir.Value(name=name, const_value=ir.tensor(array, name=name))
        value.shape, value.type = ir.Shape(array.shape), ir.TensorType(ir.DataType.from_numpy(array.dtype))
        self.graph.register_initializer(value)
        return value

    def free_name(self, name: str) -> str:
        """Return a name that neither a value nor a node has; it is taken then."""
        return free_name(name, self.names)

    def set_constant(self, node: ir.Node, index: int, array: Array) -> None:
        """Let a node read a new initializer: the one it reads may be somebody else's too."""
        while len(node.inputs) <= index:
            node.resize_inputs(index + 1)
        old = node.inputs[index]
        stem = f"{node.name}.{index}" if old is None else f"{old.name}.cut"
        node.replace_input_with(index, self.add_constant(array, stem))
