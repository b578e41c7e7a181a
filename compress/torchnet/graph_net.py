"""The module: an ONNX graph that PyTorch runs and trains."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from compress.errors import DataError, suggest
from compress.model import Model
from compress.torchnet.constants import constant_of, named_constants, to_constant, to_tensor
from compress.torchnet.operators import Kernel, OperatorError
from compress.torchnet.pairs import fuse_pairs
from compress.torchnet.placement import Schedule, remember, schedule
from compress.torchnet.program import ABSENT, NEVER_FOLDED, Call, Program, compile_graph, run_calls
from compress.torchnet.roles import trainable_initializers
from compress.torchnet.sharing import running_statistics, untie


class GraphNet(nn.Module):
    """Runs the graph of a model; its trained initializers are parameters under their own names.

    Everything that depends on constants alone is computed once, when the module is made. The module is made in
    evaluation mode; after ``net.train()``, BatchNormalization normalises with the batch's statistics and updates the
    running ones, as ``nn.BatchNorm2d`` does.

    Attributes:
        inputs: Names of the graph's inputs.
        outputs: Names of the graph's outputs, then of the observed values.
        initializer_names: For each name of ``named_parameters()``, that of the initializer.
        statistic_names: For each buffer of running statistics, the name of the initializer.
    """

    def __init__(
        self,
        model: Model,
        *,
        trainable: Iterable[str] | None = None,
        observe: Iterable[str] = (),
        kernels: Mapping[str, Kernel] | None = None,
    ) -> None:
        """Make the module.

        Args:
            model: Its graph is read, never changed.
            trainable: Names of initializers; those that have the role of weights where None.
            observe: Names of intermediate values that :meth:`forward` returns too.
            kernels: What nodes of some names compute, instead of what their operator does.

        Raises:
            OperatorError: The graph has operators or attributes that cannot be run here, or a name is not in it.
        """
        super().__init__()
        copy = model.copy_graph()
        untie(copy.graph)
        fuse_pairs(copy.graph)
        self.inputs = tuple(str(value.name) for value in copy.graph.inputs)
        self.outputs = tuple(dict.fromkeys((*(str(value.name) for value in copy.graph.outputs), *observe)))
        self.initializer_names: dict[str, str] = {}
        self.statistic_names: dict[str, str] = {}
        self._constant_slots: dict[str, int] = {}
        self._parameter_slots: dict[str, int] = {}
        self._plain_constants: dict[int, Any] = {}
        self._plans: dict[tuple[Any, ...], dict[int, Any]] = {}
        self._calls: tuple[Call, ...] = ()
        self._program: Program = compile_graph(copy.graph, copy.opset_imports, self.outputs)
        _check_known("value", self.outputs, self._program.slots)
        self._output_slots = tuple(self._program.slots[name] for name in self.outputs)
        constants = named_constants(copy.graph)
        trained = trainable_initializers(copy.graph) if trainable is None else tuple(trainable)
        _check_known("initializer", trained, constants)
        tensors = {name: to_tensor(constant_of(value)) for name, value in constants.items()}
        self._register(tensors, set(trained), running_statistics(copy.graph))
        self._calls = _exchange_kernels(self._fold(), kernels or {})
        self._schedule = self._arrange()
        self.eval()

    def forward(self, feed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return outputs and observed values by name for inputs by name.

        Raises:
            DataError: An input is missing.
        """
        values = self._slots_with_constants()
        for key, slot in self._parameter_slots.items():
            values[slot] = self._parameters[key]
        for name in self.inputs:
            if name not in feed:
                raise DataError(f"input `{name}` is missing", hint=f"Given are: {', '.join(feed) or 'none'}.")
            values[self._program.slots[name]] = feed[name]
        self._run(values, tuple(_kind(feed[name]) for name in self.inputs))
        return {name: values[slot] for name, slot in zip(self.outputs, self._output_slots, strict=True)}

    def _run(self, values: list[Any], kinds: tuple[Any, ...]) -> None:
        """Execute the calls; those that depend on nothing but the shapes of the inputs only once for each."""
        if torch.compiler.is_exporting():
            # A trace has symbols for shapes: nothing can be looked up by them, and nothing of them may be remembered.
            run_calls(self._schedule.calls, values)
            return
        key = (*kinds, torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda"))
        plan = self._plans.get(key)
        if plan is not None:
            for slot, value in plan.items():
                values[slot] = value
            run_calls(self._schedule.planned, values)
            return
        run_calls(self._schedule.calls, values)
        # A tensor that is made in inference mode can never be trained with.
        if self._schedule.shapes and not torch.is_inference_mode_enabled():
            while len(self._plans) >= _PLANS:
                del self._plans[next(iter(self._plans))]
            self._plans[key] = {slot: remember(values[slot]) for slot in self._schedule.shapes}

    def train(self, mode: bool = True) -> Self:
        """Switch the module and those kernels that compute something else in training."""
        for call in self._calls:
            if hasattr(call.kernel, "training"):
                call.kernel.training = mode
        return super().train(mode)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self._plans.clear()
        return super()._apply(fn, recurse)  # type: ignore[no-any-return, no-untyped-call]

    def write_back(self, model: Model) -> Model:
        """Return a copy of a model with the values of this module in its initializers, by name, in their own types.

        Written are the parameters and the running statistics.

        Raises:
            OperatorError: The model has no initializer of that name.
        """
        graph = model.copy_graph()
        untie(graph.graph)
        constants = named_constants(graph.graph)
        tensors = {**self._parameters, **self._buffers}
        for key, name in {**self.initializer_names, **self.statistic_names}.items():
            _check_known("initializer", [name], constants)
            value, tensor = constants[name], tensors[key]
            assert tensor is not None  # noqa: S101 - registered with a value
            value.const_value = to_constant(tensor, constant_of(value))
        return Model.from_ir(graph, model.history)

    def _register(self, tensors: Mapping[str, Tensor], trained: set[str], statistics: set[str]) -> None:
        for name, tensor in tensors.items():
            slot = self._program.constants[name]
            if name in trained:
                if not tensor.is_floating_point():
                    raise OperatorError(
                        f"initializer `{name}` holds {tensor.dtype}, which has no gradient",
                        hint="Only float initializers can be trained.",
                    )
                key = self._free_key(name)
                self.register_parameter(key, nn.Parameter(tensor))
                self._parameter_slots[key] = slot
                self.initializer_names[key] = name
            elif name in statistics:
                key = self._free_key(name)
                self.register_buffer(key, tensor)
                self._constant_slots[key] = slot
                self.statistic_names[key] = name
            else:
                self._keep(slot, tensor)

    def _free_key(self, name: str) -> str:
        """Return a name with what PyTorch does not take replaced: a dot would be a sub-module."""
        key = name.replace(".", "/")
        while not key or hasattr(self, key):
            key += "_"
        return key

    def _keep(self, slot: int, constant: Any) -> None:
        """Keep a constant: a tensor as a buffer, so that it moves with the module, anything else as it is."""
        if not isinstance(constant, Tensor):
            self._plain_constants[slot] = constant
            return
        key = f"constant {slot}"
        self.register_buffer(key, constant, persistent=False)
        self._constant_slots[key] = slot

    def _slots_with_constants(self) -> list[Any]:
        values: list[Any] = [None] * self._program.size
        for key, slot in self._constant_slots.items():
            values[slot] = self._buffers[key]
        for slot, constant in self._plain_constants.items():
            values[slot] = constant
        return values

    def _fold(self) -> tuple[Call, ...]:
        """Execute what depends on constants alone, keep what others read, and return the calls that remain."""
        values = self._slots_with_constants()
        known = {ABSENT, *self._constant_slots.values()}
        known -= {self._constant_slots[key] for key in self.statistic_names}
        remaining: list[Call] = []
        with torch.no_grad():
            for call in self._program.calls:
                if known.issuperset(call.reads) and call.op_type not in NEVER_FOLDED:
                    run_calls([replace(call, frees=())], values)
                    known.update(call.writes)
                else:
                    remaining.append(call)
        needed = {slot for call in remaining for slot in call.reads} | set(self._output_slots)
        for key, slot in tuple(self._constant_slots.items()):
            if slot not in needed and key not in self.statistic_names:
                del self._buffers[key], self._constant_slots[key]
        for slot in sorted(known & needed - {ABSENT, *self._constant_slots.values()}):
            self._keep(slot, values[slot])
        return tuple(remaining)

    def _arrange(self) -> Schedule:
        """Return when each call is needed, and take the constants that Python reads out of the buffers."""
        statistics = {self._constant_slots[key] for key in self.statistic_names}
        sizes = {
            slot: tensor.numel()
            for key, slot in self._constant_slots.items()
            if slot not in statistics and (tensor := self._buffers[key]) is not None
        }
        given = {*self._parameter_slots.values(), *(self._program.slots[name] for name in self.inputs), *statistics}
        arranged = schedule(self._calls, sizes, given, self._output_slots)
        for key, slot in tuple(self._constant_slots.items()):
            if slot in arranged.hosted:
                tensor = self._buffers[key]
                assert tensor is not None  # noqa: S101 - registered with a value
                del self._buffers[key], self._constant_slots[key]
                self._plain_constants[slot] = remember(tensor)
        return arranged


_PLANS = 16
"""Shapes of the inputs for which the shapes in between are remembered; the oldest is forgotten first."""


def _kind(given: Any) -> tuple[tuple[int, ...], str] | None:
    """Return shape and type as what `torch.compile` can look up."""
    return (tuple(given.shape), str(given.dtype)) if isinstance(given, Tensor) else None


def _exchange_kernels(calls: tuple[Call, ...], kernels: Mapping[str, Kernel]) -> tuple[Call, ...]:
    _check_known("node", kernels, {call.name for call in calls})
    return tuple(replace(call, kernel=kernels.get(call.name, call.kernel)) for call in calls)


def _check_known(kind: str, names: Iterable[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            raise OperatorError(f"the graph has no {kind} `{name}`", hint=suggest(name, known))
