import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from small_graphs import build, normal

from compress.prune.least_squares import RIDGES, Change, Sums, fit, solve
from compress.prune.linear_rows import count_rows, input_rows, output_rows, pick_rows
from compress.weight_matrices import find_matrices

Array = np.ndarray


def rows(seed: int, count: int = 200, features: int = 6, outputs: int = 3) -> tuple[Array, Array]:
    random = np.random.default_rng(seed)
    mixed = random.standard_normal((features, features))
    inputs = random.standard_normal((count, features)) @ mixed + random.standard_normal(features)
    missing = inputs @ random.standard_normal((features, outputs)) + random.standard_normal((count, outputs)) + 2
    return inputs, missing


def sums_of(inputs: Array, missing: Array) -> Sums:
    sums = Sums(inputs.shape[1], missing.shape[1])
    for start in range(0, len(inputs), 32):
        sums.add(inputs[start : start + 32], missing[start : start + 32])
    return sums


def direct_error(inputs: Array, missing: Array, change: Change) -> float:
    return float(np.square(missing - inputs @ change.weight.T - change.bias).sum())


@settings(deadline=None, max_examples=25, derandomize=True)
@given(seed=st.integers(0, 2**20), ridge=st.sampled_from([0.0, *RIDGES, 1e6]), with_bias=st.booleans())
def test_the_error_never_grows_whatever_the_penalty(seed: int, ridge: float, with_bias: bool) -> None:
    inputs, missing = rows(seed)
    sums = sums_of(inputs, missing)
    change = solve(sums, ridge, with_bias=with_bias)
    assert sums.error(change) == pytest.approx(direct_error(inputs, missing, change), rel=1e-6)
    assert direct_error(inputs, missing, change) <= float(np.square(missing).sum()) * (1 + 1e-9)
    assert with_bias or not change.bias.any()


def test_without_penalty_it_is_numpys_least_squares() -> None:
    inputs, missing = rows(1)
    change = solve(sums_of(inputs, missing), 0.0, with_bias=True)
    expected = np.linalg.lstsq(np.hstack([inputs, np.ones((len(inputs), 1))]), missing, rcond=None)[0]
    assert np.allclose(change.weight.T, expected[:-1])
    assert np.allclose(change.bias, expected[-1])


def test_removed_inputs_are_made_up_for_as_the_optimal_brain_surgeon_does() -> None:
    """δW = -W_c·[H⁻¹]_cc⁻¹·[H⁻¹]_c for the cut inputs c: SparseGPT's equation, which needs the whole Hessian."""
    random = np.random.default_rng(4)
    inputs = rows(2, features=8)[0]
    weight = random.standard_normal((5, 8))
    gone, left = [1, 4, 6], [0, 2, 3, 5, 7]
    inverse = np.linalg.inv(inputs.T @ inputs)
    surgeon = -weight[:, gone] @ np.linalg.inv(inverse[np.ix_(gone, gone)]) @ inverse[gone]
    change = solve(sums_of(inputs[:, left], inputs[:, gone] @ weight[:, gone].T), 0.0, with_bias=False)
    assert np.allclose(change.weight, surgeon[:, left])


def test_rows_that_were_not_fitted_to_choose_the_penalty() -> None:
    random = np.random.default_rng(0)
    features = 40
    truth = 0.1 * random.standard_normal((features, 2))

    def draw(count: int) -> Sums:
        inputs = random.standard_normal((count, features))
        return sums_of(inputs, inputs @ truth + random.standard_normal((count, 2)))

    training, checking = draw(50), draw(400)
    errors = {ridge: checking.error(solve(training, ridge, with_bias=False)) for ridge in RIDGES}
    best = min(errors, key=lambda ridge: errors[ridge])
    assert best == 1.0
    change = fit(training, checking, with_bias=False)
    assert change is not None
    expected = solve(training.join(checking), best, with_bias=False)
    assert np.array_equal(change.weight, expected.weight)


def test_what_helps_on_no_other_rows_is_left_alone() -> None:
    random = np.random.default_rng(0)
    training = sums_of(random.standard_normal((12, 10)), random.standard_normal((12, 2)))
    checking = sums_of(random.standard_normal((500, 10)), random.standard_normal((500, 2)))
    assert fit(training, checking, with_bias=True, ridges=[1e-4]) is None
    nothing = Sums(3, 2)
    assert fit(nothing, nothing, with_bias=True) is None


def test_inputs_that_never_change_only_move_the_bias() -> None:
    inputs, missing = np.ones((20, 3)), np.full((20, 2), 0.5)
    change = solve(sums_of(inputs, missing), 1e-3, with_bias=True)
    assert not change.weight.any()
    assert change.bias == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize(
    ("shape", "size", "attributes"),
    [
        ((4, 3, 3, 3), (9, 7), {"pads": [1, 0, 2, 1], "strides": [2, 1]}),
        ((4, 3, 3, 2), (9, 8), {"dilations": [2, 3]}),
        ((4, 3, 5), (11,), {"auto_pad": "SAME_UPPER", "strides": [2]}),
        ((4, 3, 4, 4), (10, 9), {"auto_pad": "SAME_LOWER", "strides": [3, 2]}),
        ((4, 3, 2, 2), (5, 5), {"auto_pad": "VALID"}),
        ((4, 3, 2, 2, 2), (4, 3, 5), {"pads": [1] * 6}),
    ],
)
def test_windows_times_the_weight_are_the_convolution(
    shape: tuple[int, ...], size: tuple[int, ...], attributes: dict[str, object]
) -> None:
    weight = normal(*shape)
    node = helper.make_node("Conv", ["x", "w"], ["y"], "conv", None, None, None, **attributes)
    model = build([node], {"w": weight}, ["batch", 3, *size], ["y"])
    (matrix,) = find_matrices(model.graph.graph)
    x = np.random.default_rng(1).standard_normal((5, 3, *size)).astype(np.float32)
    y = run(model.to_bytes(), x)
    places = pick_rows(count_rows(y, matrix), 17, np.random.default_rng(2))
    found = input_rows(model.graph.graph[0], matrix, x, shape, y.shape, places)
    assert len(places) == 17
    assert np.allclose(found @ weight.reshape(4, -1).T, output_rows(y, matrix, places), atol=1e-5)


def run(model: bytes, x: Array) -> Array:
    from compress.runtimes import open_graph

    with open_graph(model, threads=1) as session:
        return next(iter(session.run({"x": x}).values()))


def test_windows_are_those_of_pytorch() -> None:
    x = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    node = helper.make_node("Conv", ["x", "w"], ["y"], "conv", pads=[1, 1, 1, 1])
    model = build([node], {"w": normal(4, 3, 3, 3)}, ["batch", 3, 6, 6], ["y"])
    (matrix,) = find_matrices(model.graph.graph)
    expected = torch.nn.functional.unfold(x, 3, padding=1).transpose(1, 2).reshape(72, 27)
    found = input_rows(model.graph.graph[0], matrix, x.numpy(), (4, 3, 3, 3), (2, 4, 6, 6), np.arange(72))
    assert np.array_equal(found, expected.numpy().astype(np.float64))


def test_few_rows_are_all_taken_and_many_are_drawn_once_each() -> None:
    generator = np.random.default_rng(0)
    assert pick_rows(4, 9, generator).tolist() == [0, 1, 2, 3]
    drawn = pick_rows(1000, 50, generator)
    assert len(set(drawn.tolist())) == 50
    assert sorted(drawn.tolist()) == drawn.tolist()
