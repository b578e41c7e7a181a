"""Places that a mask hides are left out of calibration."""

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, checker, helper, numpy_helper, shape_inference
from qat_models import make_context
from small_graphs import normal

from compress.model import Model
from compress.quantize.padding import drop_padding, find_mask
from compress.quantize.static import QuantizeSettings, quantize_static

MASK = np.array([[1, 1, 0], [1, 0, 0]])


def test_a_mask_is_an_input_of_zeros_and_ones_with_mask_in_its_name() -> None:
    found = find_mask({"input_ids": MASK, "attention_mask": MASK})
    assert found is not None
    assert np.array_equal(found, MASK == 1)


@pytest.mark.parametrize("array", [2 * MASK, np.ones((2, 3)), np.zeros((2, 3)), MASK[None], -1e4 * (1.0 - MASK)])
def test_what_hides_nothing_or_is_no_mask_is_none(array: np.ndarray) -> None:
    assert find_mask({"attention_mask": array}) is None
    assert find_mask({"input_ids": MASK}) is None


def test_hidden_places_go_from_activations_of_tokens_only() -> None:
    mask = find_mask({"attention_mask": MASK})
    tokens = np.arange(12.0).reshape(2, 3, 2)
    assert drop_padding(tokens, mask).tolist() == [[[0, 1], [2, 3], [6, 7]]]
    for other in (np.ones((2, 4, 2)), np.ones((2, 3)), np.ones((2, 3, 3, 3))):
        assert drop_padding(other, mask) is other
    assert drop_padding(tokens, None) is tokens


def build_masked() -> Model:
    """Return a product of tokens that are a hundred times as large where they are hidden."""
    nodes = [
        helper.make_node("Cast", ["attention_mask"], ["m"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["m", "last"], ["u"], "unsqueeze"),
        helper.make_node("Mul", ["u", "down"], ["d"], "scale"),
        helper.make_node("Add", ["d", "up"], ["f"], "shift"),
        helper.make_node("Mul", ["x", "f"], ["h"], "tokens"),
        helper.make_node("MatMul", ["h", "w"], ["y"], "product"),
    ]
    constants = {
        "last": np.array([2]), "down": np.array(-99, np.float32), "up": np.array(100, np.float32), "w": normal(4, 2),
    }  # fmt: skip
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 6, 4]),
        helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["batch", 6]),
    ]
    graph = helper.make_graph(
        nodes, "g", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 6, 2])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    checker.check_model(shape_inference.infer_shapes(proto, strict_mode=True))
    return Model.from_bytes(proto.SerializeToString())


def test_ranges_do_not_reach_for_what_is_hidden(tmp_path: Path) -> None:
    model = build_masked()
    context = make_context(model, tmp_path)
    assert any(find_mask(batch.inputs) is not None for batch in context.calibration.batches(32))
    found = quantize_static(model, QuantizeSettings(observer="minmax"), context).model
    scale = found.graph.graph.initializers["h_scale"].const_value
    largest = max(float(np.abs(batch.inputs["x"]).max()) for batch in context.calibration.batches(32))
    assert scale is not None
    assert 255 * float(scale.numpy()) < 3 * largest
