"""Constants of an ONNX graph as PyTorch tensors, and back."""

from collections.abc import Iterator, Mapping

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from compress.torchnet.operators import OperatorError

_VIEWED: Mapping[ir.DataType, torch.dtype] = {
    ir.DataType.BFLOAT16: torch.bfloat16,
    ir.DataType.FLOAT8E4M3FN: torch.float8_e4m3fn,
    ir.DataType.FLOAT8E4M3FNUZ: torch.float8_e4m3fnuz,
    ir.DataType.FLOAT8E5M2: torch.float8_e5m2,
    ir.DataType.FLOAT8E5M2FNUZ: torch.float8_e5m2fnuz,
}
"""Types that NumPy knows under another name only: their bits are taken over."""

_WIDENED: Mapping[ir.DataType, type[np.generic]] = {
    ir.DataType.INT4: np.int8,
    ir.DataType.UINT4: np.uint8,
    ir.DataType.INT2: np.int8,
    ir.DataType.UINT2: np.uint8,
    ir.DataType.FLOAT4E2M1: np.float32,
}
"""Types narrower than a byte: one element a byte, as PyTorch computes with nothing narrower."""

_SCALARS = {
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
}


def to_tensor(constant: ir.TensorProtocol) -> Tensor:
    """Return a tensor with memory of its own: that of a file may be read-only and unaligned, which is slower.

    Raises:
        OperatorError: The element type cannot be had in PyTorch (strings, 4-bit floats).
    """
    if constant.dtype in _WIDENED:
        return torch.from_numpy(constant.numpy().astype(_WIDENED[constant.dtype]))
    if constant.dtype in _VIEWED:
        target = _VIEWED[constant.dtype]
        bits = np.array(constant.numpy(), order="C", copy=True)
        carrier = np.int16 if target.itemsize == 2 else np.uint8
        return torch.from_numpy(bits.view(carrier)).view(target)
    try:
        return torch.from_numpy(np.array(constant.numpy(), order="C", copy=True))
    except TypeError as error:
        raise OperatorError(
            f"constant `{constant.name}` has element type {constant.dtype.name}, which PyTorch has not",
            hint="training and distillation need it; quantization without training works (leave those steps out)",
        ) from error


def to_constant(tensor: Tensor, like: ir.TensorProtocol) -> ir.TensorProtocol:
    """Return the values of a tensor as an ONNX constant with the name and the element type of another."""
    values = tensor.detach().to("cpu")
    if values.dtype == torch.bfloat16:
        values = values.to(torch.float32)
    array = values.numpy().astype(like.dtype.numpy())
    # A copy, because the tensor's memory goes on being trained; `np.ascontiguousarray` would make a scalar a vector.
    return ir.Tensor(np.array(array, order="C", copy=True), dtype=like.dtype, name=like.name)


def named_constants(graph: ir.Graph) -> dict[str, ir.Value]:
    """Return the initializers and the outputs of Constant nodes of a graph and its subgraphs, by a name of their own.

    The names of a graph's own initializers are theirs; one of a subgraph that has the same name gets a number. The
    order, and so the names, are the same for every copy of the graph.
    """
    found: dict[str, ir.Value] = {}
    for value in _constants(graph):
        name, number = str(value.name), 0
        while name in found:
            number += 1
            name = f"{value.name}_{number}"
        found[name] = value
    return found


def _constants(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from (value for value in graph.initializers.values() if not value.is_graph_input())
    for node in graph:
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
            yield node.outputs[0]
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                yield from _constants(attribute.as_graph())


def constant_of(value: ir.Value) -> ir.TensorProtocol:
    """Return what an initializer or the output of a Constant node holds.

    Raises:
        OperatorError: It holds a sparse tensor or strings, or an initializer has no value.
    """
    producer = value.producer()
    if producer is None:
        if value.const_value is None:
            raise OperatorError(f"initializer `{value.name}` has no value", hint="Export the model with its weights.")
        return value.const_value
    for key, attribute in producer.attributes.items():
        if key == "value":
            return attribute.as_tensor()
        if key in _SCALARS:
            return ir.Tensor(np.array(attribute.value, _SCALARS[key]), name=value.name)
    raise OperatorError(
        f"Constant `{producer.name}` has {', '.join(producer.attributes) or 'no value'}, which is not understood here",
        hint="training and distillation need it; quantization without training works (leave those steps out)",
    )
