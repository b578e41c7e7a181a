import numpy as np
from fake_engines import FakeSamples

from compress.data.drift import describe_drift


def samples(values: np.ndarray) -> FakeSamples:
    return FakeSamples(values.astype(np.float32), None)


def noise(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 3, 8, 8))


def test_sets_of_the_same_kind_look_alike() -> None:
    assert describe_drift(samples(noise(64, 0)), samples(noise(48, 1))) == ()


def test_another_scale_and_another_offset_are_told_with_both_ranges() -> None:
    (scale,) = describe_drift(samples(noise(32, 0)), samples(5 * noise(32, 1)))
    assert "`x` reaches from" in scale
    assert "same transforms" in scale
    (narrow,) = describe_drift(samples(noise(32, 0)), samples(0.1 * noise(32, 1)))
    assert "mean" in narrow
    assert len(describe_drift(samples(noise(32, 0)), samples(noise(32, 1) + 1))) == 1


def test_constant_inputs_do_not_divide_by_zero() -> None:
    assert describe_drift(samples(np.zeros((4, 3))), samples(np.zeros((4, 3)))) == ()
    assert len(describe_drift(samples(np.zeros((4, 3))), samples(np.ones((4, 3))))) == 1


def test_tokens_have_no_range() -> None:
    tokens = FakeSamples(np.arange(12).reshape(4, 3), None)
    assert describe_drift(tokens, tokens) == ()
