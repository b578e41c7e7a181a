"""Fixtures of the quantization tests."""

import pytest
from small_graphs import build_residual

from compress.model import Model


@pytest.fixture
def residual_model() -> Model:
    return build_residual()
