"""Where Q/DQ go: a plan for one graph in one dialect, made before anything is changed."""

from dataclasses import dataclass, field

import onnx_ir as ir

from compress.model import Model
from compress.precision import COMPUTE
from compress.quantize.dialects import DIALECTS, Dialect
from compress.targets import DialectName

Edge = tuple[ir.Node, int]
"""A node and the position of one of its inputs."""

_FUSED_ACTIVATIONS = frozenset({"Relu", "Clip"})


@dataclass(frozen=True, slots=True)
class WeightUse:
    """A constant operand that becomes integer: ``node.inputs[index]``, with one scale for each slice along ``axis``."""

    node: ir.Node
    index: int
    axis: int


@dataclass(slots=True)
class Plan:
    """What becomes integer.

    Attributes:
        nodes: Nodes that the runtime is meant to execute in integer arithmetic.
        edges: Inputs that read through Q/DQ.
        closed: Values of which every consumer, and the graph's output, reads through Q/DQ.
        weights: Constant operands that are stored as integers.
        biases: Nodes whose third input, a constant, is stored as int32.
        ties: Pairs (value, source) that must share one scale: the value takes the source's.
    """

    nodes: list[ir.Node] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    closed: list[ir.Value] = field(default_factory=list)
    weights: list[WeightUse] = field(default_factory=list)
    biases: list[ir.Node] = field(default_factory=list)
    ties: dict[ir.Value, ir.Value] = field(default_factory=dict)

    def activations(self) -> list[ir.Value]:
        """Return the values that get Q/DQ, each once, in the order in which they are first needed."""
        values = dict.fromkeys(value for node, index in self.edges if (value := node.inputs[index]) is not None)
        return list(dict.fromkeys((*values, *self.closed)))

    def scale_source(self, value: ir.Value) -> ir.Value:
        """Return the value whose range decides the scale of ``value``."""
        while value in self.ties:
            value = self.ties[value]
        return value


def plan_quantization(graph: ir.Graph, dialect: Dialect) -> Plan:
    """Return the plan for a graph.

    1. A weighted operator with a float input and a constant weight is integer.
    2. Where the dialect wants integer outputs, the output behind a fused Relu or Clip is quantized for all consumers.
    3. An operator that follows is integer only when *all* its operands come from integer operators, none is constant.
    4. Operators that move data carry the scale of their input on.
    5. In a dialect with ``residual_branch``, an Add behind a convolution gets Q/DQ on its other operand only.
    """
    plan = Plan()
    integer: set[ir.Value] = set()
    for node in graph:
        if node.domain not in ("", "ai.onnx"):
            continue
        if node.op_type in dialect.weighted:
            _plan_weighted(node, dialect, plan, integer)
        elif node.op_type in dialect.follows:
            _plan_following(node, plan, integer)
        elif node.op_type in dialect.moves_data and node.inputs[0] in integer:
            plan.ties[node.outputs[0]] = node.inputs[0]
            integer.add(node.outputs[0])
        elif node.op_type == "Add" and dialect.residual_branch:
            _plan_residual(node, plan)
    return plan


def _plan_weighted(node: ir.Node, dialect: Dialect, plan: Plan, integer: set[ir.Value]) -> None:
    axis = _channel_axis(node)
    if axis is None or not _is_float(node.inputs[0]) or _is_constant(node.inputs[0]):
        return
    plan.nodes.append(node)
    plan.edges.append((node, 0))
    plan.weights.append(WeightUse(node, 1, axis))
    if dialect.quantize_bias and len(node.inputs) > 2 and _is_constant(node.inputs[2]):
        plan.biases.append(node)
    if node.op_type in dialect.output:
        output = fused_output(node)
        plan.closed.append(output)
        integer.add(output)


def _plan_following(node: ir.Node, plan: Plan, integer: set[ir.Value]) -> None:
    if not all(value in integer for value in node.inputs):
        return
    plan.nodes.append(node)
    plan.edges.extend((node, index) for index in range(len(node.inputs)))
    output = fused_output(node)
    plan.closed.append(output)
    integer.add(output)


def _plan_residual(node: ir.Node, plan: Plan) -> None:
    for index in (1, 0):
        branch, other = node.inputs[index], node.inputs[1 - index]
        if branch is None or other is None or _is_constant(other):
            continue
        producer = branch.producer()
        if producer in plan.nodes and producer.op_type == "Conv" and len(branch.uses()) == 1:
            plan.edges.append((node, 1 - index))
            return


def fused_output(node: ir.Node) -> ir.Value:
    """Return the output of a node, or of the Relu or Clip that is its only consumer."""
    value = node.outputs[0]
    uses = value.uses()
    if len(uses) == 1 and not value.is_graph_output():
        consumer, index = next(iter(uses))
        if consumer.op_type in _FUSED_ACTIVATIONS and index == 0 and all(map(_is_constant, consumer.inputs[1:])):
            return consumer.outputs[0]
    return value


def _channel_axis(node: ir.Node) -> int | None:
    """Return the axis of the weight that runs over the outputs, or None where the node cannot be integer."""
    weight = node.inputs[1] if len(node.inputs) > 1 else None
    if weight is None or weight.const_value is None or not _is_float(weight):
        return None
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1 if node.attributes.get_int("group", 1) == 1 else None
    if node.op_type == "Gemm":
        plain = node.attributes.get_float("alpha", 1.0) == 1.0 and node.attributes.get_float("beta", 1.0) == 1.0
        plain = plain and node.attributes.get_int("transA", 0) == 0
        return (0 if node.attributes.get_int("transB", 0) else 1) if plain else None
    return 1 if len(weight.const_value.shape) == 2 else None


def _is_constant(value: ir.Value | None) -> bool:
    return value is None or value.const_value is not None


def _is_float(value: ir.Value | None) -> bool:
    return value is not None and value.dtype in (None, ir.DataType.FLOAT)


def observed_values(graph: ir.Graph) -> list[str]:
    """Return the names of all values that any dialect would quantize, in graph order: calibrate once, use for all."""
    wanted: set[str] = set()
    for dialect in DIALECTS.values():
        plan = plan_quantization(graph, dialect)
        wanted.update(str(plan.scale_source(value).name) for value in plan.activations())
    ordered = [*graph.inputs, *(output for node in graph for output in node.outputs)]
    return [str(value.name) for value in ordered if value.name in wanted]


def count_quantizable(model: Model, dialect: DialectName) -> tuple[int, int]:
    """Return how many compute nodes the dialect makes integer, and how many there are."""
    planned = plan_quantization(model.graph.graph, DIALECTS[dialect]).nodes
    compute = sum(node.op_type in COMPUTE for node in model.graph.graph)
    return sum(node.op_type in COMPUTE for node in planned), compute
