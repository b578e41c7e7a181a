"""Small graphs that TensorRT takes or refuses: operators × types, and the forms of Q/DQ, biases and opsets.

Each graph has one thing in it that may be refused; what its operands need besides that is taken everywhere.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, checker, helper, shape_inference

from compress.model import Model

T = TensorProto
TYPES = {
    "float32": T.FLOAT,
    "float16": T.FLOAT16,
    "bfloat16": T.BFLOAT16,
    "float64": T.DOUBLE,
    "int64": T.INT64,
    "int32": T.INT32,
    "int8": T.INT8,
    "uint8": T.UINT8,
    "bool": T.BOOL,
}
Shape = Sequence[int | str]
ROW: Shape = ("batch", 4)
MAP: Shape = ("batch", 4, 8, 8)
SEQUENCE: Shape = (3, 2, 4)


@dataclass(frozen=True)
class Case:
    """A graph by name."""

    name: str
    model: Model


class _Graph:
    """A graph under construction, all of whose tensors of interest have one type."""

    def __init__(self, kind: int, shape: Shape) -> None:
        self.kind, self.shape = kind, shape
        self.constants: list[TensorProto] = []
        self.nodes: list[NodeProto] = []
        self.random = np.random.default_rng(0)

    def weight(self, *shape: int) -> str:
        """Return a constant of the graph's type."""
        return self.constant(self.random.integers(0, 3, shape), self.kind)

    def constant(self, value: Any, kind: int = T.INT64) -> str:
        name = f"c{len(self.constants)}"
        array = np.asarray(value, np.float32)
        self.constants.append(helper.make_tensor(name, kind, array.shape, array.reshape(-1).tolist()))
        return name

    def finish(self, node: NodeProto, opset: int, output: int | None) -> Model:
        made = node.output[0]
        graph = helper.make_graph(
            [*self.nodes, node],
            "case",
            [helper.make_tensor_value_info("x", self.kind, self.shape)],
            [helper.make_tensor_value_info(made, self.kind if output is None else output, None)],
            self.constants,
        )
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
        proto = shape_inference.infer_shapes(proto, check_type=True, strict_mode=True)
        checker.check_model(proto)
        return Model.from_bytes(proto.SerializeToString())


Template = Callable[[_Graph, str], NodeProto]


def _unary(**attributes: Any) -> Template:
    return lambda graph, operator: helper.make_node(operator, ["x"], ["y"], "it", **attributes)


def _binary(graph: _Graph, operator: str) -> NodeProto:
    return helper.make_node(operator, ["x", graph.weight(1, 4)], ["y"], "it")


def _mod(graph: _Graph, operator: str) -> NodeProto:
    divisor = graph.constant([[1, 2, 3, 4]], graph.kind)
    fmod = int(graph.kind in (T.FLOAT, T.FLOAT16, T.BFLOAT16, T.DOUBLE))
    return helper.make_node(operator, ["x", divisor], ["y"], "it", fmod=fmod)


def _with(*shapes: Sequence[int], **attributes: Any) -> Template:
    """Return a template of an operator whose other operands are weights of the graph's type."""
    return lambda graph, operator: helper.make_node(
        operator, ["x", *(graph.weight(*shape) for shape in shapes)], ["y"], "it", **attributes
    )


def _indexed(*values: Any, **attributes: Any) -> Template:
    """Return a template of an operator whose other operands are int64 constants."""
    return lambda graph, operator: helper.make_node(
        operator, ["x", *(graph.constant(value) for value in values)], ["y"], "it", **attributes
    )


def _windows(**attributes: Any) -> Template:
    return _with((4, 4, 3, 3), **attributes)


def _clip(graph: _Graph, operator: str) -> NodeProto:
    return helper.make_node(operator, ["x", graph.constant(0, graph.kind), graph.constant(2, graph.kind)], ["y"], "it")


