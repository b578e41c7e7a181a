"""Pictures of samples are those of the source, small, and only of what looks like an image."""

from pathlib import Path

import numpy as np
import pytest

from compress.data.binding import bind_samples
from compress.data.preview import draw_picture, take_pictures
from compress.data.recipes import load_samples
from compress.data.subset import take
from compress.data.synthetic import synthesize
from compress.model import TensorSpec


def test_a_picture_is_the_sample_as_it_lies_in_the_source_whatever_was_done_to_it(tmp_path: Path) -> None:
    samples = load_samples("fashion-mnist/test", base=tmp_path)
    spec = samples.specs[0]
    bound = bind_samples(samples, (TensorSpec("x", "float32", ("batch", *spec.shape[1:])),))
    few = take(bound, 100)
    found = take_pictures(few, [7, 3])
    assert sorted(found) == [3, 7]
    assert found[3].shape == (28, 28)
    seventh = next(iter(few.batches(100))).inputs["x"][7].reshape(28, 28)
    # The recipe scales and normalises, which keeps the order of the pixels.
    assert np.corrcoef(found[7].ravel(), seventh.ravel())[0, 1] == pytest.approx(1.0)
    assert found[7].max() > 100


def test_made_up_samples_have_no_pictures() -> None:
    assert take_pictures(synthesize((TensorSpec("x", "float32", ("batch", 3, 32, 32)),), 4, 0), [0]) == {}
    assert take_pictures(load_samples("fashion-mnist/test", base=Path()), []) == {}


@pytest.mark.parametrize(
    ("shape", "dtype", "wanted"),
    [
        ((28, 28), np.uint8, (28, 28)),
        ((28, 28, 1), np.uint8, (28, 28)),
        ((1, 28, 28), np.float32, (28, 28)),
        ((3, 32, 40), np.float32, (32, 40, 3)),
        ((200, 100, 4), np.uint8, (64, 32, 3)),
        ((3, 32, 3), np.uint8, None),  # three rows of pixels
        ((64,), np.int64, None),  # tokens
        ((512, 16), np.float32, None),  # a table
        ((2, 32, 32, 3), np.uint8, None),  # frames
        ((32, 32), np.complex64, None),
    ],
)
def test_what_looks_like_an_image_is_drawn(shape: tuple[int, ...], dtype: type, wanted: tuple[int, ...] | None) -> None:
    values = np.random.default_rng(0).uniform(0, 1, shape)
    array = (255 * values).astype(dtype) if dtype is np.uint8 else values.astype(dtype)
    found = draw_picture(array)
    assert (None if found is None else found.shape) == wanted
    assert found is None or found.dtype == np.uint8


def test_floats_are_bytes_between_0_and_1_and_stretched_beyond() -> None:
    ramp = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    for array in (ramp, 6 * ramp - 3):
        found = draw_picture(array)
        assert found is not None
        assert np.array_equal(found.ravel(), np.arange(256))
    half = draw_picture(ramp / 2)
    assert half is not None
    assert half.max() == 128
    broken = ramp.copy()
    broken[0, 0] = np.nan
    assert draw_picture(broken) is not None
    assert draw_picture(np.full((8, 8), 7.0)) is not None
