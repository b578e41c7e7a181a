"""Products of matrices."""

import torch
from torch import Tensor
from torch.nn import functional

from compress.torchnet.operators import Factory, Kernel, Node


def _matmul(_node: Node) -> Kernel:
    return torch.matmul


def _gemm(node: Node) -> Kernel:
    """α·A'·B' + β·C, A' and B' transposed or not: [M, K], [K, N] and C that broadcasts → [M, N]."""
    alpha, beta = node.attributes.number("alpha", 1.0), node.attributes.number("beta", 1.0)
    transposed_a, transposed_b = bool(node.attributes.integer("transA", 0)), bool(node.attributes.integer("transB", 0))
    node.attributes.skip("broadcast")

    def linear(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        a, b = (a.t() if transposed_a else a), (b if transposed_b else b.t())
        if c is None or (c.dim() == 1 and c.shape[0] == b.shape[0]):
            return functional.linear(a, b, c)
        return functional.linear(a, b) + c

    def general(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        product = torch.matmul(a.t() if transposed_a else a, b.t() if transposed_b else b)
        product = product if alpha == 1.0 else product * alpha
        return product if c is None else product + (c if beta == 1.0 else c * beta)

    return linear if alpha == beta == 1.0 else general


OPERATORS: dict[str, Factory] = {
    "Gemm": _gemm,
    "MatMul": _matmul,
}