def _where(graph: _Graph, operator: str) -> NodeProto:
    condition = graph.constant([[1, 0, 1, 0]], T.BOOL)
    return helper.make_node(operator, [condition, "x", graph.weight(1, 4)], ["y"], "it")


def _cast(to: int) -> Template:
    return lambda graph, operator: helper.make_node(operator, ["x"], ["y"], "it", to=to)


def _resize(mode: str) -> Template:
    def make(graph: _Graph, operator: str) -> NodeProto:
        return helper.make_node(operator, ["x", "", graph.constant([1, 1, 2, 2], T.FLOAT)], ["y"], "it", mode=mode)

    return make


def _recurrent(gates: int) -> Template:
    def make(graph: _Graph, operator: str) -> NodeProto:
        weights = graph.weight(1, gates * 2, 4), graph.weight(1, gates * 2, 2)
        return helper.make_node(operator, ["x", *weights], ["y"], "it", hidden_size=2)

    return make


def _slice(graph: _Graph, operator: str) -> NodeProto:
    ends = graph.constant([0]), graph.constant([2]), graph.constant([1])
    return helper.make_node(operator, ["x", *ends], ["y"], "it")


def _one_hot(graph: _Graph, operator: str) -> NodeProto:
    return helper.make_node(operator, [graph.constant([0, 1]), graph.constant(4), "x"], ["y"], "it")


def _variadic(graph: _Graph, operator: str) -> NodeProto:
    return helper.make_node(operator, ["x", graph.weight(1, 4), "x"], ["y"], "it")


_FLOAT_UNARY = (
    *("Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Celu", "Cos", "Cosh", "Elu", "Erf", "Exp", "Floor"),
    *("Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Mish", "Reciprocal", "Round", "Selu", "Sigmoid", "Sin"),
    *("Sinh", "Softplus", "Softsign", "Sqrt", "Tan", "Tanh", "ThresholdedRelu", "Det", "Shrink"),
)
_REDUCTIONS = (
    *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd"),
    *("ReduceSum", "ReduceSumSquare"),
)

