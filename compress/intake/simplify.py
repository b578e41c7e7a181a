"""One normal form for every graph, wherever it came from."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import onnx_ir as ir

from compress.batch_norm import move_biases
from compress.errors import ConditionError

_IR_VERSION = 10
_NEWEST_OPSET_OF_IR_10 = 22
_KEPT = "compress.kept"


def simplify(graph: ir.Model) -> None:
    """Normalise a graph in place; its outputs stay the same within 1e-5.

    1. Initializers are no inputs; functions are inlined.
    2. Constants are folded (not through Q/DQ), dead nodes and initializers go.
    3. BatchNormalization stays an operator of its own, as training wants it, and takes the bias of the layer before it;
       :mod:`compress.batch_norm` folds it.
    4. Metadata, doc strings and stale shapes go.
    5. Every node and every value has a name of its own; the same input gives the same bytes, in every process.

    Raises:
        ConditionError: The result is not valid ONNX.
    """
    from onnx_ir.passes import common
    from onnxscript import optimizer

    common.RemoveInitializersFromInputsPass()(graph)
    interface = [value.name for value in (*graph.graph.inputs, *graph.graph.outputs)]
    _materialise(graph.graph)
    with _keeping(graph.graph, {"BatchNormalization"}):
        optimizer.optimize_ir(graph, num_iterations=4)
    common.RemoveUnusedNodesPass()(graph)
    common.ClearMetadataAndDocStringPass()(graph)
    # Where an output is an input, the pass that puts an Identity between them renames the input.
    for value, name in zip((*graph.graph.inputs, *graph.graph.outputs), interface, strict=True):
        value.name = name
    move_biases(graph.graph)
    _forget_origin(graph)
    _name_everything(graph.graph)
    common.ShapeInferencePass(check_type=False, data_prop=True)(graph)
    common.TopologicalSortPass()(graph)
    _check(graph)


@contextmanager
def _keeping(graph: ir.Graph, operators: Collection[str]) -> Iterator[None]:
    """Hide nodes from the rules that would rewrite them: in another domain, nobody knows what they are."""
    hidden = [node for node in graph.all_nodes() if node.op_type in operators and node.domain == ""]
    for node in hidden:
        node.domain = _KEPT
    try:
        yield
    finally:
        for node in hidden:
            node.domain = ""


def _materialise(graph: ir.Graph) -> None:
    """Copy the initializers into plain NumPy tensors: folding must not write into memory that PyTorch still owns."""
    for value in graph.initializers.values():
        if value.const_value is not None and not isinstance(value.const_value, ir.StringTensor):
            value.const_value = ir.Tensor(
                value.const_value.numpy().copy(), dtype=value.const_value.dtype, name=value.const_value.name
            )


def _forget_origin(graph: ir.Model) -> None:
    opset = graph.opset_imports.get("", 0)
    graph.ir_version = _IR_VERSION if opset <= _NEWEST_OPSET_OF_IR_10 else max(graph.ir_version, _IR_VERSION)
    graph.producer_name, graph.producer_version, graph.doc_string = None, None, None
    graph.domain, graph.model_version = None, None
    graph.graph.name = "main"
    graph.metadata_props.clear()
    graph.graph.metadata_props.clear()


def _name_everything(graph: ir.Graph) -> None:
    """Name nodes after the weights they hold or after their operator, and values after their node."""
    taken = {value.name or "" for value in (*graph.inputs, *graph.outputs, *graph.initializers.values())}
    kept = {*graph.inputs, *graph.outputs}
    nodes: set[str] = set()
    for node in graph.all_nodes():
        node.name = _unique(_node_name(node), nodes)
        for index, value in enumerate(node.outputs):
            if value not in kept and value.name != "":
                value.name = _unique(node.name if index == 0 else f"{node.name}.{index}", taken)


def _node_name(node: ir.Node) -> str:
    for value in node.inputs[1:2]:
        if value is not None and value.is_initializer() and (value.name or "").endswith(".weight"):
            return (value.name or "").removesuffix(".weight")
    return node.op_type


def _unique(name: str, taken: set[str]) -> str:
    candidate, number = name, 0
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    taken.add(candidate)
    return candidate


def _check(graph: ir.Model) -> None:
    import onnx

    try:
        onnx.checker.check_model(ir.to_proto(graph))
    except (onnx.checker.ValidationError, ValueError) as error:
        raise ConditionError(f"the normalised graph is not valid ONNX: {error}") from error
    if any(not value.name for value in _values(graph.graph)):
        raise ConditionError("the normalised graph has a value without a name")


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.inputs
    for node in graph.all_nodes():
        yield from (value for value in node.outputs if value.uses() or value.is_graph_output())
