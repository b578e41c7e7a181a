"""Arithmetic, types, random numbers, sequences and constants: what the conformance tests leave open."""

import numpy as np
import pytest
import torch
from single_operator import kernel_of, run_kernel, run_onnxruntime

from compress.torchnet.operators import FAMILIES, OperatorError, operators


def test_no_operator_is_in_two_families() -> None:
    import importlib

    modules = [importlib.import_module(f"compress.torchnet.operators.{family}") for family in FAMILIES]
    names = [name for module in modules for name in module.OPERATORS]

    assert len(names) == len(set(names)) == len(operators())


def test_integers_are_divided_towards_zero() -> None:
    (result,) = run_kernel("Div", np.array([7, -7]), np.array([2, 2]))

    assert result.tolist() == [3, -3]


def test_a_power_keeps_the_type_of_its_base() -> None:
    (whole,) = run_kernel("Pow", np.array([2, 3], np.int32), np.array([2.0, 0.5], np.float32))
    (real,) = run_kernel("Pow", np.array([2.0, 3.0], np.float32), np.array(2, np.int64))

    assert whole.dtype == np.int32
    assert whole.tolist() == [4, 1]
    assert real.dtype == np.float32
    assert real.tolist() == [4.0, 9.0]


def test_crossed_bounds_clip_to_the_upper_one() -> None:
    (result,) = run_kernel("Clip", np.array([0.0, 5.0], np.float32), np.array(3, np.float32), np.array(1, np.float32))

    assert result.tolist() == [1.0, 1.0]


def test_one_bound_or_none_is_enough() -> None:
    x = np.array([-9.0, 9.0], np.float32)

    assert run_kernel("Clip", x)[0].tolist() == [-9.0, 9.0]
    assert run_kernel("Clip", x, np.array(0, np.float32))[0].tolist() == [0.0, 9.0]
    assert run_kernel("Clip", x, None, np.array(6, np.float32))[0].tolist() == [-9.0, 6.0]
    assert run_kernel("Clip", x, min=-1.0, max=1.0, opset=6)[0].tolist() == [-1.0, 1.0]


def test_before_opset_13_softmax_normalizes_all_axes_from_one_on() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)

    (old,) = run_kernel("Softmax", x, opset=11, axis=1)
    (new,) = run_kernel("Softmax", x, opset=13, axis=1)

    np.testing.assert_allclose(old, run_onnxruntime("Softmax", x, opset=11, axis=1)[0], rtol=1e-5)
    np.testing.assert_allclose(new, run_onnxruntime("Softmax", x, opset=13, axis=1)[0], rtol=1e-5)
    assert not np.allclose(old, new)


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (2, 3)])
def test_a_slope_may_be_one_per_channel_one_in_all_or_one_per_element(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    slopes = [(1,), shape[1:], (shape[1], *[1] * (len(shape) - 2))]

    for each in slopes:
        slope = np.random.default_rng(1).uniform(0, 1, each).astype(np.float32)
        (ours,) = run_kernel("PRelu", x, slope)
        np.testing.assert_allclose(ours, np.where(x < 0, x * slope, x), rtol=1e-6)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"detect_negative": 0}, [True, False, False]),
        ({"detect_positive": 0}, [False, True, False]),
        ({"detect_negative": 0, "detect_positive": 0}, [False, False, False]),
    ],
)
def test_infinity_is_detected_on_the_sides_asked_for(attributes: dict[str, int], expected: list[bool]) -> None:
    kernel = kernel_of("IsInf", **attributes)

    assert kernel(torch.tensor([torch.inf, -torch.inf, 1.0])).tolist() == expected


@pytest.mark.parametrize("alpha", [1.0, 1.7])
def test_swish_is_x_times_the_sigmoid_of_alpha_x(alpha: float) -> None:
    x = torch.linspace(-3, 3, 7)

    torch.testing.assert_close(kernel_of("Swish", opset=24, alpha=alpha)(x), x * torch.sigmoid(alpha * x))


def test_a_type_that_cannot_be_trained_is_refused_by_name() -> None:
    with pytest.raises(OperatorError, match="Cast `cast` makes STRING, a type that cannot be trained") as caught:
        kernel_of("Cast", to=8)
    assert "quantization without training works" in str(caught.value.hint)


