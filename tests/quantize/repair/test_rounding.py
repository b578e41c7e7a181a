"""Compensated rounding: outputs err less, integers stay on the grid, patches are what a convolution reads."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper
from qat_models import make_context, run_graph, sqnr_db
from small_graphs import build, normal

from compress.model import Model
from compress.quantize.dialects import DIALECTS
from compress.quantize.repair.patches import Patches
from compress.quantize.repair.rounding import is_roundable, measure_covariance, round_compensated
from compress.quantize.static import QuantizeSettings, quantize_static

node = helper.make_node
GRID = DIALECTS["u8s8"].weight
STEPWISE = QuantizeSettings(observer="minmax", smooth=False, equalize=False)
COMPENSATED = STEPWISE.model_copy(update={"rounding": "compensated"})


def correlated(inputs: int, places: int, seed: int = 0) -> np.ndarray:
    """Return columns [1, inputs, places] of which each resembles its neighbours."""
    random = np.random.default_rng(seed)
    mixed = random.standard_normal((inputs, 3)) @ random.standard_normal((3, places))
    return np.asarray(mixed + 0.1 * random.standard_normal((inputs, places)), np.float64)[None]


@pytest.mark.parametrize("steps", [3, 20])
def test_outputs_err_less_than_with_the_nearest_integers(steps: int) -> None:
    columns = correlated(24, 500)
    rows = np.random.default_rng(1).standard_normal((1, 8, 24))
    scale = np.abs(rows).max(axis=2) / steps
    codes = round_compensated(rows, scale, np.cov(columns[0])[None], GRID)
    nearest = np.rint(rows / scale[:, :, None])

    def error(found: np.ndarray) -> float:
        return float((((rows - found * scale[:, :, None]) @ columns) ** 2).mean())

    assert np.array_equal(codes, np.rint(codes))
    assert np.abs(codes).max() <= GRID.high
    assert error(codes) < error(nearest) / 2


def test_inputs_that_say_nothing_of_each_other_are_rounded_to_the_nearest() -> None:
    rows = np.random.default_rng(1).standard_normal((2, 3, 5))
    scale = np.full((2, 3), 0.1)
    codes = round_compensated(rows, scale, np.stack([np.eye(5), 4 * np.eye(5)]), GRID)
    assert np.array_equal(codes, np.rint(rows / 0.1))


def test_two_inputs_that_are_equal_share_an_error_by_hand() -> None:
    """0.4 and 0.4 of equal inputs are 0.8 of one: 0 and 0 would lose it all, 0 and 1 lose 0.2."""
    codes = round_compensated(np.full((1, 1, 2), 0.4), np.ones((1, 1)), np.ones((1, 2, 2)), GRID)
    assert sorted(codes.reshape(-1).tolist()) == [0, 1]


def test_constant_inputs_have_no_covariance_and_nearest_integers() -> None:
    patches = Patches.of(node("MatMul", ["x", "w"], ["y"]), (4, 2))
    covariance = measure_covariance([np.ones((3, 4), np.float32)], patches)
    assert np.allclose(covariance, 0)
    rows = np.random.default_rng(0).standard_normal((1, 2, 4))
    assert np.array_equal(round_compensated(rows, np.full((1, 2), 0.1), covariance, GRID), np.rint(rows / 0.1))


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"pads": [1, 1, 1, 1]},
        {"strides": [2, 2], "pads": [1, 0, 1, 2]},
        {"dilations": [2, 1], "pads": [2, 1, 2, 1]},
        {"group": 2},
        {"group": 4, "strides": [2, 1]},
    ],
)
def test_weights_times_columns_are_the_convolution(attributes: dict[str, Any]) -> None:
    groups = int(attributes.get("group", 1))
    weight = normal(8, 4 // groups, 3, 3)
    conv = node("Conv", ["x", "w"], ["y"], "conv", **attributes)
    model = build([conv], {"w": weight}, ["batch", 4, 9, 7], ["y"])
    x = np.random.default_rng(0).standard_normal((2, 4, 9, 7)).astype(np.float32)
    patches = Patches.of(conv, weight.shape)
    found = patches.rows(weight.astype(np.float64)) @ patches.columns(x)
    wanted = np.moveaxis(run_graph(model, x), 1, 0).reshape(8, -1)
    assert np.allclose(found.reshape(8, -1), wanted, atol=1e-5)
    assert np.array_equal(patches.weight(patches.rows(weight.astype(np.float64))), weight.astype(np.float64))


def build_wide() -> Model:
    """Return three Conv of 24 channels that say little more than the 3 they are made of: [batch, 3, 8, 8] → 6."""
    nodes = [
        node("Conv", ["x", "w0"], ["c0"], "conv0", pads=[1, 1, 1, 1]),
        node("LeakyRelu", ["c0"], ["r0"], "relu0", alpha=0.9),
        node("Conv", ["r0", "w1"], ["c1"], "conv1"),
        node("LeakyRelu", ["c1"], ["r1"], "relu1", alpha=0.9),
        node("Conv", ["r1", "w2"], ["y"], "conv2"),
    ]
    constants = {
        "w0": np.repeat(normal(24, 3, 1, 1), 9, axis=1).reshape(24, 3, 3, 3) / 9, "w1": normal(24, 24, 1, 1, seed=1),
        "w2": normal(6, 24, 1, 1, seed=2),
    }  # fmt: skip
    return build(nodes, constants, ["batch", 3, 8, 8], ["y"])


def test_a_network_with_coarse_weights_comes_nearer_to_the_original(tmp_path: Path) -> None:
    model = build_wide()
    context = make_context(model, tmp_path, "u8s8-7bit")
    x = np.concatenate([batch.inputs["x"] for batch in context.calibration.batches(32)])
    wanted = run_graph(model, x)
    before, after = (quantize_static(model, each, context).model for each in (STEPWISE, COMPENSATED))
    assert changed_codes(before, after) > 0
    assert sqnr_db(wanted, run_graph(after, x)) > sqnr_db(wanted, run_graph(before, x))


def changed_codes(before: Model, after: Model) -> int:
    """Return how many stored weights differ."""
    count = 0
    for name, value in before.graph.graph.initializers.items():
        other = after.graph.graph.initializers[name].const_value
        assert value.const_value is not None
        assert other is not None
        if value.const_value.dtype.numpy() == np.int8:
            count += int((value.const_value.numpy() != other.numpy()).sum())
    return count


def test_what_has_implicit_padding_or_too_many_inputs_is_not_rounded_again() -> None:
    shape = (4, 3, 3, 3)
    assert is_roundable(node("Conv", ["x", "w"], ["y"], auto_pad="VALID"), shape)
    assert not is_roundable(node("Conv", ["x", "w"], ["y"], auto_pad="SAME_UPPER"), shape)
    assert not is_roundable(node("ConvTranspose", ["x", "w"], ["y"]), shape)
    assert is_roundable(node("Gemm", ["x", "w"], ["y"], transB=1), (5000, 4096))
    assert not is_roundable(node("Gemm", ["x", "w"], ["y"]), (5000, 4096))
    assert not is_roundable(node("MatMul", ["x", "w"], ["y"]), (5000, 4096))


def test_weights_that_are_zero_stay_zero() -> None:
    rows = np.random.default_rng(1).standard_normal((1, 8, 24))
    rows[:, :, ::2] = 0
    codes = round_compensated(rows, np.full((1, 8), 0.1), np.cov(correlated(24, 500)[0])[None], GRID)
    assert not codes[:, :, ::2].any()
    assert codes[:, :, 1::2].any()
