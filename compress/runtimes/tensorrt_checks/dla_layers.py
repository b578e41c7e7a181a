"""The limits of each layer on the deep learning accelerator (DLA) of a Jetson Orin.

Each limit was read where its check says:

- *NvInfer.h*: the comments on the layers' classes in include/NvInfer.h of github.com/NVIDIA/TensorRT at v10.3.0 (commit
  c5b9de37), the version of JetPack 6. It says the same at v10.7.0, the last of the 10.x line with a DLA.
- *Table 12*: "DLA Layer Support Summary" in the TensorRT documentation, "DLA Supported Layers and Restrictions"
  (docs.nvidia.com/deeplearning/tensorrt, inference-library/dla-layer-restrictions): its rows from Activation to LRN.
- *the matrix*: operators/README.md of github.com/NVIDIA/Deep-Learning-Accelerator-SW at ea61780e.

Not checked here, since no source for it was found: limits of Transpose and Reshape (shuffle), BatchNormalization
(scale) and GlobalMaxPool (reduce), and the precision of average pooling with padding.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import onnx_ir as ir

from compress.runtimes.tensorrt_checks.problem import read_constant

MAX_SIZE: Final = 8192
"""Elements of an axis, and channels."""

Shape = tuple[int | None, ...]


def shape_of(value: ir.Value | None) -> Shape | None:
    """Return a value's shape, None for an unknown size or where nothing is known."""
    if value is None or value.shape is None:
        return None
    return tuple(size if isinstance(size, int) else None for size in value.shape)


def _check_convolution(node: ir.Node) -> Iterator[str]:
    """NvInfer.h, IConvolutionLayer; input channels by table 12."""
    weight = shape_of(node.inputs[1])
    if weight is None:
        return
    if len(weight) != 4:
        yield f"it has {len(weight) - 2} spatial axes, and the DLA takes 2"
    kernel, pads = weight[2:], node.attributes.get_ints("pads", ())
    yield from _outside(kernel, 1, 32, "kernel")
    yield from _outside(node.attributes.get_ints("strides", ()), 1, 8, "stride")
    yield from _outside(pads, 0, 31, "padding")
    for padding, size in zip(pads, (*kernel, *kernel), strict=False):
        if size is not None and padding >= size:
            yield f"a padding of {padding}, and the DLA takes less than the kernel's {size}"
    yield from _outside(node.attributes.get_ints("dilations", ()), 1, 32, "dilation")
    yield from _outside((*weight[:2], node.attributes.get_int("group", 1)), 1, MAX_SIZE, "number of channels or groups")


def _check_transposed(node: ir.Node) -> Iterator[str]:
    """NvInfer.h, IDeconvolutionLayer; no dilation by table 12."""
    yield from _outside(node.attributes.get_ints("pads", ()), 0, 0, "padding")
    yield from _outside(node.attributes.get_ints("dilations", ()), 1, 1, "dilation")
    group = node.attributes.get_int("group", 1)
    yield from _outside((group,), 1, 1, "number of groups")
    yield from _check_long(node.attributes.get_ints("strides", ()), "stride")
    weight = shape_of(node.inputs[1])
    if weight is not None:
        yield from _check_long(weight[2:], "kernel")
        yield from _outside(weight[1:2], 1, MAX_SIZE, "number of channels")


def _check_long(sizes: Sequence[int | None], what: str) -> Iterator[str]:
    """Yield what is wrong with sizes that may be longer than 32 along one axis where the other is 1."""
    known = sorted(size for size in sizes if size is not None)
    if len(known) != 2 or known[0] != 1 or known[1] not in (64, 96, 128):
        yield from _outside(sizes, 1, 32, what)


def _check_pooling(node: ir.Node) -> Iterator[str]:
    """NvInfer.h, IPoolingLayer."""
    yield from _outside(node.attributes.get_ints("kernel_shape", ()), 1, 8, "window")
    yield from _outside(node.attributes.get_ints("strides", ()), 1, 16, "stride")
    yield from _outside(node.attributes.get_ints("pads", ()), 0, 7, "padding")


def _check_concat(node: ir.Node) -> Iterator[str]:
    """NvInfer.h, IConcatenationLayer; two inputs by table 12."""
    shape, axis = shape_of(node.outputs[0]), node.attributes.get_int("axis", 1)
    if shape is not None and axis % len(shape) != len(shape) - 3:
        yield f"it joins axis {axis}, and the DLA channels only"
    if len(node.inputs) < 2:
        yield "it has one input, and the DLA takes two or more"


def _check_product(node: ir.Node) -> Iterator[str]:
    """The matrix."""
    if read_constant(node.inputs[1]) is None:
        yield "its second operand is computed, and the DLA wants a constant"


def _check_slope(node: ir.Node) -> Iterator[str]:
    """NvInfer.h, IParametricReLULayer."""
    if read_constant(node.inputs[1]) is None:
        yield "its slope is computed, and the DLA wants a constant"


