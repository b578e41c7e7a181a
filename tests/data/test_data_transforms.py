"""Transforms against what they say they compute."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from compress.data.samples import Array
from compress.data.transforms import Transform, apply_transforms
from compress.errors import DataError

ADAPTER: TypeAdapter[Transform] = TypeAdapter(Transform)


def apply(array: Array, *tables: Mapping[str, object], name: str = "x") -> NDArray[Any]:
    return apply_transforms(tuple(ADAPTER.validate_python(table) for table in tables), name, array, "sample 3 of `set`")


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def test_scale_and_normalise_make_the_usual_floats() -> None:
    image = noise(5, 4, 3)
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]
    found = apply(image, {"kind": "scale"}, {"kind": "normalise", "mean": mean, "std": std})
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, (image / 255 - mean) / std, rtol=1e-5, atol=1e-6)


def test_normalise_takes_channels_first_with_axis_zero() -> None:
    image = noise(5, 4, 3)
    last = {"kind": "normalize", "mean": [0.1, 0.2, 0.3], "std": [1, 2, 3]}
    first = apply(image, {"kind": "scale"}, {"kind": "layout", "to": "chw"}, {**last, "axis": 0})
    np.testing.assert_array_equal(first, apply(image, {"kind": "scale"}, last, {"kind": "layout", "to": "chw"}))
    assert first.flags.c_contiguous


def test_one_mean_serves_all_channels() -> None:
    found = apply(noise(3, 2), {"kind": "scale", "divisor": 1}, {"kind": "normalise", "mean": [100], "std": [10]})
    np.testing.assert_allclose(found, (noise(3, 2) - 100.0) / 10)


def test_resize_of_the_shorter_side_keeps_the_proportions() -> None:
    assert apply(noise(60, 80, 3), {"kind": "resize", "shorter": 30}).shape == (30, 40, 3)
    assert apply(noise(80, 60, 3), {"kind": "resize", "shorter": 30}).shape == (40, 30, 3)
    assert apply(noise(80, 60), {"kind": "resize", "size": [5, 7], "method": "bicubic"}).shape == (5, 7)


def test_resize_is_pillows_antialiased_filter() -> None:
    image = noise(60, 80, 3)
    expected = np.asarray(Image.fromarray(image).resize((40, 30), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(apply(image, {"kind": "resize", "size": [30, 40], "method": "bicubic"}), expected)


def test_floats_and_grey_images_resize_like_bytes() -> None:
    image = noise(60, 80, 3)
    table = {"kind": "resize", "shorter": 30}
    bytes_first = apply(image, table).astype(np.float32)
    np.testing.assert_allclose(apply(image.astype(np.float32), table), bytes_first, atol=1.01)
    one = apply(image[..., :1], table)
    assert one.shape == (30, 40, 1)
    np.testing.assert_array_equal(one[..., 0], apply(image[..., 0], table))


@settings(deadline=None, max_examples=30, derandomize=True)
@given(st.integers(1, 30), st.integers(1, 30), st.data())
def test_a_centre_crop_is_centred_within_a_pixel(height: int, width: int, data: st.DataObject) -> None:
    crop = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    rows = np.arange(height)[:, None] * 100 + np.arange(width)
    found = apply(rows, {"kind": "centre-crop", "size": list(crop)})
    assert found.shape == crop
    top, left = divmod(int(found[0, 0]), 100)
    assert abs(top - (height - crop[0] - top)) <= 1
    assert abs(left - (width - crop[1] - left)) <= 1


def test_layout_moves_or_adds_the_channels() -> None:
    image = noise(5, 4, 3)
    np.testing.assert_array_equal(apply(image, {"kind": "layout", "to": "chw"})[2], image[..., 2])
    assert apply(noise(5, 4), {"kind": "layout", "to": "add-channel"}).shape == (1, 5, 4)


def test_convert_changes_the_colours() -> None:
    image = noise(5, 4, 3)
    grey = apply(image, {"kind": "convert", "to": "grey"})
    np.testing.assert_allclose(grey[..., 0], image @ [0.299, 0.587, 0.114], atol=1)
    np.testing.assert_array_equal(apply(grey, {"kind": "convert", "to": "rgb"}), np.repeat(grey, 3, axis=2))
    np.testing.assert_array_equal(apply(grey, {"kind": "convert", "to": "gray"}), grey)
    np.testing.assert_array_equal(apply(image, {"kind": "convert", "to": "rgb"}), image)
    assert apply(noise(5, 4), {"kind": "convert", "to": "rgb"}).shape == (5, 4, 3)


def test_cast_keeps_values_or_says_which_it_cannot() -> None:
    assert apply(np.array([1.0, 7.0]), {"kind": "cast", "to": "int64"}).tolist() == [1, 7]
    assert apply(np.array([1, 7]), {"kind": "cast", "to": "float32"}).dtype == np.float32
    with pytest.raises(DataError, match=r"input `x` of sample 3 of `set` holds 300, which uint8 cannot hold"):
        apply(np.array([1, 300]), {"kind": "cast", "to": "uint8"})
    with pytest.raises(DataError, match=r"holds nan, which int32 cannot hold"):
        apply(np.array([np.nan]), {"kind": "cast", "to": "int32"})


def test_a_transform_may_concern_one_input_only() -> None:
    table: dict[str, object] = {"kind": "scale", "input": "image"}
    assert apply(noise(2, 2), table, name="image").dtype == np.float32
    assert apply(noise(2, 2), table, name="mask").dtype == np.uint8


@pytest.mark.parametrize(
    ("array", "table", "message", "hint"),
    [
        (noise(4, 4, 3), {"kind": "normalise", "mean": [0], "std": [1]}, "is uint8 before `normalise`", "scale"),
        (
            noise(4, 4).astype(np.float32),
            {"kind": "normalise", "mean": [0, 0, 0], "std": [1, 1, 1]},
            "has shape [4, 4], `normalise` has 3 channels at axis -1",
            "axis",
        ),
        (noise(3, 4, 9), {"kind": "resize", "shorter": 4}, "has shape [3, 4, 9], `resize` takes", "before `layout`"),
        (noise(4, 4).astype(np.int64), {"kind": "resize", "shorter": 4}, "is int64, `resize` takes uint8", "cast"),
        (
            noise(4, 9, 3),
            {"kind": "centre-crop", "size": 8},
            "has shape [4, 9, 3], too small for a crop of 8",
            "resize",
        ),
        (noise(4), {"kind": "centre-crop", "size": 2}, "has shape [4], `centre-crop` takes", "layout"),
        (noise(4, 4), {"kind": "layout", "to": "chw"}, "has shape [4, 4], layout `chw` takes", "add-channel"),
        (noise(4, 4) / 255, {"kind": "convert", "to": "grey"}, "is float64, `convert` takes uint8", "before `scale`"),
    ],
)
def test_a_misfit_names_the_sample_and_its_shape(
    array: Array, table: dict[str, object], message: str, hint: str
) -> None:
    with pytest.raises(DataError) as caught:
        apply(array, table)
    assert caught.value.message.startswith("input `x` of sample 3 of `set`")
    assert message in caught.value.message
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize(
    "table",
    [
        {"kind": "resize"},
        {"kind": "resize", "shorter": 3, "size": [3, 3]},
        {"kind": "resize", "shorter": 0},
        {"kind": "normalise", "mean": [0], "std": [0]},
        {"kind": "scale", "by": 3},
        {"kind": "rotate"},
    ],
)
def test_wrong_settings_are_refused(table: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ADAPTER.validate_python(table)
