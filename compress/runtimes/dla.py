"""The deep learning accelerator (DLA) of a Jetson Orin: whether it can be used, and what is said of it."""

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from compress.errors import TargetError
from compress.model import JsonValue, Model
from compress.runtimes.build_settings import BuildSettings
from compress.runtimes.tensorrt_checks import describe_problems
from compress.runtimes.tensorrt_checks.dla import find_fallbacks, is_dequantized
from compress.targets import Target, load_targets

_KINDS = 6
"""Kinds of fallbacks that the report tells; the log has all of them."""

_PAIR = ("QuantizeLinear", "DequantizeLinear")
_UNTYPED = frozenset({*_PAIR, "Cast", "Constant", "Identity"})
"""Operators whose layers are not asked to compute in a type: their result has it already."""


def require_dla(target: Target, settings: BuildSettings) -> None:
    """Raise if a DLA is asked for that the target does not have.

    Raises:
        TargetError: Names the targets that have one.
    """
    if settings.dla and target.dla is None:
        known = ", ".join(each.name for each in load_targets() if each.dla is not None)
        raise TargetError(
            f"target {target.name} has no deep learning accelerator, and [engine] dla asks for one",
            hint=f"leave `dla` out of compress.toml; targets that have one: {known}",
        )


def describe_dla(model: Model, settings: BuildSettings) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return sentences for the report about what runs on the DLA, and lines for the log; none where it is not used."""
    if not settings.dla:
        return (), ()
    problems, count = find_fallbacks(model)
    kinds = describe_problems(problems)
    more = f"; and {len(kinds) - _KINDS} other kinds, which the log tells" if len(kinds) > _KINDS else ""
    told = f"{count - len(problems)} of {count} nodes may run on it by NVIDIA's documents, which no board confirmed"
    if len(problems) == count:
        told = f"none of {count} nodes would run on it by NVIDIA's documents; it works in float16: use --recipe fp16"
    notes = (f"DLA: {told}.", *((f"DLA: {'; '.join(kinds[:_KINDS])}{more}.",) if kinds else ()))
    return notes, tuple(f"DLA: {problem}" for problem in problems)


def plan_dla(model: Model, settings: BuildSettings) -> dict[str, JsonValue] | None:
    """Return what ``compress.board.dla`` has to know of a graph; None where the DLA is not used.

    In a weakly typed network the builder would choose float16 for layers that the graph keeps in float32 on purpose:
    these are named as TensorRT's parser names them. Layers that Q/DQ make int8 are not.
    """
    if not settings.dla:
        return None
    graph = model.copy_graph()
    for original, node in zip(model.graph.graph.all_nodes(), graph.graph.all_nodes(), strict=True):
        # A copy makes up names for nodes that have none, and the parser makes up others.
        node.name = original.name or f"node_of_{original.outputs[0].name}"
    ShapeInferencePass()(graph)
    nodes = list(graph.graph.all_nodes())
    float32: list[JsonValue] = [node.name for node in nodes if _stays_float32(node)]
    return {"float32": float32, "int8": any(node.op_type in _PAIR for node in nodes)}


def _stays_float32(node: ir.Node) -> bool:
    if node.op_type in _UNTYPED or is_dequantized(node):
        return False
    return all(value.dtype is ir.DataType.FLOAT for value in node.outputs if value.name)