def _check_normalization(node: ir.Node) -> Iterator[str]:
    """NvInfer.h, ILRNLayer."""
    size = node.attributes.get_int("size", 0)
    if size not in (3, 5, 7, 9):
        yield f"a window of {size}, and the DLA takes 3, 5, 7 or 9"


def _check_softmax(node: ir.Node) -> Iterator[str]:
    """NvInfer.h, ISoftMaxLayer."""
    shape = shape_of(node.outputs[0])
    if shape is None or len(shape) < 3:
        return
    axis = node.attributes.get_int("axis", -1) % len(shape)
    first = len(shape) - 3
    if axis < first:
        yield f"it normalizes axis {axis}, which is of the batch"
        return
    alone = all(size == 1 for place, size in enumerate(shape) if place >= first and place != axis)
    yield from _outside((shape[axis],), 1, MAX_SIZE if alone else 1024, "softmax")


def _check_slice(node: ir.Node) -> Iterator[str]:
    """NvInfer.h, ISliceLayer."""
    values = [read_constant(value) for value in node.inputs[1:] if value is not None]
    if any(value is None for value in values):
        yield "where it cuts is computed, and the DLA wants constants"
        return
    axes, steps = (read_constant(node.inputs[place]) if len(node.inputs) > place else None for place in (3, 4))
    yield from _outside([] if steps is None else [int(step) for step in steps], 1, 1, "step")
    shape = shape_of(node.inputs[0])
    if shape is not None and axes is not None:
        yield from _check_cut(shape, [int(axis) % len(shape) for axis in axes])


def _check_split(node: ir.Node) -> Iterator[str]:
    """NvInfer.h, ISliceLayer, which the matrix says the parser makes of it."""
    shape = shape_of(node.inputs[0])
    if shape is not None:
        yield from _check_cut(shape, [node.attributes.get_int("axis", 0) % len(shape)])


def _check_cut(shape: Shape, axes: Sequence[int]) -> Iterator[str]:
    if len(shape) != 4:
        yield f"it cuts a tensor of {len(shape)} axes, and the DLA takes 4"
    if 0 in axes:
        yield "it cuts the batch"


_ROUNDING = {
    "half_pixel": ("round_prefer_floor", "round_prefer_ceil"),
    "asymmetric": ("floor",),
}
"""What nearest interpolation may be, in ONNX's words."""
_LINEAR = ("half_pixel", "pytorch_half_pixel")


def _check_resize(node: ir.Node) -> Iterator[str]:
    """NvInfer.h, IResizeLayer; what the parser makes of ONNX's attributes by onnx-tensorrt 10.1 (commit 96e78110)."""
    mode = node.attributes.get_string("mode", "nearest")
    most = {"nearest": 32, "linear": 4}.get(mode)
    if most is None:
        yield f"it resizes by {mode} interpolation, and the DLA by nearest or linear"
        return
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        yield "it resizes to a size, and the DLA by a factor"
    where = node.attributes.get_string("coordinate_transformation_mode", "half_pixel")
    rounding = node.attributes.get_string("nearest_mode", "round_prefer_floor")
    if mode == "linear" and where not in _LINEAR:
        yield f"it resizes with {where} coordinates, and the DLA with half_pixel"
    if mode == "nearest" and rounding not in _ROUNDING.get(where, ()):
        yield f"it resizes with {where} coordinates and {rounding}, and the DLA with half_pixel or asymmetric and floor"
    before, after = shape_of(node.inputs[0]), shape_of(node.outputs[0])
    for axis, (old, new) in enumerate(zip(before or (), after or (), strict=False)):
        limit = most if axis >= 2 else 1
        if old is not None and new is not None and (new % old or not 1 <= new // old <= limit):
            yield f"it resizes {old} to {new}, and the DLA height and width by whole factors up to {most}"
            return


def _outside(values: Sequence[int | None], least: int, most: int, what: str) -> Iterator[str]:
    wrong = next((value for value in values if value is not None and not least <= value <= most), None)
    if wrong is not None:
        yield f"a {what} of {wrong}, and the DLA takes {least if least == most else f'{least} to {most}'}"


CHECKS: Final[dict[str, Callable[[ir.Node], Iterator[str]]]] = {
    "AveragePool": _check_pooling,
    "Concat": _check_concat,
    "Conv": _check_convolution,
    "ConvTranspose": _check_transposed,
    "Gemm": _check_product,
    "LRN": _check_normalization,
    "MatMul": _check_product,
    "MaxPool": _check_pooling,
    "PRelu": _check_slope,
    "Resize": _check_resize,
    "Slice": _check_slice,
    "Softmax": _check_softmax,
    "Split": _check_split,
}
"""What each operator's layer is checked for: yields why the DLA does not take it."""
