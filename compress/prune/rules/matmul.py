"""Matrix products."""

import onnx_ir as ir

from compress.prune.labels import Labels, NoRuleError
from compress.prune.rules import Operator
from compress.prune.rules.elementwise import relate_aligned


def relate_gemm(node: ir.Node, labels: Labels) -> None:
    """Relate A [M, K] (or transposed), B [K, N] (or transposed), C broadcast to [M, N], and Y [M, N]."""
    a, b, y = node.inputs[0], node.inputs[1], node.outputs[0]
    m, k = (1, 0) if node.attributes.get_int("transA", 0) else (0, 1)
    inner, n = (1, 0) if node.attributes.get_int("transB", 0) else (0, 1)
    labels.equate_axes(a, m, y, 0)
    labels.equate_axes(b, n, y, 1)
    labels.equate_axes(a, k, b, inner)
    labels.read(a, k)
    labels.read(b, inner)
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        relate_aligned(labels, node.inputs[2], y, 2)


def relate_matmul(node: ir.Node, labels: Labels) -> None:
    """Relate A […, M, K], B […, K, N] and Y […, M, N]; either may be a vector. Two activations have heads in common."""
    a, b, y = node.inputs[0], node.inputs[1], node.outputs[0]
    if a is None or b is None:
        raise NoRuleError
    left, right, rank = len(labels.shape(a)), len(labels.shape(b)), len(labels.shape(y))
    labels.equate_axes(a, -1, b, -2 if right > 1 else 0)
    labels.read(a, -1)
    labels.read(b, -2 if right > 1 else 0)
    if left > 1:
        labels.equate_axes(a, -2, y, -2 if right > 1 else -1)
    if right > 1:
        labels.equate_axes(b, -1, y, -1)
    if left > 1 and right > 1:
        for value in (a, b):
            relate_aligned(labels, value, y, rank - 2)
        if not a.is_initializer() and not b.is_initializer():
            for axis in range(rank - 2):
                labels.mark("heads", labels.ids(y, axis))


def relate_einsum(node: ir.Node, labels: Labels) -> None:
    """Relate axes with the same letter; a letter that is not in the result is summed over."""
    equation = node.attributes["equation"].as_string().replace(" ", "")
    if "." in equation or "->" not in equation:
        raise NoRuleError
    operands, result = equation.split("->")
    terms = [*operands.split(","), result]
    values = [*node.inputs, node.outputs[0]]
    first: dict[str, tuple[ir.Value | None, int]] = {}
    for term, value in zip(terms, values, strict=True):
        if len(set(term)) != len(term):
            raise NoRuleError
        for axis, letter in enumerate(term):
            labels.equate_axes(*first.setdefault(letter, (value, axis)), value, axis)
            if letter not in result:
                labels.read(value, axis)


OPERATORS = {
    "Gemm": Operator(relate_gemm),
    "MatMul": Operator(relate_matmul),
    "Einsum": Operator(relate_einsum),
}
