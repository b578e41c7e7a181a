import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.prune.sparse_choice import DAMPING, choose_kept
from compress.prune.sparsity import read_pattern

Array = np.ndarray


def draw(seed: int, outputs: int = 16, features: int = 16) -> tuple[Array, Array]:
    """Return a weight [outputs, features] and the Hessian of inputs of several sizes that have something in common."""
    random = np.random.default_rng(seed)
    mixed = random.standard_normal((features // 2, features)) * np.exp(random.standard_normal(features))
    noise = 0.5 * np.exp(random.standard_normal(features))
    inputs = random.standard_normal((400, features // 2)) @ mixed + noise * random.standard_normal((400, features))
    return random.standard_normal((outputs, features)), inputs.T @ inputs


def least_error(weight: Array, hessian: Array, kept: Array) -> float:
    """Return what the outputs miss at least when only some elements of a weight are there."""
    total = 0.0
    for row, mask in zip(weight, kept, strict=True):
        best = np.zeros(len(row))
        best[mask] = np.linalg.lstsq(hessian[np.ix_(mask, mask)], hessian[mask] @ row, rcond=None)[0]
        total += float((row - best) @ hessian @ (row - best))
    return total


@settings(deadline=None, max_examples=20, derandomize=True)
@given(seed=st.integers(0, 2**20), kept=st.integers(1, 3))
def test_so_many_of_each_run_stay(seed: int, kept: int) -> None:
    mask = choose_kept(*draw(seed), read_pattern(f"{kept}:4"), 0.0)
    assert np.all(mask.reshape(16, 4, 4).sum(axis=2) == kept)


@settings(deadline=None, max_examples=20, derandomize=True)
@given(
    seed=st.integers(0, 2**20), dropped=st.floats(0, 0.95), text=st.sampled_from(["unstructured", "1x4", "4x1", "2x2"])
)
def test_whole_blocks_go_as_many_as_were_asked_for(seed: int, dropped: float, text: str) -> None:
    pattern = read_pattern(text)
    mask = choose_kept(*draw(seed), pattern, dropped)
    blocks = mask.reshape(16 // pattern.rows, pattern.rows, 16 // pattern.columns, pattern.columns)
    assert np.array_equal(blocks.all(axis=(1, 3)), blocks.any(axis=(1, 3)))
    assert (~blocks.any(axis=(1, 3))).sum() == round(dropped * 256 / (pattern.rows * pattern.columns))


@pytest.mark.parametrize("text", ["2:4", "1:8", "unstructured", "1x4", "4x1", "2x2"])
def test_less_is_missed_than_with_the_smallest_weights_gone(text: str) -> None:
    pattern = read_pattern(text)
    ratios = []
    for seed in range(6):
        weight, hessian = draw(seed, features=32)
        mask = choose_kept(weight, hessian, pattern, 0.5)
        # Were all inputs alike and nothing in common, the cheapest would be the smallest.
        small = choose_kept(weight, np.eye(32), pattern, 0.5)
        ratios.append(least_error(weight, hessian, mask) / least_error(weight, hessian, small))
    assert np.mean(ratios) < 0.6


def test_without_coupling_the_smallest_go() -> None:
    weight = np.random.default_rng(0).standard_normal((6, 12))
    runs = np.abs(weight).reshape(6, 3, 4)
    expected = runs > np.sort(runs, axis=2)[:, :, 1:2]
    assert np.array_equal(choose_kept(weight, np.eye(12), read_pattern("2:4"), 0.0).reshape(6, 3, 4), expected)


def test_the_first_zero_is_the_optimal_brain_surgeons() -> None:
    weight, hessian = draw(5, outputs=1)
    damped = hessian + DAMPING * np.trace(hessian) / 16 * np.eye(16)
    # Each column by what those after it cannot make up for, which is its diagonal in the factor of the inverse.
    factor = np.linalg.cholesky(np.linalg.inv(damped)).T
    costs = np.square(weight[0] / np.diag(factor))
    mask = choose_kept(weight, hessian, read_pattern("unstructured"), 1 / 16)
    assert np.flatnonzero(~mask[0]).tolist() == [int(np.argmin(costs))]


def test_inputs_that_are_always_zero_give_their_places_away() -> None:
    weight, live = np.ones((16, 16)), np.arange(16) % 4 != 0
    mask = choose_kept(weight, np.diag(live.astype(np.float64)), read_pattern("3:4"), 0.0)
    assert np.array_equal(mask, np.broadcast_to(live, mask.shape))
    assert choose_kept(weight, np.zeros((16, 16)), read_pattern("3:4"), 0.0).sum() == 192
