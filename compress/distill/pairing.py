"""Which value inside the student should be like which value inside the teacher: paired by place in the graph."""

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from compress.errors import ModelError
from compress.model import Model

Shape = tuple[int, ...]

_LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN", "Attention"})


@dataclass(frozen=True, slots=True)
class Pair:
    """Names of two values that should be alike."""

    student: str
    teacher: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A value that can be paired.

    Attributes:
        depth: Weighted layers before it on the longest way from an input, as a share of the most there are.
    """

    name: str
    depth: float


def feature_candidates(model: Model) -> tuple[Candidate, ...]:
    """Return the last value of each depth, nearest to the input first; outputs and values without weights are none.

    The last value of a depth is what the next layer reads: the activation behind a convolution, the sum behind a block.
    """
    depths = _depths(model.graph.graph)
    outputs = {value.name for value in model.graph.graph.outputs}
    deepest = max(depths.values(), default=0)
    last = {depth: name for name, depth in depths.items() if depth and name not in outputs}
    return tuple(Candidate(name, depth / deepest) for depth, name in sorted(last.items()) if depth < deepest)


def attention_candidates(model: Model) -> tuple[Candidate, ...]:
    """Return the attention maps: outputs of a Softmax whose shares weigh the values of a later matrix product."""
    depths = _depths(model.graph.graph)
    deepest = max(depths.values(), default=1)
    return tuple(
        Candidate(str(node.outputs[0].name), depths[str(node.outputs[0].name)] / deepest)
        for node in model.graph.graph
        if node.op_type == "Softmax" and _weighs(node.outputs[0])
    )


def pair_features(
    student: Model, teacher: Model, student_shapes: Mapping[str, Shape], teacher_shapes: Mapping[str, Shape], count: int
) -> tuple[Pair, ...]:
    """Return ``count`` pairs (fewer where there are no more) at even distances through the depth of the student.

    Args:
        student: Its values are paired once each.
        teacher: Likewise.
        student_shapes: Of the candidates, for one sample; those without a shape are left out.
        teacher_shapes: Likewise.
        count: How many.

    Raises:
        ModelError: No value of one fits any of the other.
    """
    given = [c for c in feature_candidates(student) if c.name in student_shapes]
    wanted = [c for c in feature_candidates(teacher) if c.name in teacher_shapes]
    fitting = [c for c in given if any(_compatible(student_shapes[c.name], teacher_shapes[w.name]) for w in wanted)]
    if not fitting:
        raise ModelError(
            "no value inside the student fits one inside the teacher: ranks or spatial sizes differ everywhere",
            hint="leave out the loss on features (`features = 0`)",
        )
    pairs: dict[str, Pair] = {}
    taken: set[str] = set()
    for place in range(1, count + 1):
        left = [c for c in fitting if c.name not in pairs]
        if not left:
            break
        mine = min(left, key=lambda c: abs(c.depth - place / (count + 1)))
        shape = student_shapes[mine.name]
        fit = [w for w in wanted if w.name not in taken and _compatible(shape, teacher_shapes[w.name])]
        if fit:
            nearest = min(fit, key=lambda w: abs(w.depth - mine.depth))
            pairs[mine.name] = Pair(mine.name, nearest.name)
            taken.add(nearest.name)
    return tuple(pairs.values())


def pair_attention(student: Model, teacher: Model) -> tuple[Pair, ...]:
    """Return each attention map of the student with the teacher's at the same share of all; the last with the last.

    Raises:
        ModelError: One of the two has none.
    """
    given, wanted = attention_candidates(student), attention_candidates(teacher)
    for whose, found in (("student", given), ("teacher", wanted)):
        if not found:
            raise ModelError(
                f"the {whose} has no attention maps: no Softmax in its graph weighs a matrix product",
                hint="leave out the loss on attention; an exporter that fuses attention hides the maps",
            )
    # Map i of n takes map (i + 1)·m/n - 1 of m. Source: Jiao et al., TinyBERT (2020), section 3.1, uniform strategy.
    return tuple(
        Pair(mine.name, wanted[max(0, (index + 1) * len(wanted) // len(given) - 1)].name)
        for index, mine in enumerate(given)
    )


def _compatible(one: Shape, other: Shape) -> bool:
    """Return whether two values [batch, …] can be compared: equal but for the channels, or maps whose sizes divide."""
    if len(one) != len(other) or len(one) < 2:
        return False
    if len(one) == 4:
        sizes = zip(one[2:], other[2:], strict=True)
        return all(a > 0 and b > 0 and max(a, b) % min(a, b) == 0 for a, b in sizes)
    return one[1:-1] == other[1:-1]


def _depths(graph: ir.Graph) -> dict[str, int]:
    """Return for each value how many weighted layers lie before it on the longest way; constants are left out."""
    depths = {str(value.name): 0 for value in graph.inputs}
    for node in graph:
        before = [depths[str(v.name)] for v in node.inputs if v is not None and str(v.name) in depths]
        if before:
            depth = max(before) + _is_layer(node)
            depths.update({str(value.name): depth for value in node.outputs if value.name})
    return depths


def _is_layer(node: ir.Node) -> bool:
    return node.op_type in _LAYERS and any(v is not None and _is_constant(v) for v in node.inputs)


def _is_constant(value: ir.Value) -> bool:
    """Return whether a value is an initializer, or made from one without anything else (dequantized, transposed)."""
    producer = value.producer()
    if producer is None:
        return value.is_initializer()
    return bool(producer.inputs) and all(v is None or _is_constant(v) for v in producer.inputs)


def _weighs(shares: ir.Value) -> bool:
    """Return whether shares get to a MatMul, through what does not change them in evaluation."""
    for node, _ in shares.uses():
        if node.op_type == "MatMul" and not any(v is not None and _is_constant(v) for v in node.inputs):
            return True
        if node.op_type in ("Dropout", "Cast", "Identity", "Where") and _weighs(node.outputs[0]):
            return True
    return False
