"""What NVIDIA documents of the DLA's limits, a graph for each; no DLA was at hand to confirm them."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from onnx import TensorProto
from qdq_graphs import Sketch, residual_net

from compress.model import Model
from compress.runtimes.build_settings import BuildSettings
from compress.runtimes.dla import describe_dla, plan_dla
from compress.runtimes.tensorrt_checks.dla import find_fallbacks

HALF = TensorProto.FLOAT16
Draw = Callable[[Sketch], str]


def net(draw: Draw, shape: Sequence[int | str], result: Sequence[int | str], *, dtype: int = HALF) -> Model:
    s = Sketch(shape, dtype=dtype)
    return s.finish(draw(s), result, dtype=dtype)


def conv(kernel: int = 3, channels: int = 8, **attributes: object) -> Draw:
    return lambda s: s.node("Conv", "x", s.constant(np.zeros((8, channels, kernel, kernel)), "float16"), **attributes)


def transposed(*weight: int, **attributes: object) -> Draw:
    return lambda s: s.node("ConvTranspose", "x", s.constant(np.zeros(weight), "float16"), **attributes)


def pool(**attributes: object) -> Draw:
    return lambda s: s.node("MaxPool", "x", **attributes)


def resize(factor: float, **attributes: object) -> Draw:
    return lambda s: s.node("Resize", "x", "", s.constant([1, 1, factor, factor]), **attributes)


def cut(start: int, end: int, axis: int, step: int = 1) -> Draw:
    return lambda s: s.node("Slice", "x", *(s.constant([value], "int64") for value in (start, end, axis, step)))


def plain(operator: str, **attributes: object) -> Draw:
    return lambda s: s.node(operator, "x", **attributes)


def twice(operator: str, **attributes: object) -> Draw:
    return lambda s: s.node(operator, "x", "x", **attributes)


def fallbacks(model: Model) -> list[str]:
    return [problem.reason.removesuffix(": falls back to the GPU") for problem in find_fallbacks(model)[0]]


PICTURE: list[int | str] = ["batch", 8, 64, 64]
TAKEN: dict[str, tuple[Draw, Sequence[int | str]]] = {
    "conv": (conv(pads=[1, 1, 1, 1]), PICTURE),
    "big conv": (conv(32, strides=[8, 8], pads=[31, 31, 31, 31]), ["batch", 8, 12, 12]),
    "pool": (pool(kernel_shape=[8, 8], strides=[16, 16]), ["batch", 8, 4, 4]),
    "transposed": (transposed(8, 8, 32, 32, strides=[32, 32]), ["batch", 8, 2048, 2048]),
    "long transposed": (transposed(8, 8, 1, 64, strides=[1, 64]), ["batch", 8, 64, 4096]),
    "resize": (resize(2), ["batch", 8, 128, 128]),
    "resize by floor": (
        resize(32, coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
        ["batch", 8, 2048, 2048],
    ),
    "linear": (
        resize(4, mode="linear", coordinate_transformation_mode="pytorch_half_pixel"),
        ["batch", 8, 256, 256],
    ),
    "concat": (twice("Concat", axis=-3), ["batch", 16, 64, 64]),
    "softmax": (plain("Softmax", axis=1), PICTURE),
    "slice": (cut(0, 4, 1), ["batch", 4, 64, 64]),
    "normalization": (plain("LRN", size=5), PICTURE),
    "power": (twice("Pow"), PICTURE),
    "clip": (lambda s: s.node("Clip", "x", s.constant(0, "float16"), s.constant(6, "float16")), PICTURE),
}
LEFT: dict[str, tuple[Draw, Sequence[int | str], str]] = {
    "kernel": (conv(33), ["batch", 8, 32, 32], "a kernel of 33, and the DLA takes 1 to 32"),
    "stride": (conv(strides=[9, 9]), ["batch", 8, 7, 7], "a stride of 9, and the DLA takes 1 to 8"),
    "padding": (conv(pads=[32, 32, 32, 32]), ["batch", 8, 126, 126], "a padding of 32, and the DLA takes 0 to 31"),
    "wide padding": (conv(pads=[0, 3, 0, 0]), ["batch", 8, 62, 65], "a padding of 3, and the DLA takes less than the"),
    "dilation": (conv(2, dilations=[33, 33]), ["batch", 8, 31, 31], "a dilation of 33, and the DLA takes 1 to 32"),
    "window": (pool(kernel_shape=[9, 9]), ["batch", 8, 56, 56], "a window of 9, and the DLA takes 1 to 8"),
    "pool stride": (pool(kernel_shape=[2, 2], strides=[17, 17]), ["batch", 8, 4, 4], "a stride of 17, and the DLA"),
    "concat": (twice("Concat", axis=2), ["batch", 8, 128, 64], "it joins axis 2, and the DLA"),
    "one input": (plain("Concat", axis=1), PICTURE, "it has one input, and the DLA takes two or more"),
    "cubic": (resize(2, mode="cubic"), ["batch", 8, 128, 128], "it resizes by cubic interpolation"),
    "linear": (resize(8, mode="linear"), ["batch", 8, 512, 512], "it resizes 64 to 512, and the DLA height and width"),
    "shrink": (resize(0.5), ["batch", 8, 32, 32], "it resizes 64 to 32, and the DLA height and width by whole"),
    "corners": (
        resize(2, mode="linear", coordinate_transformation_mode="align_corners"),
        ["batch", 8, 128, 128],
        "it resizes with align_corners coordinates, and the DLA with half_pixel",
    ),
    "rounding": (
        resize(2, nearest_mode="ceil"),
        ["batch", 8, 128, 128],
        "it resizes with half_pixel coordinates and ceil, and the DLA with",
    ),
    "size": (
        lambda s: s.node("Resize", "x", "", "", s.constant([1, 8, 128, 128], "int64")),
        [1, 8, 128, 128],
        "it resizes to a size, and the DLA by a factor",
    ),
    "mean": (plain("GlobalAveragePool"), ["batch", 8, 1, 1], "the DLA has no GlobalAveragePool"),
    "cosine": (plain("Cos"), PICTURE, "the DLA has no Cos"),
    "comparison": (
        lambda s: s.node("Cast", s.node("Less", "x", "x"), to=HALF),
        PICTURE,
        "the DLA has Less in int8 only",
    ),
    "product": (twice("MatMul"), PICTURE, "its second operand is computed"),
    "slope": (twice("PRelu"), PICTURE, "its slope is computed"),
    "transposed": (transposed(8, 8, 3, 3, pads=[1, 1, 1, 1]), PICTURE, "a padding of 1, and the DLA takes 0"),
    "dilated": (transposed(8, 8, 2, 2, dilations=[2, 2]), ["batch", 8, 66, 66], "a dilation of 2, and the DLA takes 1"),
    "groups": (transposed(8, 1, 3, 3, group=8), ["batch", 8, 66, 66], "a number of groups of 8, and the DLA takes 1"),
    "long kernel": (transposed(8, 8, 2, 64), ["batch", 8, 65, 127], "a kernel of 64, and the DLA takes 1 to 32"),
    "normalization": (plain("LRN", size=11), PICTURE, "a window of 11, and the DLA takes 3, 5, 7 or 9"),
    "softmax": (plain("Softmax", axis=0), PICTURE, "it normalizes axis 0, which is of the batch"),
    "step": (cut(0, 64, 3, 2), ["batch", 8, 64, 32], "a step of 2, and the DLA takes 1"),
    "batch": (cut(0, 1, 0), [1, 8, 64, 64], "it cuts the batch"),
}  # fmt: skip


@pytest.mark.parametrize(("draw", "result"), TAKEN.values(), ids=TAKEN)
def test_within_its_limits_the_dla_takes_a_layer(draw: Draw, result: Sequence[int | str]) -> None:
    found, count = find_fallbacks(net(draw, PICTURE, result))
    assert (found, count) == ((), 1)


@pytest.mark.parametrize(("draw", "result", "reason"), LEFT.values(), ids=LEFT)
def test_beyond_its_limits_a_layer_falls_back_to_the_gpu(draw: Draw, result: Sequence[int | str], reason: str) -> None:
    assert fallbacks(net(draw, PICTURE, result))[0].startswith(reason)


def test_one_spatial_axis_is_not_two() -> None:
    draw: Draw = lambda s: s.node("Conv", "x", s.constant(np.zeros((4, 8, 3)), "float16"))  # noqa: E731
    assert fallbacks(net(draw, ["batch", 8, 64], ["batch", 4, 62]))[0] == "its result has 3 axes, and the DLA takes 4"


def test_an_axis_may_have_8192_elements() -> None:
    draw: Draw = lambda s: s.node("Relu", "x")  # noqa: E731
    assert fallbacks(net(draw, [1, 1, 8192, 1], [1, 1, 8192, 1])) == []
    assert fallbacks(net(draw, [1, 1, 8193, 1], [1, 1, 8193, 1]))[0] == (
        "axis 2 of its result has 8193 elements, more than 8192"
    )


def test_a_softmax_over_all_there_is_may_be_longer() -> None:
    draw = plain("Softmax", axis=1)
    assert fallbacks(net(draw, [1, 8192, 1, 1], [1, 8192, 1, 1])) == []
    assert fallbacks(net(draw, [1, 1025, 2, 1], [1, 1025, 2, 1]))[0] == "a softmax of 1025, and the DLA takes 1 to 1024"


def test_every_axis_before_the_last_three_is_of_the_batch() -> None:
    draw = plain("Relu")
    assert fallbacks(net(draw, [64, 64, 3, 8, 8], [64, 64, 3, 8, 8])) == []
    assert fallbacks(net(draw, [64, 65, 3, 8, 8], [64, 65, 3, 8, 8]))[0] == "a batch of 4160, more than 4096"


def test_a_slice_takes_four_axes() -> None:
    assert fallbacks(net(cut(0, 1, 2), [1, 1, 2, 8, 8], [1, 1, 1, 8, 8]))[0] == (
        "it cuts a tensor of 5 axes, and the DLA takes 4"
    )


def test_what_is_split_is_cut_too() -> None:
    def split(axis: int) -> Draw:
        def draw(s: Sketch) -> str:
            name = s.node("Split", "x", axis=axis, num_outputs=2)
            s.nodes[-1].output.append("rest")
            return name

        return draw

    assert fallbacks(net(split(1), [4, 8, 8, 8], [4, 4, 8, 8])) == []
    assert fallbacks(net(split(0), [4, 8, 8, 8], [2, 8, 8, 8])) == ["it cuts the batch"]


def test_float16_layers_that_qdq_makes_int8_fall_back() -> None:
    def draw(s: Sketch) -> str:
        scale, zero = s.constant(0.5, "float16"), s.constant(0, "int8")
        return s.node("Relu", s.node("DequantizeLinear", s.node("QuantizeLinear", "x", scale, zero), scale, zero))

    assert fallbacks(net(draw, PICTURE, PICTURE)) == [
        "QuantizeLinear: TensorRT 10 takes no Q/DQ to the DLA",
        "DequantizeLinear: TensorRT 10 takes no Q/DQ to the DLA",
        "int8 by Q/DQ, which TensorRT 10 does not take to the DLA",
    ]


def test_layers_of_two_results_are_pinned_only_where_both_are_float32() -> None:
    def draw(s: Sketch) -> str:
        name = s.node("TopK", s.node("Relu", "x"), s.constant([2], "int64"), axis=1)
        s.nodes[-1].output.append("places")
        s.nodes[-2].name = ""
        return name

    model = net(draw, [1, 8, 4, 4], [1, 2, 4, 4], dtype=TensorProto.FLOAT)
    assert plan_dla(model, BuildSettings(dla=True)) == {"float32": ["node_of_Relu_0"], "int8": False}


def test_float32_falls_back() -> None:
    draw: Draw = lambda s: s.node("Relu", "x")  # noqa: E731
    model = net(draw, PICTURE, PICTURE, dtype=TensorProto.FLOAT)
    assert fallbacks(model)[0] == "works in float32, and the DLA in float16"
    assert find_fallbacks(model)[0][0].fix == "use the recipe fp16"


def test_constants_are_not_counted() -> None:
    weights, last = 4, 1
    found, count = find_fallbacks(residual_net())
    assert count == len(residual_net().graph.graph) - weights - last
    assert len(found) == count


def test_the_report_groups_the_nodes_and_the_log_has_each() -> None:
    draw: Draw = lambda s: s.node("Relu", s.node("Erf", s.node("Erf", "x")))  # noqa: E731
    notes, lines = describe_dla(net(draw, PICTURE, PICTURE), BuildSettings(dla=True))
    assert notes == (
        "DLA: 1 of 3 nodes may run on it by NVIDIA's documents, which no board confirmed.",
        "DLA: nodes `Erf_0`, `Erf_1`: the DLA has no Erf: falls back to the GPU.",
    )
    assert len(lines) == 2
    assert lines[0] == "DLA: node `Erf_0`: the DLA has no Erf: falls back to the GPU"


def test_nothing_is_said_of_a_dla_that_is_not_used() -> None:
    assert describe_dla(residual_net(), BuildSettings()) == ((), ())
