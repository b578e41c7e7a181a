"""Matrix products in float16, for TensorRT-RTX on Turing (compute capability 7.5).

Its compiler refuses there every MatMul and Gemm of float32, those between Q/DQ nodes too ("FP32 GEMM is not
supported"). With a cast to float16 on each operand and one back on the result it takes all of them; Q/DQ in float32
before the casts stays as it is, and convolutions need nothing.
"""

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from compress.model import Model

CAPABILITY = "7.5"

_PRODUCTS = ("Gemm", "MatMul")


def halve_products(model: Model) -> tuple[Model, int]:
    """Return the model with its float32 matrix products in float16, and how many there were.

    The rule: MatMul(a, b) → Cast(MatMul(Cast(a, float16), Cast(b, float16)), float32); the same for Gemm with its bias.
    It does not fire where the type is not float32 or cannot be inferred, nor inside the branches of If, Loop and Scan.
    """
    graph = model.copy_graph()
    ShapeInferencePass()(graph)
    products = [node for node in graph.graph if node.op_type in _PRODUCTS and _is_float32(node)]
    for node in products:
        _halve(graph.graph, node)
    return (Model.from_ir(graph, model.history), len(products)) if products else (model, 0)


def _is_float32(node: ir.Node) -> bool:
    return node.outputs[0].dtype is ir.DataType.FLOAT


def _halve(graph: ir.Graph, node: ir.Node) -> None:
    name = node.name or str(node.outputs[0].name)
    casts = [
        _cast(value, ir.DataType.FLOAT16, f"{name}_operand_{position}")
        for position, value in enumerate(node.inputs)
        if value is not None
    ]
    half = ir.Node(node.domain, node.op_type, [c.outputs[0] for c in casts], node.attributes.values(), name=name)
    half.outputs[0].name = f"{name}_half"
    back = _cast(half.outputs[0], ir.DataType.FLOAT, f"{name}_float")
    ir.convenience.replace_nodes_and_values(
        graph, node, [node], [*casts, half, back], [node.outputs[0]], [back.outputs[0]]
    )


def _cast(value: ir.Value, kind: ir.DataType, name: str) -> ir.Node:
    node = ir.Node("", "Cast", [value], [ir.AttrInt64("to", int(kind))], name=name)
    node.outputs[0].name = name
    node.outputs[0].dtype = kind
    return node
