"""The module: an ONNX graph that PyTorch runs and trains."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, nn

from compress.model import Model
from compress.torchnet.program import Call, Program, compile_graph
from compress.torchnet.roles import trainable_initializers


class GraphNet(nn.Module):
    """Runs the graph of a model; its trained initializers are parameters under their own names.

    Everything that depends on constants alone is computed once, when the module is made.

    Attributes:
        inputs: Names of the graph's inputs.
        outputs: Names of the graph's outputs, then of the observed values.
    """

    def __init__(self, model: Model, *, trainable: Iterable[str] | None = None, observe: Iterable[str] = ()) -> None:
        """Make the module.

        Args:
            model: Its graph is read, never changed.
            trainable: Names of initializers; those that have the role of weights where None.
            observe: Names of intermediate values that :meth:`forward` returns too.

        Raises:
            OperatorError: The graph has operators or attributes that cannot be run here.
        """
        super().__init__()
        graph = model.graph.graph
        self.inputs = tuple(spec.name for spec in model.inputs)
        self.outputs = (*(spec.name for spec in model.outputs), *observe)
        self._program: Program = compile_graph(graph, model.graph.opset_imports, self.outputs)
        trained = set(trainable_initializers(graph) if trainable is None else trainable)
        self._parameter_slots: dict[str, int] = {}
        self._constant_slots: dict[str, int] = {}
        self.initializer_names: dict[str, str] = {}
        self._register(graph, trained)
        self._calls: tuple[Call, ...] = self._fold()

    def _register(self, graph: ir.Graph, trained: set[str]) -> None:
        for name, value in graph.initializers.items():
            # A dot would be a sub-module to PyTorch; the original name is kept beside.
            key = name.replace(".", "/")
            tensor = to_tensor(value.const_value)
            slot = self._program.slots[name]
            if name in trained:
                self.register_parameter(key, nn.Parameter(tensor))
                self._parameter_slots[key] = slot
                self.initializer_names[key] = name
            else:
                self._keep(slot, tensor)

    def _keep(self, slot: int, constant: Any) -> None:
        """Keep a constant: a tensor as a buffer, so that it moves with the module, anything else as it is."""
        key = f"constant {slot}"
        if isinstance(constant, Tensor):
            self.register_buffer(key, constant, persistent=False)
        else:
            setattr(self, key, constant)
        self._constant_slots[key] = slot

    def _fold(self) -> tuple[Call, ...]:
        """Execute what depends on constants alone, keep what others read, and return the calls that remain."""
        values: list[Any] = [None] * len(self._program.slots)
        known = set(self._constant_slots.values())
        for key, slot in self._constant_slots.items():
            values[slot] = getattr(self, key)
        remaining: list[Call] = []
        with torch.no_grad():
            for call in self._program.calls:
                if all(slot is None or slot in known for slot in call.reads) and call.op_type not in _NEVER_FOLDED:
                    self._program.run(values, [Call(call.name, call.op_type, call.kernel, call.reads, call.writes, ())])
                    known.update(slot for slot in call.writes if slot is not None)
                else:
                    remaining.append(call)
        needed = {slot for call in remaining for slot in call.reads if slot is not None}
        needed.update(self._program.slots[name] for name in self.outputs)
        for slot in sorted((known & needed) - set(self._constant_slots.values())):
            self._keep(slot, values[slot])
        return tuple(remaining)

    def forward(self, feed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return outputs and observed values by name for inputs by name."""
        values: list[Any] = [None] * len(self._program.slots)
        for key, slot in self._constant_slots.items():
            values[slot] = getattr(self, key)
        for key, slot in self._parameter_slots.items():
            values[slot] = getattr(self, key)
        for name in self.inputs:
            values[self._program.slots[name]] = feed[name]
        self._program.run(values, self._calls)
        return {name: values[self._program.slots[name]] for name in self.outputs}

    def write_back(self, model: Model) -> Model:
        """Return a copy of a model with this module's parameters in its initializers, by name, in their own types."""
        graph = model.copy_graph()
        for key, name in self.initializer_names.items():
            value = graph.graph.initializers[name]
            old = value.const_value
            trained = getattr(self, key).detach().to("cpu", torch.float32).numpy()
            dtype = trained.dtype if old is None else old.dtype.numpy()
            value.const_value = ir.tensor(np.ascontiguousarray(trained.astype(dtype)).reshape(trained.shape), name=name)
        return Model.from_ir(graph, model.history)


_NEVER_FOLDED = frozenset({"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli"})


def to_tensor(constant: ir.TensorProtocol | None) -> Tensor:
    """Return a tensor with memory of its own: that of a file may be read-only and unaligned, which is slower."""
    if constant is None:
        raise ValueError("an initializer without a value")
    array = constant.numpy()
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.astype(np.float32)).to(torch.bfloat16)
    return torch.from_numpy(np.array(array, order="C", copy=True))
