"""Fixtures of the measuring tests."""

from collections.abc import Callable

import numpy as np
import pytest
from fake_engines import FakeClock, FakeSamples

from compress.measure.machine import Pressure


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def idle() -> Callable[[], Pressure]:
    return lambda: Pressure(total_seconds=100.0, busy_seconds=10.0, own_seconds=5.0, steal_seconds=0.0)


@pytest.fixture
def labelled() -> FakeSamples:
    generator = np.random.default_rng(0)
    return FakeSamples(generator.normal(size=(203, 5)).astype(np.float32), generator.integers(0, 5, 203))
