"""Which layer of the float graph each layer of a quantized graph is, where nodes and values got new names."""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compress.model import Model
from compress.quantize.layers import (
    FloatConstants,
    behind_requantization,
    dequantized,
    is_constant,
    is_requantized,
    is_stored,
    remove_unused,
    write_constants,
)

_Floats = NDArray[np.float32]
_ROUNDED = 0.51
"""Steps by which a stored weight may be off the float one: half a step, and what was computed before rounding."""


def name_layers(quantized: Model, original: Model) -> tuple[Model, FloatConstants]:
    """Return a quantized graph with the float graph's names for its layers, and their float weights.

    Nodes belong together where the stored weight is the float one, rounded.

    Args:
        quantized: Computes what ``original`` does, with other names.
        original: The float graph.
    """
    copy = quantized.copy_graph()
    known = [
        (node, value.const_value.numpy())
        for node in original.graph.graph
        for value in node.inputs[1:2]
        if value is not None and is_constant(value) and value.const_value is not None
    ]
    taken = {node.name for node in copy.graph}
    constants: dict[tuple[str, int], _Floats] = {}
    for node in copy.graph:
        value = node.inputs[1] if len(node.inputs) > 1 else None
        if value is None or not is_stored(value):
            continue
        found = next((each for each in known if each[0].name not in taken and _is_rounded(value, each[1])), None)
        if found is not None:
            node.name = found[0].name
            taken.add(node.name)
            constants[str(node.name), 1] = found[1].astype(np.float32)
    return Model.from_ir(copy, quantized.history), constants


def _is_rounded(value: ir.Value, weight: NDArray[np.generic]) -> bool:
    """Return whether a stored constant is a float weight, rounded."""
    stored = dequantized(value)
    if stored.shape != weight.shape or weight.dtype.kind != "f":
        return False
    producer = value.producer()
    scale = None if producer is None or producer.inputs[1] is None else producer.inputs[1].const_value
    assert producer is not None and scale is not None  # noqa: S101, PT018 - see is_stored
    steps = scale.numpy().astype(np.float32)
    if steps.size > 1:
        axis = producer.attributes.get_int("axis", 1) % stored.ndim
        steps = steps.reshape([-1 if place == axis else 1 for place in range(stored.ndim)])
    return bool((np.abs(stored - weight.astype(np.float32)) <= _ROUNDED * steps).all())


def without_quantization(quantized: Model, constants: FloatConstants) -> ir.Model:
    """Return a quantized graph without any Q/DQ.

    Args:
        quantized: With Q/DQ.
        constants: The float weights of its layers; the others are made from the stored integers.
    """
    copy = quantized.copy_graph()
    for node in copy.graph:
        write_constants(copy.graph, node, constants)
        for index, value in enumerate(node.inputs):
            if value is not None and is_requantized(value):
                node.replace_input_with(index, behind_requantization(value))
    for index, value in enumerate(copy.graph.outputs):
        if is_requantized(value):
            source = behind_requantization(value)
            value.name, source.name = f"{value.name}_dequantized", value.name
            copy.graph.outputs[index] = source
    remove_unused(copy.graph)
    return copy
