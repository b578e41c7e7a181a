"""What the deep learning accelerator (DLA) of a Jetson Orin leaves to the GPU.

None of it makes a build fail: with GPU fallback TensorRT moves these layers to the GPU, silently, and every change of
place copies tensors. So they are findings, not refusals. The rules, and where they were read (no DLA was at hand: they
are NVIDIA's word, not measured):

1. It computes in float16 and int8 (TensorRT documentation, "Working with DLA").
2. TensorRT 10 takes int8 to it by implicit quantization only, so Q/DQ and what they feed fall back (the matrix below,
   rows QuantizeLinear and DequantizeLinear; github.com/NVIDIA/TensorRT issue 2222; NVIDIA/Model-Optimizer pull request
   1661, of June 2026).
3. Operators that the matrix "Supported ONNX Operators & Functions on Orin DLA" (operators/README.md of
   github.com/NVIDIA/Deep-Learning-Accelerator-SW at ea61780e) does not list as native through TensorRT fall back. Min,
   which it does not have, is in the documentation's table 12 and in NvInfer.h. Cos, Sin and Atanh, which it has since
   TensorRT 8.6.12, are not in NvInfer.h of 10.3, which has Abs alone: they are told as falling back.
4. Equal, Greater and Less are compared in int8 only (table 12).
5. Tensors have two spatial axes (table 12: "2D only"); an axis has at most 8,192 elements, the batch, which is every
   axis before the last three, at most 4,096 samples ("DLA Supported Layers and Restrictions", general restrictions).
6. Each layer has limits of its own: ``dla_layers.py``.
"""

import math
from collections.abc import Iterator
from typing import Final

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from compress.model import Model
from compress.runtimes.tensorrt_checks.dla_layers import CHECKS, MAX_SIZE, shape_of
from compress.runtimes.tensorrt_checks.problem import Problem, name_node, read_type

NATIVE: Final = frozenset(
    {
        *("Abs", "Add", "AveragePool", "BatchNormalization", "Clip", "Concat", "Conv", "ConvTranspose", "Div", "Equal"),
        *("Gemm", "GlobalMaxPool", "Greater", "LRN", "LeakyRelu", "Less", "MatMul", "Max", "MaxPool", "Min", "Mul"),
        *("PRelu", "Pow", "Relu", "Reshape", "Resize", "Sigmoid", "Slice", "Softmax", "Split", "Sub", "Sum", "Tanh"),
        *("Transpose", "Upsample"),
    }
)
"""Operators that run on Orin's DLA, within the limits of the rules."""

_COMPARISONS = frozenset({"Equal", "Greater", "Less"})
_TYPES = frozenset({ir.DataType.FLOAT16, ir.DataType.INT8})
_ANY_RANK = frozenset({"Gemm", "MatMul", "Reshape", "Transpose"})
_MAX_BATCH = 4096
_FLOAT16 = "use the recipe fp16"
_LEAVE = "nothing is wrong with it; fewer such layers mean fewer copies between DLA and GPU"


def find_fallbacks(model: Model) -> tuple[tuple[Problem, ...], int]:
    """Return the nodes that fall back to the GPU, in the order of the graph, and how many nodes there are.

    Nodes that compute nothing, or nothing but constants, are not counted.
    """
    graph = model.copy_graph()
    for named, node in zip(model.graph.graph.all_nodes(), graph.graph.all_nodes(), strict=True):
        # A copy makes up names for nodes that have none.
        node.name = name_node(named)
    ShapeInferencePass()(graph)
    constants: set[ir.Value] = set(graph.graph.initializers.values())
    problems: list[Problem] = []
    count = 0
    for node in graph.graph.all_nodes():
        if all(value is None or value in constants for value in node.inputs):
            constants.update(node.outputs)
            continue
        if node.op_type == "Identity":
            continue
        count += 1
        found = next(_refusals(node), None)
        if found is not None:
            problems.append(Problem(name_node(node), f"{found[0]}: falls back to the GPU", found[1]))
    return tuple(problems), count


def is_dequantized(node: ir.Node) -> bool:
    """Return whether an operand comes from DequantizeLinear, which makes the layer an int8 one."""
    producers = (value.producer() for value in node.inputs if value is not None)
    return any(producer is not None and producer.op_type == "DequantizeLinear" for producer in producers)


def _refusals(node: ir.Node) -> Iterator[tuple[str, str]]:
    """Yield why the DLA does not take a node, each with what to do."""
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        yield f"{node.op_type}: TensorRT 10 takes no Q/DQ to the DLA", _FLOAT16
    elif is_dequantized(node):
        yield "int8 by Q/DQ, which TensorRT 10 does not take to the DLA", _FLOAT16
    elif node.domain not in ("", "ai.onnx") or node.op_type not in NATIVE:
        yield f"the DLA has no {node.op_type}", _LEAVE
    elif node.op_type in _COMPARISONS:
        yield f"the DLA has {node.op_type} in int8 only", _LEAVE
    kind = read_type(node.outputs[0])
    if kind is not None and kind not in _TYPES:
        yield f"works in {kind.numpy().name}, and the DLA in float16", _FLOAT16
    yield from ((reason, _LEAVE) for reason in _check_shapes(node))
    check = CHECKS.get(node.op_type)
    if check is not None:
        yield from ((reason, _LEAVE) for reason in check(node))


def _check_shapes(node: ir.Node) -> Iterator[str]:
    shape = shape_of(node.outputs[0])
    if shape is None:
        return
    if len(shape) < 4 and node.op_type not in _ANY_RANK:
        yield f"its result has {len(shape)} axes, and the DLA takes 4"
    first = max(len(shape) - 3, 1)
    batch = math.prod(size for size in shape[:first] if size is not None)
    if batch > _MAX_BATCH:
        yield f"a batch of {batch}, more than {_MAX_BATCH}"
    for axis, size in enumerate(shape[first:], first):
        if size is not None and size > MAX_SIZE:
            yield f"axis {axis} of its result has {size} elements, more than {MAX_SIZE}"
