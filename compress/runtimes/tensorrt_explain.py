"""What TensorRT's errors mean for the graph: which node, of which operator, and what to do about it.

TensorRT names a layer in one of these forms; all of them lead back to the ONNX nodes that the layer came from:

======================================  ==============================================================
``'Gemm_25'``                           the node itself
``'MatMul_11_U21'``                     a copy that the compiler made of it
``'…^$$myelin$$then^MatMul_0_U6'``      a node in the body of If, Loop or Scan
``{ForeignNode[a...b]}``, ``a + b``     layers that were fused: the first and the last, or each of them
``(c0)``, ``initializer: c0``           a constant, which stands for the nodes that read it
``(it: …)``                             the node itself
``(Unnamed Loop* 0)^…``                 a part of a recurrent node, which TensorRT unrolls as a loop
======================================  ==============================================================
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

_PREFIX = re.compile(r"^(?:[\w:]+: |\[[^\]]*\] )?Error Code \d+: ")
_KIND = re.compile(r"^(?:[A-Z][\w ]*?) \((.*)\)$")
_SOURCE = re.compile(r"^\[[\w.:]+\.(?:cpp|h)[^\]]*\] ?|:? ?\[[\w.:]+\.cpp::[^\]]*\]|\.? In \S+ at \S+:\d+")
_QUOTED = re.compile(r"'([^']+)'")
_FOREIGN = re.compile(r"\{ForeignNode\[(.+?)(?:\.\.\.(.+?))?\]\}")
_FOR_NODE = re.compile(r"implementation for node ([^{].*?)(?:\.? due to.*)?\.?$")
_BRACKETED = re.compile(r"\(([^\s():]+)(?:\)|:)")
_COPY = re.compile(r"_U\d+$")
_TYPE = re.compile(r"HW-specific datatypes: (\w+)")
_TYPES: Final = {
    "b16": ir.DataType.BFLOAT16,
    "int4": ir.DataType.INT4,
    "fp8_e4m3": ir.DataType.FLOAT8E4M3FN,
    "fp8_e5m2": ir.DataType.FLOAT8E5M2,
}
_LOOP: Final = "(Unnamed Loop*"
_LOOPS: Final = frozenset({"GRU", "LSTM", "RNN", "Loop", "Scan"})
_INITIALIZER = re.compile(r"import initializer: (\S+)")
_NAMES = 4

_HINTS: Final[tuple[tuple[str, str], ...]] = (
    ("FP32 GEMM is not supported", "put casts to float16 around it, or use the recipe int8+fp16"),
    ("HW-specific datatypes", "this GPU does not have that type: use float16, or int8 with Q/DQ"),
    ("Quantized constant", "put a DequantizeLinear behind that constant, or store it as int32"),
    ("zero point is not supported", "symmetric ranges are needed: quantize with the dialect s8s8-symmetric"),
    ("Scale coefficients must all be positive", "calibrate on samples that reach that node"),
    ("unsupported input type", "cast to float32 before that node"),
    ("given input data type", "cast to float32 before that node"),
    ("must have type", "cast to float32 before that node"),
    ("must have same input types", "cast both operands of that node to one type, float32 or int32"),
    ("unsupported data type", "store it in a type that TensorRT has: float32, float16, int8, int32"),
    ("Failed to import initializer", "store it in a type that TensorRT has: float32, float16, int8, int32"),
    ("plugin", "replace that node, or keep it out of the exported graph"),
    ("not supported", "replace that node, or keep it out of the exported graph"),
    ("insufficient workspace", "raise `memory.bytes` in the target's file: a quarter of it is the workspace"),
    ("out of memory", "close what else uses the GPU's memory, or state smaller sizes under [model.ranges]"),
    ("OutOfMemory", "close what else uses the GPU's memory, or state smaller sizes under [model.ranges]"),
    ("Could not find any implementation", "let that layer stay float: step `mixed`, or the recipe fp16"),
    ("have to be the same type", "quantize both operands of that node to int8, or the weight alone"),
    ("dtype == W.type()", "quantize both operands of that node to int8, or the weight alone"),
)
_OTHERWISE: Final = "try the recipe fp16: where that builds, step `mixed` finds the layers that must stay float"


class ParserError(NamedTuple):
    """What the parser says of a node; ``node`` and ``operator`` are empty where it names none."""

    node: str
    operator: str
    reason: str


def explain_refusal(reason: str, graph: Path) -> tuple[str, str]:
    """Return what the compiler says, with the nodes that it means, and what to do about it.

    Args:
        reason: The compiler's last error.
        graph: The ONNX file, whose nodes are named.
    """
    text = tidy_reason(reason)
    return f"the compiler refuses the graph{_at(_find_nodes(text, ir.load(graph)))}: {text}", suggest_fix(text)


def _at(nodes: Sequence[ir.Node]) -> str:
    named = [f"`{node.name}` ({node.op_type})" for node in nodes]
    more = f" and {len(named) - _NAMES} more" if len(named) > _NAMES else ""
    return f" at {'node' if len(named) == 1 else 'nodes'} {', '.join(named[:_NAMES])}{more}" if named else ""


def suggest_fix(reason: str) -> str:
    """Return what to do about an error of the parser or the compiler."""
    return next((hint for mark, hint in _HINTS if mark in reason), _OTHERWISE)


def tidy_reason(reason: str) -> str:
    """Return an error without the names of TensorRT's own functions and source files.

    >>> tidy_reason("IBuilder::build: Error Code 1: Myelin ([pass.cpp:337: check] No such. In run at /_src/a.cpp:2)")
    'No such'
    """
    text = _PREFIX.sub("", " ".join(reason.split()))
    if found := _KIND.match(text):
        text = found[1]
    return _SOURCE.sub("", text).strip(" .") or reason


def _find_nodes(text: str, graph: ir.Model) -> list[ir.Node]:
    """Return the nodes that an error is about, in the order of the graph; none where it names none."""
    nodes = [node for node in graph.graph.all_nodes() if node.name]
    named = {str(node.name): node for node in nodes}
    if found := _TYPE.search(text):
        ShapeInferencePass()(graph)
        kind = _TYPES.get(found[1])
        return [node for node in nodes if kind is not None and kind in _types(node)]
    if _LOOP in text:
        return [node for node in nodes if node.op_type in _LOOPS]
    if found := _FOREIGN.search(text):
        ends = [number for number, node in enumerate(nodes) if node.name in _split(found[1]) + _split(found[2] or "")]
        return [nodes[number] for number in sorted({ends[0], ends[-1]})] if ends else []
    wanted = {name for name in _candidates(text) if name in named}
    readers = {str(node.name) for name in _candidates(text) for node in _readers(name, nodes)}
    return [node for node in nodes if node.name in (wanted or readers)]


def _types(node: ir.Node) -> set[ir.DataType | None]:
    return {value.dtype for value in (*node.inputs, *node.outputs) if value is not None}


def _split(names: str) -> list[str]:
    return [name.strip() for name in names.split(" + ")]


def _candidates(text: str) -> Iterator[str]:
    """Yield what may be the name of a node or a constant."""
    constants = _INITIALIZER.findall(text)
    for found in (
        *constants,
        *_QUOTED.findall(text),
        *_FOR_NODE.findall(text),
        *_BRACKETED.findall(text),
        *_start(text),
    ):
        for name in _split(found):
            bare = name.rpartition("^")[2]
            yield from (name, bare, _COPY.sub("", bare))


def _start(text: str) -> Sequence[str]:
    name, colon, _ = text.partition(": ")
    return (name,) if colon and " " not in name else ()


def _readers(constant: str, nodes: Sequence[ir.Node]) -> Iterator[ir.Node]:
    for node in nodes:
        if any(value is not None and value.name == constant for value in node.inputs):
            yield node


def describe_parser_errors(errors: Sequence[ParserError], graph: Path) -> tuple[str, str]:
    """Return the parser's errors in one sentence, a node each, and what to do about them.

    Args:
        errors: What the parser says.
        graph: The ONNX file, whose nodes are named.
    """
    told = list(dict.fromkeys(_tell(error, graph) for error in errors)) or [f"{graph.name}: it does not say why"]
    more = f"; and {len(told) - _NAMES} more" if len(told) > _NAMES else ""
    return "; ".join(told[:_NAMES]) + more, "; ".join(dict.fromkeys(suggest_fix(text) for text in told[:_NAMES]))


def _tell(error: ParserError, graph: Path) -> str:
    reason = tidy_reason(error.reason) if error.reason not in ("", "false") else "not supported"
    if error.node:
        return f"node `{error.node}` ({error.operator}): {reason}"
    constants = _INITIALIZER.findall(reason)
    if not constants:
        return reason
    nodes = _find_nodes(reason, ir.load(graph))
    return f"constant `{constants[-1]}`{_at(nodes).replace(' at', ' of', 1)}: {reason}"
