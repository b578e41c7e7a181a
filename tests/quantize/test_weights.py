import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as arrays

from compress.quantize.dialects import DIALECTS
from compress.quantize.weights import quantize_bias, quantize_weight, safe_weight_scale, weight_scale
from compress.targets import DialectName

PROPERTY = settings(deadline=None, max_examples=50, derandomize=True)
WEIGHTS = arrays.arrays(np.float32, st.tuples(*[st.integers(1, 5)] * 3), elements=st.floats(-100, 100, width=32))


@PROPERTY
@given(WEIGHTS, st.integers(0, 2), st.sampled_from(list(DIALECTS)))
def test_the_error_of_a_weight_is_half_a_step_of_its_channel(weight: np.ndarray, axis: int, name: DialectName) -> None:
    grid = DIALECTS[name].weight
    scale = weight_scale(weight, axis, grid)
    codes = quantize_weight(weight, scale, axis, grid)
    assert codes.min() >= grid.low
    assert codes.max() <= grid.high
    shape = [1, 1, 1]
    shape[axis] = -1
    wide = scale.reshape(shape)
    assert (np.abs(codes * wide - weight) <= 0.5001 * wide).all()


def test_seven_bit_weights_never_saturate_a_pair_of_products_in_16_bits() -> None:
    dialect = DIALECTS["u8s8-7bit"]
    assert 2 * dialect.activation.high * max(dialect.weight.high, -dialect.weight.low) < 2**15
    full = DIALECTS["u8s8"]
    assert 2 * full.activation.high * full.weight.high > 2**15


def test_a_channel_of_zeros_takes_the_mean_scale_of_the_others() -> None:
    weight = np.array([[127.0, 0], [0, 0], [0, 254.0]], np.float32)
    assert weight_scale(weight, 0, DIALECTS["u8s8"].weight).tolist() == [1.0, 1.5, 2.0]


def test_all_zero_weights_have_scale_1() -> None:
    assert weight_scale(np.zeros((2, 3), np.float32), 0, DIALECTS["u8s8"].weight).tolist() == [1.0, 1.0]


def test_a_bias_that_would_overflow_int32_raises_the_weight_scale() -> None:
    bias = np.array([1.0, 1000.0], np.float32)
    scale = safe_weight_scale(np.array([1e-9, 1e-9], np.float32), bias, np.float32(1e-3))
    codes = quantize_bias(bias, scale * np.float32(1e-3))
    assert np.allclose(codes * (scale.astype(np.float64) * 1e-3), bias, rtol=1e-6)
    assert np.abs(codes).max() <= 2**30 + 128


@pytest.mark.parametrize("bias", [0.0, 0.3, -12.5])
def test_a_bias_is_rounded_to_the_nearest_code(bias: float) -> None:
    scale = np.array([1e-4], np.float32)
    codes = quantize_bias(np.array([bias], np.float32), scale)
    assert codes.dtype == np.int32
    assert codes[0] * 1e-4 == pytest.approx(bias, abs=0.51e-4)
