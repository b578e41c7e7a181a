"""What NVIDIA documents of the DLA's limits, a graph for each; no DLA was at hand to confirm them."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from onnx import TensorProto
from qdq_graphs import Sketch, residual_net

from compress.model import Model
from compress.runtimes.build_settings import BuildSettings
from compress.runtimes.dla import describe_dla
from compress.runtimes.tensorrt_checks.dla import find_fallbacks

HALF = TensorProto.FLOAT16
Draw = Callable[[Sketch], str]


def net(draw: Draw, shape: Sequence[int | str], result: Sequence[int | str], *, dtype: int = HALF) -> Model:
    s = Sketch(shape, dtype=dtype)
    return s.finish(draw(s), result, dtype=dtype)


def conv(kernel: int = 3, channels: int = 8, **attributes: object) -> Draw:
    return lambda s: s.node("Conv", "x", s.constant(np.zeros((8, channels, kernel, kernel)), "float16"), **attributes)


def pool(**attributes: object) -> Draw:
    return lambda s: s.node("MaxPool", "x", **attributes)


def resize(factor: float, **attributes: object) -> Draw:
    return lambda s: s.node("Resize", "x", "", s.constant([1, 1, factor, factor]), **attributes)


def fallbacks(model: Model) -> list[str]:
    return [problem.reason.removesuffix(": falls back to the GPU") for problem in find_fallbacks(model)[0]]


PICTURE: list[int | str] = ["batch", 8, 64, 64]
TAKEN: dict[str, tuple[Draw, Sequence[int | str]]] = {
    "conv": (conv(pads=[1, 1, 1, 1]), PICTURE),
    "big conv": (conv(32, strides=[8, 8]), ["batch", 8, 5, 5]),
    "pool": (pool(kernel_shape=[8, 8], strides=[16, 16]), ["batch", 8, 4, 4]),
    "resize": (resize(2), ["batch", 8, 128, 128]),
    "concat": (lambda s: s.node("Concat", "x", "x", axis=1), ["batch", 16, 64, 64]),
    "clip": (lambda s: s.node("Clip", "x", s.constant(0, "float16"), s.constant(6, "float16")), PICTURE),
}
LEFT: dict[str, tuple[Draw, Sequence[int | str], str]] = {
    "kernel": (conv(33), ["batch", 8, 32, 32], "a kernel of 33, and the DLA takes 1 to 32"),
    "stride": (conv(strides=[9, 9]), ["batch", 8, 7, 7], "a stride of 9, and the DLA takes 1 to 8"),
    "padding": (conv(pads=[32, 32, 32, 32]), ["batch", 8, 126, 126], "a padding of 32, and the DLA takes 0 to 31"),
    "window": (pool(kernel_shape=[9, 9]), ["batch", 8, 56, 56], "a window of 9, and the DLA takes 1 to 8"),
    "concat": (lambda s: s.node("Concat", "x", "x", axis=2), ["batch", 8, 128, 64], "it joins axis 2, and the DLA"),
    "cubic": (resize(2, mode="cubic"), ["batch", 8, 128, 128], "it resizes by cubic interpolation"),
    "linear": (resize(8, mode="linear"), ["batch", 8, 512, 512], "it resizes 64 to 512, and the DLA by whole factors"),
    "shrink": (resize(0.5), ["batch", 8, 32, 32], "it resizes 64 to 32, and the DLA by whole factors up to 32"),
    "mean": (lambda s: s.node("GlobalAveragePool", "x"), ["batch", 8, 1, 1], "the DLA has no GlobalAveragePool"),
    "product": (lambda s: s.node("MatMul", "x", "x"), PICTURE, "its second operand is computed"),
    "transposed": (
        lambda s: s.node("ConvTranspose", "x", s.constant(np.zeros((8, 8, 3, 3)), "float16"), pads=[1, 1, 1, 1]),
        PICTURE,
        "a padding of 1, and the DLA takes 0",
    ),
    "groups": (
        lambda s: s.node("ConvTranspose", "x", s.constant(np.zeros((8, 1, 3, 3)), "float16"), group=8),
        ["batch", 8, 66, 66],
        "a number of groups of 8, and the DLA takes 1",
    ),
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
