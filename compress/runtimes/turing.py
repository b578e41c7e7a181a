"""Matrix products in float16, for TensorRT-RTX on Turing (compute capability 7.5).

Its compiler refuses there every matrix product of float32, those between Q/DQ nodes and inside recurrent layers too
("FP32 GEMM is not supported"). With a cast to float16 on each operand and one back on the results it takes all of them;
Q/DQ in float32 before the casts stays as it is, and convolutions need nothing.
"""

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from compress.model import Model

CAPABILITY = "7.5"

_PRODUCTS = frozenset({"Einsum", "GRU", "Gemm", "LSTM", "MatMul", "RNN"})


def halve_products(model: Model) -> tuple[Model, int]:
    """Return the model with its float32 matrix products in float16, and how many there were.

    The rule: MatMul(a, b) → Cast(MatMul(Cast(a, float16), Cast(b, float16)), float32); the same for every float32
    operand and result of Gemm, Einsum, GRU, LSTM and RNN, and in the bodies of If, Loop and Scan. It does not fire
    where the first operand is not float32 or its type cannot be inferred.
    """
    graph = model.copy_graph()
    ShapeInferencePass()(graph)
    products = [node for node in graph.graph.all_nodes() if node.op_type in _PRODUCTS and _is_float32(node.inputs[0])]
    for node in products:
        _halve(node)
    return (Model.from_ir(graph, model.history), len(products)) if products else (model, 0)


def _is_float32(value: ir.Value | None) -> bool:
    return value is not None and value.dtype is ir.DataType.FLOAT


def _halve(node: ir.Node) -> None:
    name = node.name or str(node.outputs[0].name)
    before: list[ir.Node] = []
    operands: list[ir.Value | None] = []
    for position, value in enumerate(node.inputs):
        if value is not None and _is_float32(value):
            before.append(_cast(value, ir.DataType.FLOAT16, f"{name}_operand_{position}"))
            operands.append(before[-1].outputs[0])
        else:
            operands.append(value)
    half = ir.Node(
        node.domain, node.op_type, operands, node.attributes.values(), num_outputs=len(node.outputs), name=name
    )
    after: list[ir.Node] = []
    for position, (old, new) in enumerate(zip(node.outputs, half.outputs, strict=True)):
        # An output without a name is one that nobody asked for.
        new.name = f"{name}_half_{position}" if old.name else ""
        if old.name:
            after.append(_cast(new, ir.DataType.FLOAT, f"{name}_float_{position}"))
    kept = [old for old in node.outputs if old.name]
    assert node.graph is not None  # noqa: S101 - it is one of its nodes
    ir.convenience.replace_nodes_and_values(
        node.graph, node, [node], [*before, half, *after], kept, [cast.outputs[0] for cast in after]
    )


def _cast(value: ir.Value, kind: ir.DataType, name: str) -> ir.Node:
    node = ir.Node("", "Cast", [value], [ir.AttrInt64("to", int(kind))], name=name)
    node.outputs[0].name = name
    node.outputs[0].dtype = kind
    return node
