"""How far a result of `torchnet` may be from its reference: one table, by what computes it.

Errors are relative to the largest magnitude of the reference. Each carries what was measured on this project's small
networks (ResNet-, ViT-, U-Net-, R-Net-like, GRU and LSTM, MobileNetV2 of random weights).
"""

from typing import Any

import numpy as np
from torch import Tensor

TOLERANCES = {
    # Measured 2e-6: sums in another order.
    "onnxruntime": 2e-5,
    # Measured 1e-6: the same kernels, but for products that are fused otherwise.
    "eager": 1e-5,
    # Measured 3e-7.
    "gradient": 1e-5,
    # Measured 4e-6: BatchNormalization is in the weights.
    "folded": 5e-5,
    # Measured 0.02: eight bits of mantissa through every product.
    "bfloat16": 0.06,
    # Measured 1e-6: fused loops.
    "compiled": 1e-5,
}


Values = Tensor | np.ndarray[Any, Any] | None


def relative_error(actual: Values, expected: Values) -> float:
    """Return the largest difference over the largest magnitude expected."""
    one, other = _array(actual), _array(expected)
    assert one.shape == other.shape, (one.shape, other.shape)
    return float(np.abs(one - other).max() / max(np.abs(other).max(), 1e-30))


def assert_near(actual: Values, expected: Values, what: str) -> None:
    """Check that a result is within the tolerance of its reference."""
    error = relative_error(actual, expected)
    assert error <= TOLERANCES[what], f"{error:.2e} from {what}, allowed are {TOLERANCES[what]:.0e}"


def _array(values: Values) -> np.ndarray[Any, Any]:
    assert values is not None
    if isinstance(values, Tensor):
        values = values.detach().float().numpy()
    return values.astype(np.float64)