def test_dropout_does_nothing_in_inference_and_scales_in_training() -> None:
    x = torch.ones(1000)
    kernel = kernel_of("Dropout", inputs=3, outputs=2, seed=3)
    off, on = torch.tensor(False), torch.tensor(True)

    same, everything = kernel(x, torch.tensor(0.25), off)
    dropped, kept = kernel(x, torch.tensor(0.25), on)
    zero_ratio, _ = kernel(x, torch.tensor(0.0), on)

    assert same is x
    assert everything.all()
    assert 0.7 < kept.double().mean() < 0.8
    torch.testing.assert_close(dropped, kept / 0.75)
    assert torch.equal(zero_ratio, x)


@pytest.mark.parametrize("name", ["RandomNormal", "RandomUniform"])
def test_a_seed_makes_random_numbers_the_same_in_every_session(name: str) -> None:
    first, second = (kernel_of(name, inputs=0, shape=[4, 3], seed=0.5) for _ in range(2))
    other = kernel_of(name, inputs=0, shape=[4, 3], seed=0.6)
    like = kernel_of(f"{name}Like", seed=0.5, dtype=11)(torch.zeros(4, 3))

    drawn = first()
    torch.testing.assert_close(second(), drawn)
    torch.testing.assert_close(like.float(), drawn)
    assert like.dtype == torch.float64
    assert not torch.equal(other(), drawn)
    assert not torch.equal(first(), drawn)


def test_random_numbers_have_the_moments_asked_for() -> None:
    normal = kernel_of("RandomNormal", inputs=0, shape=[20_000], seed=1.0, mean=3.0, scale=2.0)()
    uniform = kernel_of("RandomUniform", inputs=0, shape=[20_000], seed=1.0, low=-1.0, high=3.0)()

    assert abs(float(normal.mean()) - 3) < 0.05
    assert abs(float(normal.std()) - 2) < 0.05
    assert abs(float(uniform.mean()) - 1) < 0.05
    assert float(uniform.min()) >= -1.0
    assert float(uniform.max()) <= 3.0


def test_bernoulli_and_multinomial_draw_by_probability() -> None:
    drawn = kernel_of("Bernoulli", seed=1.0, dtype=7)(torch.full((20_000,), 0.2))
    logits = torch.log(torch.tensor([[0.1, 0.7, 0.2]]))
    classes = kernel_of("Multinomial", sample_size=20_000, seed=1.0, dtype=7)(logits)

    assert drawn.dtype == torch.int64
    assert abs(float(drawn.double().mean()) - 0.2) < 0.02
    shares = torch.bincount(classes[0], minlength=3) / 20_000
    torch.testing.assert_close(shares, torch.tensor([0.1, 0.7, 0.2]), atol=0.02, rtol=0)


def test_sequences_grow_shrink_and_join() -> None:
    one, two = torch.ones(2), torch.zeros(2)
    sequence = kernel_of("SequenceConstruct", inputs=2)(one, two)
    longer = kernel_of("SequenceInsert", inputs=3)(sequence, two, torch.tensor(0))
    shorter = kernel_of("SequenceErase", inputs=2)(longer, torch.tensor(-1))

    assert kernel_of("SequenceLength")(longer) == 3
    assert kernel_of("SequenceLength")(kernel_of("SequenceErase")(shorter)) == 1
    assert kernel_of("SequenceAt", inputs=2)(longer, torch.tensor(1)) is one
    assert kernel_of("ConcatFromSequence", axis=0)(longer).tolist() == [0, 0, 1, 1, 0, 0]
    assert kernel_of("ConcatFromSequence", axis=1, new_axis=1)(sequence).tolist() == [[1, 0], [1, 0]]
    assert len(sequence) == 2


def test_an_optional_value_is_there_or_not() -> None:
    has = kernel_of("OptionalHasElement")

    assert kernel_of("Optional")(torch.ones(1)).item() == 1
    assert bool(has(torch.ones(1)))
    assert not bool(has(None))
    assert not bool(has())


def test_a_constant_of_shape_has_the_type_of_its_value() -> None:
    (zeros,) = run_kernel("ConstantOfShape", np.array([2, 0]))

    assert zeros.shape == (2, 0)
    assert zeros.dtype == np.float32
