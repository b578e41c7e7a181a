from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
import torch

from compress.torchnet.constants import constant_of, to_constant, to_tensor
from compress.torchnet.operators import OperatorError


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (np.float32, torch.float32),
        (np.float16, torch.float16),
        (ml_dtypes.bfloat16, torch.bfloat16),
        (ml_dtypes.float8_e4m3fn, torch.float8_e4m3fn),
        (ml_dtypes.float8_e5m2, torch.float8_e5m2),
        (ml_dtypes.int4, torch.int8),
        (ml_dtypes.uint4, torch.uint8),
        (ml_dtypes.float4_e2m1fn, torch.float32),
        (np.uint16, torch.uint16),
        (np.bool_, torch.bool),
    ],
)
@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
def test_a_constant_of_every_type_has_the_same_values_as_a_tensor(
    dtype: Any, expected: torch.dtype, shape: tuple[int, ...]
) -> None:
    array = np.resize(np.array([0, 1, 2, 1]), shape).astype(dtype)
    tensor = to_tensor(ir.tensor(array))
    assert tensor.dtype == expected
    assert tensor.shape == shape
    np.testing.assert_array_equal(tensor.to(torch.float64).numpy(), array.astype(np.float64))


def test_a_tensor_has_memory_of_its_own() -> None:
    array = np.zeros(3, np.float32)
    to_tensor(ir.tensor(array)).add_(1)
    assert array.tolist() == [0, 0, 0]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16])
def test_trained_values_become_a_constant_of_the_old_type_and_name(dtype: Any) -> None:
    old = ir.tensor(np.array(0.5, dtype), name="gain")
    new = to_constant(to_tensor(old).requires_grad_() * 3, old)
    assert (new.name, new.dtype, tuple(new.shape)) == ("gain", old.dtype, ())
    assert float(new.numpy()) == 1.5


def test_a_constant_does_not_follow_the_tensor_that_it_was_made_of() -> None:
    tensor, old = torch.ones(2), ir.tensor(np.zeros(2, np.float32), name="w")
    new = to_constant(tensor, old)
    tensor.zero_()
    assert new.numpy().tolist() == [1, 1]


def test_an_initializer_without_a_value_is_refused() -> None:
    with pytest.raises(OperatorError, match="initializer `w` has no value"):
        constant_of(ir.Value(name="w"))
