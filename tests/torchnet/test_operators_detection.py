"""What detectors need, beside ONNX Runtime."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from single_operator import Array, run_kernel, run_onnxruntime


def _boxes(count: int, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    start = rng.uniform(0, 8, (2, count, 2))
    return np.concatenate([start, start + rng.uniform(0.5, 4, (2, count, 2))], 2).astype(np.float32)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(
    count=st.integers(0, 12),
    limit=st.integers(0, 5),
    overlap=st.sampled_from((0.0, 0.3, 0.7)),
    least=st.sampled_from((None, 0.0, 0.4)),
    centred=st.sampled_from((0, 1)),
)
def test_suppression_equals_onnx_runtime(
    count: int, limit: int, overlap: float, least: float | None, centred: int
) -> None:
    scores = np.random.default_rng(count).uniform(0, 1, (2, 3, count)).astype(np.float32)
    inputs = [
        _boxes(count, limit), scores, np.array([limit], np.int64), np.array([overlap], np.float32),
        None if least is None else np.array([least], np.float32),
    ]  # fmt: skip
    inputs = inputs if least is not None else inputs[:4]

    (ours,) = run_kernel("NonMaxSuppression", *inputs, center_point_box=centred)

    (theirs,) = run_onnxruntime("NonMaxSuppression", *inputs, opset=11, center_point_box=centred)
    np.testing.assert_array_equal(ours, theirs)


def test_nothing_is_kept_without_a_limit() -> None:
    (kept,) = run_kernel("NonMaxSuppression", _boxes(3, 0), np.ones((2, 1, 3), np.float32))

    assert kept.shape == (0, 3)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
@pytest.mark.parametrize("coordinates", ["half_pixel", "output_half_pixel"])
def test_region_pooling_equals_onnx_runtime(mode: str, sampling_ratio: int, coordinates: str) -> None:
    rng = np.random.default_rng(3)
    image = rng.uniform(0, 1, (2, 3, 9, 11)).astype(np.float32)
    rois = np.array([[0, 0, 8, 6], [2, 1, 21, 17], [-4, 3, 5, 30], [4, 4, 4.5, 4.2]], np.float32)
    attributes = {
        "mode": mode, "sampling_ratio": sampling_ratio, "spatial_scale": 0.5, "output_height": 3, "output_width": 2,
        "coordinate_transformation_mode": coordinates,
    }  # fmt: skip

    ours = run_kernel("RoiAlign", image, rois, np.array([0, 1, 0, 1], np.int64), opset=16, **attributes)  # type: ignore[arg-type]

    theirs = run_onnxruntime("RoiAlign", image, rois, np.array([0, 1, 0, 1], np.int64), opset=16, **attributes)  # type: ignore[arg-type]
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-4, atol=1e-6)


def test_a_network_without_regions_pools_nothing() -> None:
    image = np.zeros((1, 2, 4, 4), np.float32)
    (pooled,) = run_kernel("RoiAlign", image, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), output_height=2)

    assert pooled.shape == (0, 2, 2, 1)
