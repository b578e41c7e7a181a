"""Layers in float16 between casts, for runtimes that take precision from the graph."""

from collections.abc import Collection, Mapping

from onnx_ir.passes.common import ShapeInferencePass

from compress.model import Model
from compress.quantize.half.choose import fits
from compress.quantize.half.write import write_float16
from compress.quantize.layers import is_constant, remove_unused


def to_float16(model: Model, names: Collection[str], magnitudes: Mapping[str, float]) -> Model:
    """Return a model with these layers in float16, everything around them as it is.

    It does not fire for operators without a constant weight, nor where constants, or what was measured of activations,
    would overflow or lose their digits: such a layer stays float32.
    """
    graph = model.copy_graph()
    ShapeInferencePass()(graph)
    named = [node for node in graph.graph if node.name in names]
    layers = [node for node in named if len(node.inputs) > 1 and is_constant(node.inputs[1])]
    write_float16(graph.graph, [node for node in layers if fits(node, magnitudes)])
    remove_unused(graph.graph)
    return Model.from_ir(graph, model.history)
