"""Write a plan into a graph: QuantizeLinear/DequantizeLinear on activations, integer initializers for weights."""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compress.quantize.dialects import Dialect
from compress.quantize.plan import Edge, Plan, WeightUse
from compress.quantize.ranges import Quantization
from compress.quantize.weights import quantize_bias, quantize_weight, safe_weight_scale, weight_scale

_ARRAY = NDArray[np.generic]


def insert_qdq(graph: ir.Graph, plan: Plan, dialect: Dialect, activations: Mapping[str, Quantization]) -> None:
    """Change the graph as the plan says.

    Args:
        graph: The graph that the plan was made for; changed in place.
        plan: Where Q/DQ go.
        dialect: In what form.
        activations: Scale and zero point of each value of ``plan.activations()``, by the name of its scale source.
    """
    writer = _Writer(graph, dialect)
    input_scales = {
        use.node: activations[str(plan.scale_source(_input(use.node, 0)).name)].scale for use in plan.weights
    }
    for use in plan.weights:
        writer.write_weight(use, input_scales[use.node], has_bias=use.node in plan.biases)
    for value in plan.activations():
        source = plan.scale_source(value)
        writer.write_activation(value, source, activations[str(source.name)], plan)


class _Writer:
    """Adds nodes and initializers under names that are derived from the value they belong to."""

    def __init__(self, graph: ir.Graph, dialect: Dialect) -> None:
        self._graph = graph
        self._dialect = dialect

    def write_activation(self, value: ir.Value, source: ir.Value, quantization: Quantization, plan: Plan) -> None:
        """Put Q and DQ behind a value and let the planned consumers read through them."""
        grid = self._dialect.activation
        scale = self._initializer(f"{source.name}_scale", np.array(quantization.scale, np.float32))
        zero = self._initializer(f"{source.name}_zero_point", np.array(quantization.zero_point, grid.numpy_dtype))
        consumers = list(value.uses())
        quantize = self._node("QuantizeLinear", [value, scale, zero], f"{value.name}_quantized")
        dequantize = self._node("DequantizeLinear", [quantize.outputs[0], scale, zero], f"{value.name}_dequantized")
        quantize.outputs[0].type = ir.TensorType(ir.DataType.from_numpy(grid.numpy_dtype))
        result = dequantize.outputs[0]
        result.type = ir.TensorType(ir.DataType.FLOAT)
        quantize.outputs[0].shape = result.shape = value.shape
        producer = value.producer()
        if producer is None:
            self._graph.insert_before(self._graph[0], [quantize, dequantize])
        else:
            self._graph.insert_after(producer, [quantize, dequantize])
        closed = value in plan.closed
        for node, index in consumers:
            if closed or (node, index) in plan.edges:
                node.replace_input_with(index, result)
        if closed and value.is_graph_output():
            self._replace_output(value, result)

    def _replace_output(self, value: ir.Value, result: ir.Value) -> None:
        name = value.name
        value.name, result.name = f"{name}_float", name
        for index, output in enumerate(self._graph.outputs):
            if output is value:
                self._graph.outputs[index] = result

    def write_weight(self, use: WeightUse, input_scale: np.float32, *, has_bias: bool) -> None:
        """Store the weight as int8 and, where the plan says so, the bias as int32."""
        weight = _array(_input(use.node, use.index)).astype(np.float32)
        bias = _array(_input(use.node, 2)).astype(np.float32) if has_bias else None
        scale = weight_scale(weight, use.axis, self._dialect.weight)
        if bias is not None:
            scale = safe_weight_scale(scale, bias, input_scale)
        stored = quantize_weight(weight, scale, use.axis, self._dialect.weight)
        zeros = np.zeros(scale.shape, np.int8)
        self._replace_constant((use.node, use.index), stored, scale, zeros, axis=use.axis)
        if bias is not None:
            bias_scale = (scale * input_scale).astype(np.float32)
            self._replace_constant((use.node, 2), quantize_bias(bias, bias_scale), bias_scale, None, axis=0)

    def _replace_constant(self, edge: Edge, stored: _ARRAY, scale: _ARRAY, zero: _ARRAY | None, *, axis: int) -> None:
        node, index = edge
        constant = _input(node, index)
        name = f"{constant.name}_of_{node.name}"
        operands = [self._initializer(f"{name}_quantized", stored), self._initializer(f"{name}_scale", scale)]
        if zero is not None:
            operands.append(self._initializer(f"{name}_zero_point", zero))
        dequantize = self._node("DequantizeLinear", operands, f"{name}_dequantized", axis=axis)
        dequantize.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
        dequantize.outputs[0].shape = constant.shape
        self._graph.insert_before(node, dequantize)
        node.replace_input_with(index, dequantize.outputs[0])
        if not constant.uses() and not constant.is_graph_output() and constant.is_initializer():
            del self._graph.initializers[str(constant.name)]

    def _initializer(self, name: str, array: _ARRAY) -> ir.Value:
        existing = self._graph.initializers.get(name)
        if existing is not None:
            return existing
        tensor = ir.tensor(array, name=name)
        value = ir.Value(name=name, const_value=tensor, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype))
        self._graph.register_initializer(value)
        return value

    def _node(self, op: str, inputs: list[ir.Value], output: str, **attributes: int) -> ir.Node:
        written = [ir.AttrInt64(key, number) for key, number in attributes.items()]
        value = ir.Value(name=output)
        return ir.Node("", op, inputs, written, outputs=[value], name=f"{output}_node")


def _input(node: ir.Node, index: int) -> ir.Value:
    value = node.inputs[index]
    assert value is not None, f"{node.name} has no input {index}"  # noqa: S101 - the plan names existing inputs only
    return value


def _array(value: ir.Value) -> _ARRAY:
    assert value.const_value is not None  # noqa: S101 - the plan names constants only
    return value.const_value.numpy()
