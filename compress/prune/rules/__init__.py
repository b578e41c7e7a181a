"""What each operator does to the axes of its operands, and what has to change in it when they are cut.

A rule says which positions are cut together (:mod:`compress.prune.labels`); axes that it says nothing about stay. A
trim changes what the node itself holds: sizes, shapes, attributes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from compress.prune.kept import Kept
from compress.prune.labels import Labels

Rule = Callable[[ir.Node, Labels], None]
Trim = Callable[[ir.Node, Kept], None]


@dataclass(frozen=True, slots=True)
class Operator:
    """What is known about an operator; most need no trimming."""

    rule: Rule
    trim: Trim | None = None


def operators() -> Mapping[str, Operator]:
    """Return the operators of ONNX's own domain that have a rule."""
    from compress.prune.rules import (
        attention,
        convolution,
        elementwise,
        indexing,
        matmul,
        movement,
        normalization,
        pooling,
        quantization,
        recurrent,
        reduction,
        reshaping,
    )

    families = (
        attention, convolution, elementwise, indexing, matmul, movement,
        normalization, pooling, quantization, recurrent, reduction, reshaping,
    )  # fmt: skip
    return {name: operator for family in families for name, operator in family.OPERATORS.items()}


def operator_of(node: ir.Node, known: Mapping[str, Operator]) -> Operator | None:
    """Return what is known about a node's operator; nothing about other domains."""
    return known.get(node.op_type) if node.domain in ("", "ai.onnx") else None
