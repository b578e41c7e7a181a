"""One graph that runs a quantized model beside its float twin and gives the noise of every layer as a few numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compress.errors import ModelError
from compress.model import Model
from compress.quantize.layers import (
    FloatConstants,
    Layer,
    behind_requantization,
    dequantized,
    is_requantized,
    is_stored,
)
from compress.quantize.plan import fused_output

Power = Literal["signal", "layer", "weight", "input", "output", "arriving"]
"""A sum of squares at the output of a layer, over all elements.

``signal``: the float output. The others are errors against it: ``layer`` with this layer alone quantized (input, weight
and output), ``weight`` with its weight only, ``input`` with its inputs only, ``output`` with its output only;
``arriving`` with the whole model quantized.
"""

POWERS: Final = get_args(Power)
_AXES_ARE_AN_INPUT: Final = 18
"""From this opset on ReduceMax takes its axes as an input."""
_TOKENS_RANK: Final = 3
"""Rank of [batch, tokens, channels]."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A graph to run as it is written (not fused into integer kernels), and what its outputs mean.

    Attributes:
        model: With scalars and channel ranges as its only outputs.
        powers: Name of the output by layer and power; a power that a layer cannot have is not there.
        peaks: Name of the output [channels] with the largest magnitude of each channel of the float output, by layer.
    """

    model: bytes
    powers: Mapping[tuple[str, Power], str]
    peaks: Mapping[str, str]

    @property
    def outputs(self) -> tuple[str, ...]:
        """All outputs."""
        return (*self.powers.values(), *self.peaks.values())


def build_probe(model: Model, layers: Sequence[Layer], constants: FloatConstants) -> Probe:
    """Return the probe of a quantized model.

    Raises:
        ModelError: The model has control flow (If, Loop, Scan): its bodies have no twin.
    """
    return _Builder(model, layers, constants).build()


class _Builder:
    def __init__(self, model: Model, layers: Sequence[Layer], constants: FloatConstants) -> None:
        self._model = model.copy_graph()
        self._graph = self._model.graph
        self._layers = {layer.name: layer for layer in layers}
        self._constants = constants
        self._twins: dict[ir.Value, ir.Value] = {}
        self._powers: dict[tuple[str, Power], ir.Value] = {}
        self._peaks: dict[str, ir.Value] = {}
        self._made = 0

    def build(self) -> Probe:
        nodes = list(self._graph)
        for node in nodes:
            self._check(node)
            self._add_twin(node)
        for node in nodes:
            layer = self._layers.get(str(node.name))
            if layer is not None:
                self._measure(node, layer)
        self._graph.outputs.clear()
        self._graph.outputs.extend([*self._powers.values(), *self._peaks.values()])
        serialized = bytes(ir.to_proto(self._model).SerializeToString())
        powers = {key: str(value.name) for key, value in self._powers.items()}
        return Probe(serialized, powers, {key: str(value.name) for key, value in self._peaks.items()})

    @staticmethod
    def _check(node: ir.Node) -> None:
        if any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in node.attributes.values()):
            raise ModelError(
                f"the layers of this model cannot be diagnosed: {node.op_type} `{node.name}` has a body of its own",
                hint="export the model without control flow",
            )

    def _add_twin(self, node: ir.Node) -> None:
        """Give the outputs of a node their values in the float twin; what nothing quantized reaches is its own."""
        if node.op_type == "QuantizeLinear":
            return
        if is_requantized(node.outputs[0]):
            self._twins[node.outputs[0]] = self._twin(behind_requantization(node.outputs[0]))
        elif is_stored(node.outputs[0]):
            self._twins[node.outputs[0]] = self._float_constant(node.outputs[0])
        elif any(value is not None and self._twin(value) is not value for value in node.inputs):
            copies = self._copy(node, [None if value is None else self._twin(value) for value in node.inputs])
            self._twins.update(zip(node.outputs, copies, strict=True))

    def _twin(self, value: ir.Value) -> ir.Value:
        return self._twins.get(value, value)

    def _float_constant(self, value: ir.Value) -> ir.Value:
        reader, index = next(iter(value.uses()))
        array = self._constants.get((str(reader.name), index))
        return self._constant(dequantized(value) if array is None else array)

    def _measure(self, node: ir.Node, layer: Layer) -> None:
        output = fused_output(node)
        float_output = self._twin(output)
        stored = [index for index, value in enumerate(node.inputs) if is_stored(value)]
        self._add_power(layer, "signal", float_output)
        whole = self._variant(node, output, {*layer.inputs, *stored})
        after = next((use.node for use in output.uses() if use.node.op_type == "QuantizeLinear"), None)
        if after is not None:
            arrived = _reader(after).outputs[0]
            whole = self._through(after, whole)
            self._add_error(layer, "output", self._through(after, float_output), float_output)
        else:
            arrived = output
        self._add_error(layer, "layer", whole, float_output)
        self._add_error(layer, "arriving", arrived, float_output)
        self._add_error(layer, "input", self._variant(node, output, set(layer.inputs)), float_output)
        if stored:
            self._add_error(layer, "weight", self._variant(node, output, set(stored)), float_output)
        self._add_peak(layer, node, output)

    def _variant(self, node: ir.Node, output: ir.Value, quantized: set[int]) -> ir.Value:
        """Return the output of a layer on the twin's activations with the inputs at these positions quantized."""
        inputs: list[ir.Value | None] = []
        for index, value in enumerate(node.inputs):
            if value is None or index not in quantized:
                inputs.append(None if value is None else self._twin(value))
            elif is_stored(value):
                inputs.append(value)
            else:
                dequantize = value.producer()
                quantize = (
                    None if dequantize is None or dequantize.inputs[0] is None else dequantize.inputs[0].producer()
                )
                assert quantize is not None  # noqa: S101 - see find_layers
                inputs.append(self._through(quantize, self._twin(value)))
        result = self._copy(node, inputs)[0]
        activation = output.producer()
        if activation is not None and activation is not node:
            result = self._copy(activation, [result, *activation.inputs[1:]])[0]
        return result

    def _through(self, quantize: ir.Node, value: ir.Value) -> ir.Value:
        """Return a value after the Q of a node and the DQ behind it."""
        dequantize = _reader(quantize)
        codes = self._copy(quantize, [value, *quantize.inputs[1:]])[0]
        return self._copy(dequantize, [codes, *dequantize.inputs[1:]])[0]

    def _add_error(self, layer: Layer, power: Power, value: ir.Value, reference: ir.Value) -> None:
        self._add_power(layer, power, self._new("Sub", [value, reference]))

    def _add_power(self, layer: Layer, power: Power, value: ir.Value) -> None:
        self._powers[layer.name, power] = self._new("ReduceSumSquare", [value], keepdims=0)

    def _add_peak(self, layer: Layer, node: ir.Node, output: ir.Value) -> None:
        """Add the largest magnitude in each channel, [channels], where it is known which axis the channels are on."""
        magnitudes = self._new("Abs", [self._twin(output)])
        if layer.op in ("MatMul", "Gemm") or (output.shape is not None and len(output.shape) == _TOKENS_RANK):
            size = _last_size(node, output)
            if size is None:
                return
            shape = self._constant(np.array([-1, size], np.int64))
            self._peaks[layer.name] = self._reduce_max(self._new("Reshape", [magnitudes, shape]), 0)
        else:
            rows = self._new("Flatten", [self._reduce_max(magnitudes, 0)], axis=1)
            self._peaks[layer.name] = self._reduce_max(rows, 1)

    def _reduce_max(self, value: ir.Value, axis: int) -> ir.Value:
        if self._model.opset_imports.get("", 0) >= _AXES_ARE_AN_INPUT:
            return self._new("ReduceMax", [value, self._constant(np.array([axis], np.int64))], keepdims=0)
        return self._new("ReduceMax", [value], keepdims=0, axes=[axis])

    def _constant(self, array: NDArray[np.generic]) -> ir.Value:
        name = self._name("constant")
        tensor = ir.tensor(array, name=name)
        value = ir.Value(name=name, const_value=tensor, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype))
        self._graph.register_initializer(value)
        return value

    def _copy(self, node: ir.Node, inputs: Sequence[ir.Value | None]) -> tuple[ir.Value, ...]:
        outputs = [ir.Value(name=self._name(str(value.name))) for value in node.outputs]
        attributes = list(node.attributes.values())
        copy = ir.Node(node.domain, node.op_type, inputs, attributes, outputs=outputs, name=self._name(str(node.name)))
        self._graph.append(copy)
        return tuple(outputs)

    def _new(self, op: str, inputs: Sequence[ir.Value], **attributes: int | list[int]) -> ir.Value:
        written = [ir.AttrInt64s(k, v) if isinstance(v, list) else ir.AttrInt64(k, v) for k, v in attributes.items()]
        value = ir.Value(name=self._name("value"))
        self._graph.append(ir.Node("", op, inputs, written, outputs=[value], name=self._name(op)))
        return value

    def _name(self, stem: str) -> str:
        self._made += 1
        return f"probe {self._made} {stem}"


def _reader(node: ir.Node) -> ir.Node:
    return next(iter(node.outputs[0].uses())).node


def _last_size(node: ir.Node, output: ir.Value) -> int | None:
    """Return the number of channels on the last axis of a layer's output."""
    if output.shape is not None and isinstance(output.shape[-1], int):
        return output.shape[-1]
    weight = node.inputs[1].producer() if len(node.inputs) > 1 and node.inputs[1] is not None else None
    stored = None if weight is None or weight.inputs[0] is None else weight.inputs[0].const_value
    if stored is None:
        return None
    return int(stored.numpy().shape[0 if node.attributes.get_int("transB", 0) else -1])
