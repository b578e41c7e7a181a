"""Resize beside ONNX Runtime, in every mode that it knows."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from single_operator import Array, kernel_of, run_kernel, run_onnxruntime

from compress.torchnet.operators import OperatorError

COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric")
NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


def _image(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def _check(x: Array, *, sizes: list[int] | None = None, scales: list[float] | None = None, **attributes: Any) -> None:
    inputs = [
        x,
        None,
        None if scales is None else np.array(scales, np.float32),
        None if sizes is None else np.array(sizes, np.int64),
    ]
    _compare(*(inputs if sizes is not None else inputs[:3]), **attributes)


def _compare(*inputs: Array | None, **attributes: Any) -> None:
    ours = run_kernel("Resize", *inputs, opset=19, **attributes)[0]
    theirs = run_onnxruntime("Resize", *inputs, opset=19, **attributes)[0]
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


SIZES = st.tuples(st.integers(2, 9), st.integers(2, 9))


@settings(deadline=None, max_examples=40, derandomize=True)
@given(source=SIZES, result=SIZES, coordinates=st.sampled_from(COORDINATES), mode=st.sampled_from(("linear", "cubic")))
def test_an_interpolation_to_a_size_equals_onnx_runtime(
    source: tuple[int, int], result: tuple[int, int], coordinates: str, mode: str
) -> None:
    _check(_image(2, 3, *source), sizes=[2, 3, *result], mode=mode, coordinate_transformation_mode=coordinates)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    source=SIZES,
    scales=st.tuples(*[st.sampled_from((0.5, 0.6, 0.75, 1.0, 1.5, 2.0, 2.5))] * 2),
    # ONNX aligns corners of the exact length, ONNX Runtime of the rounded one: conformance covers that.
    coordinates=st.sampled_from(("half_pixel", "asymmetric")),
    mode=st.sampled_from(("linear", "cubic")),
)
def test_an_interpolation_by_a_scale_equals_onnx_runtime(
    source: tuple[int, int], scales: tuple[float, float], coordinates: str, mode: str
) -> None:
    _check(_image(1, 2, *source), scales=[1.0, 1.0, *scales], mode=mode, coordinate_transformation_mode=coordinates)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    source=SIZES,
    scales=st.tuples(*[st.sampled_from((0.5, 0.75, 1.0, 2.0, 3.0))] * 2),
    coordinates=st.sampled_from(("half_pixel", "asymmetric")),
    nearest=st.sampled_from(NEAREST),
)
def test_the_nearest_position_equals_onnx_runtime(
    source: tuple[int, int], scales: tuple[float, float], coordinates: str, nearest: str
) -> None:
    _check(
        _image(1, 2, *source),
        scales=[1.0, 1.0, *scales],
        mode="nearest",
        coordinate_transformation_mode=coordinates,
        nearest_mode=nearest,
    )


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("result", [(3, 4), (5, 11), (13, 2)])
def test_antialiasing_equals_onnx_runtime(mode: str, result: tuple[int, int]) -> None:
    _check(_image(1, 3, 11, 13), sizes=[1, 3, *result], mode=mode, antialias=1)


def test_a_cubic_coefficient_and_excluded_outsides_equal_onnx_runtime() -> None:
    _check(_image(1, 2, 5, 6), sizes=[1, 2, 8, 9], mode="cubic", cubic_coeff_a=-0.5, exclude_outside=1)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_a_crop_equals_onnx_runtime_outside_of_the_image_too(mode: str) -> None:
    roi = np.array([0, 0, 0.2, -0.3, 1, 1, 1.4, 0.8], np.float32)
    inputs = [_image(1, 2, 5, 6), roi, None, np.array([1, 2, 4, 7], np.int64)]
    attributes: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": "tf_crop_and_resize"}

    _compare(*inputs, extrapolation_value=9.0, **attributes)
    assert (run_kernel("Resize", *inputs, extrapolation_value=9.0, **attributes)[0] == 9.0).any()


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
def test_the_aspect_ratio_is_kept_on_the_named_axes(policy: str) -> None:
    inputs = [_image(1, 2, 4, 6), None, None, np.array([7, 8], np.int64)]

    _compare(*inputs, mode="linear", axes=[2, 3], keep_aspect_ratio_policy=policy)


def test_a_sequence_and_a_volume_are_resized_too() -> None:
    _check(_image(2, 3, 7), sizes=[2, 3, 5], mode="linear")
    _check(_image(1, 2, 3, 4, 5), sizes=[1, 2, 5, 6, 7], mode="linear")
    _check(_image(1, 2, 3, 4, 5), scales=[1, 1, 2, 2, 2], mode="nearest", coordinate_transformation_mode="asymmetric")


def test_integers_take_the_nearest_value() -> None:
    image = np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4)

    _check(image, scales=[1, 1, 2, 2], mode="nearest")


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_upsample_equals_onnx_runtime(mode: str) -> None:
    inputs = [_image(1, 2, 3, 4), np.array([1, 1, 2, 2.5], np.float32)]
    ours = run_kernel("Upsample", *inputs, opset=9, mode=mode)[0]

    np.testing.assert_allclose(ours, run_onnxruntime("Upsample", *inputs, opset=9, mode=mode)[0], rtol=1e-5, atol=1e-6)


def test_one_kernel_serves_images_of_any_size() -> None:
    import torch

    kernel = kernel_of("Resize", inputs=3, mode="linear")
    scales = torch.tensor([1.0, 1.0, 2.0, 2.0])

    for size in (3, 5):
        image = torch.randn(1, 2, size, size + 1, generator=torch.Generator().manual_seed(0))
        expected = torch.nn.functional.interpolate(image, scale_factor=2, mode="bilinear")
        torch.testing.assert_close(kernel(image, None, scales), expected)


def _attributes(values: dict[str, Any]) -> dict[str, Any]:
    return values


def test_an_old_resize_is_refused() -> None:
    with pytest.raises(OperatorError, match="Resize `resize` is of opset 10") as caught:
        kernel_of("Resize", opset=10)
    assert caught.value.hint == "convert the model to opset 13"


@pytest.mark.parametrize(
    ("attribute", "value"),
    [("mode", "lanczos"), ("coordinate_transformation_mode", "corners"), ("nearest_mode", "up")],
)
def test_an_unknown_mode_is_refused_by_name(attribute: str, value: str) -> None:
    with pytest.raises(OperatorError, match=f"Resize `resize` has {attribute} `{value}`"):
        kernel_of("Resize", **_attributes({attribute: value}))


def test_an_unknown_policy_is_refused_by_name() -> None:
    with pytest.raises(OperatorError, match="keep_aspect_ratio_policy `squeeze`"):
        kernel_of("Resize", keep_aspect_ratio_policy="squeeze")
