"""What the deep learning accelerator (DLA) of a Jetson Orin leaves to the GPU.

None of it makes a build fail: with GPU fallback TensorRT moves these layers to the GPU, silently, and every change of
place copies tensors. So they are findings, not refusals. The rules:

1. The DLA computes in float16 and int8: a node that works in another type falls back.
2. QuantizeLinear and DequantizeLinear fall back: TensorRT 10 takes int8 on the DLA by implicit quantization only.
3. Operators that NVIDIA's matrix does not list as native through TensorRT fall back.
4. Tensors have four axes, of at most 8,192 elements each; batches have at most 4,096 samples.
5. Convolutions: two spatial axes, kernels of 1 to 32, strides of 1 to 8, paddings of 0 to 31, dilations of 1 to 32, at
   most 8,192 channels. Transposed ones: no padding, no groups, no dilation. Pooling: windows of 1 to 8, strides of 1 to
   16, paddings of 0 to 7. Concat: channels only. MatMul and Gemm: a constant second operand. Resize: nearest or linear,
   by whole factors of 1 to 32 or 1 to 4.

Sources: NVIDIA TensorRT documentation, "DLA Supported Layers and Restrictions"
(docs.nvidia.com/deeplearning/tensorrt, inference-library/dla-layer-restrictions); "Supported ONNX Operators on Orin
DLA" (github.com/NVIDIA/Deep-Learning-Accelerator-SW, operators/README.md, commit 07df2338), which the former extends by
Div, Greater, Less, Min and Pow; rule 2: github.com/NVIDIA/Model-Optimizer, pull request 1661. No DLA was at hand: the
rules are NVIDIA's word, not measured.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from compress.model import Model
from compress.runtimes.tensorrt_checks.problem import Problem, name_node, read_constant, read_type

NATIVE: Final = frozenset(
    {
        *("Abs", "Add", "AveragePool", "BatchNormalization", "Clip", "Concat", "Conv", "ConvTranspose", "Cos", "Div"),
        *("Equal", "Gemm", "Greater", "LRN", "LeakyRelu", "Less", "MatMul", "Max", "MaxPool", "Min", "Mul", "PRelu"),
        *("Pow", "Relu", "Reshape", "Resize", "Sigmoid", "Slice", "Softmax", "Sub", "Sum", "Tanh", "Transpose"),
        "Upsample",
    }
)
"""Operators that run on Orin's DLA, within the limits of the rules."""

_TYPES = frozenset({ir.DataType.FLOAT16, ir.DataType.INT8, ir.DataType.BOOL})
_ANY_RANK = frozenset({"Gemm", "MatMul", "Reshape", "Transpose"})
_MAX_SIZE, _MAX_BATCH = 8192, 4096
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


def _refusals(node: ir.Node) -> Iterator[tuple[str, str]]:
    """Yield why the DLA does not take a node, each with what to do."""
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        yield f"{node.op_type}: TensorRT 10 takes no Q/DQ to the DLA", _FLOAT16
    elif node.domain not in ("", "ai.onnx") or node.op_type not in NATIVE:
        yield f"the DLA has no {node.op_type}", _LEAVE
    kind = read_type(node.outputs[0])
    if kind is not None and kind not in _TYPES:
        yield f"works in {kind.numpy().name}, and the DLA in float16", _FLOAT16
    yield from ((reason, _LEAVE) for reason in _check_shapes(node))
    check = _CHECKS.get(node.op_type)
    if check is not None:
        yield from ((reason, _LEAVE) for reason in check(node))


def _check_shapes(node: ir.Node) -> Iterator[str]:
    shape = _shape(node.outputs[0])
    if shape is None:
        return
    if len(shape) != 4 and node.op_type not in _ANY_RANK:
        yield f"its result has {len(shape)} axes, and the DLA takes 4"
    limits = (_MAX_BATCH, *[_MAX_SIZE] * (len(shape) - 1))
    for axis, (size, limit) in enumerate(zip(shape, limits, strict=True)):
        if size is not None and size > limit:
            yield f"axis {axis} of its result has {size} elements, more than {limit}"


def _shape(value: ir.Value | None) -> tuple[int | None, ...] | None:
    if value is None or value.shape is None:
        return None
    return tuple(size if isinstance(size, int) else None for size in value.shape)


def _check_convolution(node: ir.Node) -> Iterator[str]:
    weight = _shape(node.inputs[1])
    if weight is None:
        return
    if len(weight) != 4:
        yield f"it has {len(weight) - 2} spatial axes, and the DLA takes 2"
    yield from _outside(weight[2:], 1, 32, "kernel")
    yield from _outside(node.attributes.get_ints("strides", ()), 1, 8, "stride")
    yield from _outside(node.attributes.get_ints("pads", ()), 0, 31, "padding")
    yield from _outside(node.attributes.get_ints("dilations", ()), 1, 32, "dilation")
    yield from _outside(weight[:2], 1, _MAX_SIZE, "number of channels")


def _check_transposed(node: ir.Node) -> Iterator[str]:
    yield from _outside(node.attributes.get_ints("pads", ()), 0, 0, "padding")
    yield from _outside(node.attributes.get_ints("dilations", ()), 1, 1, "dilation")
    yield from _outside((node.attributes.get_int("group", 1),), 1, 1, "number of groups")
    weight = _shape(node.inputs[1])
    yield from _outside(weight[2:] if weight else (), 1, 32, "kernel")


def _check_pooling(node: ir.Node) -> Iterator[str]:
    yield from _outside(node.attributes.get_ints("kernel_shape", ()), 1, 8, "window")
    yield from _outside(node.attributes.get_ints("strides", ()), 1, 16, "stride")
    yield from _outside(node.attributes.get_ints("pads", ()), 0, 7, "padding")


def _check_concat(node: ir.Node) -> Iterator[str]:
    shape = _shape(node.outputs[0])
    axis = node.attributes.get_int("axis", 1)
    if shape is not None and axis % len(shape) != 1:
        yield f"it joins axis {axis}, and the DLA channels only"


def _check_product(node: ir.Node) -> Iterator[str]:
    if read_constant(node.inputs[1]) is None:
        yield "its second operand is computed, and the DLA wants a constant"


def _check_resize(node: ir.Node) -> Iterator[str]:
    mode = node.attributes.get_string("mode", "nearest")
    most = {"nearest": 32, "linear": 4}.get(mode)
    if most is None:
        yield f"it resizes by {mode} interpolation, and the DLA by nearest or linear"
        return
    before, after = _shape(node.inputs[0]), _shape(node.outputs[0])
    for old, new in zip((before or ())[2:], (after or ())[2:], strict=False):
        if old is not None and new is not None and (new % old or not 1 <= new // old <= most):
            yield f"it resizes {old} to {new}, and the DLA by whole factors up to {most}"
            return


def _outside(values: Sequence[int | None], least: int, most: int, what: str) -> Iterator[str]:
    wrong = next((value for value in values if value is not None and not least <= value <= most), None)
    if wrong is not None:
        yield f"a {what} of {wrong}, and the DLA takes {least if least == most else f'{least} to {most}'}"


_CHECKS: Final[dict[str, Callable[[ir.Node], Iterator[str]]]] = {
    "AveragePool": _check_pooling,
    "Concat": _check_concat,
    "Conv": _check_convolution,
    "ConvTranspose": _check_transposed,
    "Gemm": _check_product,
    "MatMul": _check_product,
    "MaxPool": _check_pooling,
    "Resize": _check_resize,
}
