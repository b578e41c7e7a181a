"""What TensorRT does not take, found before any build and named node by node.

``operators.py`` has the rules about operators and types, ``quantization.py`` those about Q/DQ. They hold in the bodies
of If, Loop and Scan too. ``dla.py`` finds what the deep learning accelerator of a Jetson leaves to the GPU.
"""

from collections.abc import Iterator, Sequence

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from compress.errors import TargetError
from compress.model import Model
from compress.runtimes.tensorrt_checks.operators import check_operator
from compress.runtimes.tensorrt_checks.problem import Place, Problem, name_node
from compress.runtimes.tensorrt_checks.quantization import check_pair
from compress.targets import Target

__all__ = ["Place", "Problem", "check_graph", "describe_problems", "place_of", "require_accepted"]

_NAMES = 4
"""Nodes of one kind of problem that a message names."""
_KINDS = 6
"""Kinds of problems that a message tells."""


def place_of(target: Target) -> Place:
    """Return what the rules have to know of a target; of several GPUs the oldest is the strictest.

    Every rule is about what a GPU does not have *yet*; the corpus of ``benchmarks/tensorrt_corpus.py`` holds that
    against the compiler for each generation.
    """
    known = [(int(major), int(minor)) for major, minor in (each.split(".") for each in target.compute_capabilities)]
    rtx = "tensorrt_rtx" in (target.runtime, target.provider)
    return Place("tensorrt_rtx" if rtx else "tensorrt", min(known, default=None))


def check_graph(model: Model, place: Place) -> tuple[Problem, ...]:
    """Return everything in the graph that breaks a rule there, in the order of the nodes."""
    graph = model.copy_graph()
    for named, node in zip(model.graph.graph.all_nodes(), graph.graph.all_nodes(), strict=True):
        # A copy makes up names for nodes that have none; nobody would find these in the file.
        node.name = name_node(named)
    ShapeInferencePass()(graph)
    return tuple(_check_nodes(graph, place))


def _check_nodes(graph: ir.Model, place: Place) -> Iterator[Problem]:
    for node in graph.graph.all_nodes():
        yield from check_operator(node, place)
        yield from check_pair(node, place)


def require_accepted(model: Model, target: Target) -> None:
    """Raise if the graph breaks a rule.

    Raises:
        TargetError: Names the nodes, grouped by what is wrong with them; the hint has what mends each kind.
    """
    problems = check_graph(model, place_of(target))
    if not problems:
        return
    kinds = _group(problems)
    told = [_describe(found) for found in list(kinds.values())[:_KINDS]]
    if len(kinds) > _KINDS:
        told.append(f"and {len(kinds) - _KINDS} other kinds of problems")
    fixes = dict.fromkeys(found[0].fix for found in list(kinds.values())[:_KINDS])
    raise TargetError(f"target {target.name}: {'; '.join(told)}", hint="; ".join(fixes))


def describe_problems(problems: Sequence[Problem]) -> tuple[str, ...]:
    """Return every kind of problem in words, its nodes grouped: ``nodes `a`, `b` and 3 more: its scale is …``."""
    return tuple(_describe(found) for found in _group(problems).values())


def _group(problems: Sequence[Problem]) -> dict[str, list[Problem]]:
    kinds: dict[str, list[Problem]] = {}
    for problem in problems:
        kinds.setdefault(problem.reason, []).append(problem)
    return kinds


def _describe(problems: Sequence[Problem]) -> str:
    """Return problems of one kind in words: ``nodes `a`, `b` and 3 more: its scale is …``."""
    names = list(dict.fromkeys(f"`{problem.node}`" for problem in problems))
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return f"{'node' if len(names) == 1 else 'nodes'} {', '.join(names[:_NAMES])}{more}: {problems[0].reason}"
