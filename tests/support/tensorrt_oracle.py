"""The compiler of TensorRT-RTX as the judge of the checker."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

from tensorrt_corpus import Case

from compress.errors import TargetError
from compress.runtimes.tensorrt_builder import build_plan
from compress.runtimes.tensorrt_checks import Place, Problem, check_graph

Outcome = Literal["both take it", "both refuse it", "mistreated", "too strict", "missed"]
"""``mistreated``: the compiler takes it, the checker refuses it and says that this is so."""
CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0")


@dataclass(frozen=True)
class Judgement:
    """What became of a case.

    Attributes:
        reason: What our error says where the compiler refused, else empty.
        names_node: Whether that has the name of a node of the graph.
    """

    case: str
    outcome: Outcome
    problems: tuple[Problem, ...]
    reason: str
    names_node: bool


def place(capability: str) -> Place:
    """Return the place that a capability stands for: ``"8.6"`` → (8, 6) of TensorRT-RTX."""
    major, minor = capability.split(".")
    return Place("tensorrt_rtx", (int(major), int(minor)))


def judge(trt: ModuleType, cases: Iterable[Case], capability: str, scratch: Path) -> list[Judgement]:
    """Return what checker and compiler say of each case."""
    return [_judge(trt, case, capability, scratch / "case.onnx") for case in cases]


def _judge(trt: ModuleType, case: Case, capability: str, path: Path) -> Judgement:
    problems = check_graph(case.model, place(capability))
    path.write_bytes(case.model.to_bytes())
    reason = ""
    try:
        build_plan(trt, path, capabilities=(capability,))
    except TargetError as error:
        reason = error.message
    nodes = case.model.graph.graph.all_nodes()
    named = any(f"`{node.name}`" in reason for node in nodes if node.name)
    return Judgement(case.name, _compare(not reason, problems), problems, reason, named)


def _compare(taken: bool, problems: tuple[Problem, ...]) -> Outcome:
    if not taken:
        return "both refuse it" if problems else "missed"
    if not problems:
        return "both take it"
    return "mistreated" if all(problem.mistreated for problem in problems) else "too strict"