TEMPLATES: dict[str, tuple[Shape, Template]] = {
    **{
        name: (ROW, _unary())
        for name in (*_FLOAT_UNARY, "Abs", "Neg", "Sign", "Relu", "Identity", "IsNaN", "IsInf", "Not")
    },
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Pow", "PRelu", "And", "Or", "Xor"), (ROW, _binary)),
    **dict.fromkeys(("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"), (ROW, _binary)),
    **dict.fromkeys(("BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitShift"), (ROW, _binary)),
    **dict.fromkeys(("Max", "Min", "Mean", "Sum"), (ROW, _variadic)),
    **{name: (ROW, _indexed([1])) for name in _REDUCTIONS},
    **{name: (ROW, _unary(axis=1)) for name in ("ArgMax", "ArgMin", "Softmax", "LogSoftmax", "Hardmax", "Flatten")},
    **{name: (MAP, _unary()) for name in ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "LpNormalization")},
    **{name: (MAP, _unary(kernel_shape=[2, 2])) for name in ("AveragePool", "MaxPool", "LpPool")},
    "BatchNormalization": (MAP, _with((4,), (4,), (4,), (4,))),
    "BitwiseNot": (ROW, _unary()),
    "Clip": (ROW, _clip),
    "Compress": (ROW, lambda g, op: helper.make_node(op, ["x", g.constant([1, 0], T.BOOL)], ["y"], "it", axis=1)),
    "Concat": (ROW, lambda g, op: helper.make_node(op, ["x", "x"], ["y"], "it", axis=1)),
    "Conv": (MAP, _windows()),
    "ConvTranspose": (MAP, _windows()),
    "CumSum": (ROW, _indexed(1)),
    "DepthToSpace": (MAP, _unary(blocksize=2)),
    "Dropout": (ROW, _unary()),
    "Einsum": (ROW, _with((4, 3), equation="bi,ij->bj")),
    "Expand": (ROW, _indexed([1, 4])),
    "Gather": (ROW, _indexed([0, 2], axis=1)),
    "GatherElements": (("batch", 4), _indexed([[0, 2]], axis=1)),
    "GatherND": (ROW, _indexed([[0]])),
    "Gemm": (ROW, _with((4, 3), (3,))),
    "GridSample": (
        MAP,
        lambda g, op: helper.make_node(op, ["x", g.constant(np.zeros((1, 2, 2, 2)), g.kind)], ["y"], "it"),
    ),
    "GroupNormalization": (MAP, _with((4,), (4,), num_groups=2)),
    "GRU": (SEQUENCE, _recurrent(3)),
    "InstanceNormalization": (MAP, _with((4,), (4,))),
    "LayerNormalization": (ROW, _with((4,), (4,))),
    "LRN": (MAP, _unary(size=3)),
    "LSTM": (SEQUENCE, _recurrent(4)),
    "Mod": (ROW, _mod),
    "MatMul": (ROW, _with((4, 3))),
    "MeanVarianceNormalization": (MAP, _unary()),
    "NonZero": (ROW, _unary()),
    "OneHot": ((2,), _one_hot),
    "Pad": (ROW, _indexed([0, 1, 0, 1])),
    "Reshape": (ROW, _indexed([-1, 2, 2])),
    "Resize nearest": (MAP, _resize("nearest")),
    "Resize linear": (MAP, _resize("linear")),
    "Resize cubic": (MAP, _resize("cubic")),
    "ReverseSequence": (
        ROW,
        lambda g, op: helper.make_node(op, ["x", g.constant([4])], ["y"], "it", batch_axis=0, time_axis=1),
    ),
    "RNN": (SEQUENCE, _recurrent(1)),
    "ScatterElements": (
        (1, 4),
        lambda g, op: helper.make_node(op, ["x", g.constant([[0, 2]]), g.weight(1, 2)], ["y"], "it", axis=1),
    ),
    "ScatterND": ((4, 2), lambda g, op: helper.make_node(op, ["x", g.constant([[1]]), g.weight(1, 2)], ["y"], "it")),
    "Shape": (ROW, _unary()),
    "Size": (ROW, _unary()),
    "Slice": (ROW, _slice),
    "SpaceToDepth": (MAP, _unary(blocksize=2)),
    "Split": (ROW, lambda g, op: helper.make_node(op, ["x"], ["y", "z"], "it", axis=1, num_outputs=2)),
    "Squeeze": (("batch", 4, 1), _indexed([2])),
    "Tile": (ROW, _indexed([1, 2])),
    "TopK": (ROW, lambda g, op: helper.make_node(op, ["x", g.constant([2])], ["y", "z"], "it", axis=1)),
    "Transpose": (ROW, _unary(perm=[1, 0])),
    "Trilu": (MAP, _unary()),
    "Unique": ((4,), _unary()),
    "Unsqueeze": (ROW, _indexed([2])),
    "Where": (ROW, _where),
    **{f"Cast to {name}": (ROW, _cast(kind)) for name, kind in TYPES.items()},
}
"""For each operator the shape of its first operand, and what makes the node."""


def operators_by_type(opset: int = 20) -> Iterator[Case]:
    """Yield every operator in every type that ONNX allows it."""
    for name, (shape, template) in TEMPLATES.items():
        for kind_name, kind in TYPES.items():
            model = _try(name.split()[0], shape, template, kind, opset)
            if model is not None:
                yield Case(f"{name} {kind_name}", model)


def _try(operator: str, shape: Shape, template: Template, kind: int, opset: int) -> Model | None:
    """Return the graph, None where ONNX does not have that operator for that type."""
    graph = _Graph(kind, shape)
    node = template(graph, operator)
    for output in dict.fromkeys((kind, T.INT64, T.BOOL, *TYPES.values())):
        try:
            return graph.finish(node, opset, output)
        except (checker.ValidationError, shape_inference.InferenceError):
            continue
    return None
