from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper
from qat_models import quantized
from small_graphs import build, build_residual

from compress.model import Model
from compress.quantize.dialects import DIALECTS
from compress.quantize.qat.bounds import Bounds, bounds_of, largest_scale
from compress.quantize.qat.sites import find_sites


def operators(model: Model) -> list[str]:
    return [node.op_type for node in model.graph.graph]


def test_no_quantization_is_left_and_what_a_grid_makes_redundant_goes(tmp_path: Path) -> None:
    original = build_residual()
    opened = find_sites(quantized(original, tmp_path), original, DIALECTS["u8s8"])
    assert not {"QuantizeLinear", "DequantizeLinear", "Relu", "Clip"} & set(operators(opened.model))
    assert (len(opened.activations), len(opened.weights), len(opened.biases)) == (6, 4, 4)
    assert opened.model.inputs == original.inputs
    assert opened.model.outputs == original.outputs


def test_a_relu_stays_where_the_grid_reaches_below_zero(tmp_path: Path) -> None:
    original = build_residual()
    opened = find_sites(quantized(original, tmp_path, "s8s8-symmetric"), original, DIALECTS["s8s8-symmetric"])
    assert operators(opened.model).count("Relu") == 2
    assert all(not site.moves_zero for site in opened.activations)
    assert opened.biases == ()


def test_weights_start_from_the_original(tmp_path: Path) -> None:
    original = build_residual()
    opened = find_sites(quantized(original, tmp_path), original, DIALECTS["u8s8"])
    assert opened.from_original == 4
    constants = {name: value.const_value for name, value in opened.model.graph.graph.initializers.items()}
    for site, name in zip(opened.weights, ["w0", "w1", "w2", "wf"], strict=True):
        latent, weight = constants[site.latent], original.graph.graph.initializers[name].const_value
        assert latent is not None
        assert weight is not None
        assert np.array_equal(latent.numpy(), weight.numpy())


def test_weights_that_were_changed_since_start_from_their_integers(tmp_path: Path) -> None:
    original = build_residual()
    equalized = Model.from_ir(original.copy_graph())
    value = equalized.graph.graph.initializers["w1"]
    assert value.const_value is not None
    weight = value.const_value.numpy() * np.linspace(0.5, 2, 8, dtype=np.float32).reshape(-1, 1, 1, 1)
    value.const_value = ir.tensor(-weight, name="w1")
    model = quantized(equalized, tmp_path)
    opened = find_sites(model, original, DIALECTS["u8s8"])
    assert opened.from_original == 3
    latent = opened.model.graph.graph.initializers["w1_of_conv1_quantized_latent"].const_value
    scale = model.graph.graph.initializers["w1_of_conv1_scale"].const_value
    assert latent is not None
    assert scale is not None
    assert np.abs(latent.numpy() + weight).max() <= scale.numpy().max() / 2 * 1.001


def test_weights_of_a_node_that_the_original_has_not_start_from_their_integers(tmp_path: Path) -> None:
    original = build_residual()
    other = build([helper.make_node("Relu", ["x"], ["y"], "relu")], {}, ["batch", 3, 8, 8], ["y"])
    assert find_sites(quantized(original, tmp_path), other, DIALECTS["u8s8"]).from_original == 0


def test_what_is_given_is_left_as_it_was(tmp_path: Path) -> None:
    original = build_residual()
    model = quantized(original, tmp_path)
    before = (original.digest(), model.digest())
    find_sites(model, original, DIALECTS["u8s8"])
    assert (original.digest(), model.digest()) == before


@pytest.mark.parametrize(
    ("bounds", "zero_point", "codes", "expected"),
    [
        (Bounds(), 3, (0, 255), np.inf),
        (Bounds(low=0.0), 0, (0, 255), np.inf),
        (Bounds(low=0.0), 1, (0, 255), 0.0),
        (Bounds(0.0, 6.0), 0, (0, 255), 6 / 255),
        (Bounds(-1.0, 1.0), 128, (0, 255), 1 / 128),
        (Bounds(1.0, 6.0), 0, (0, 255), 0.0),
        (Bounds(0.0, 6.0), 0, (-128, 127), 0.0),
    ],
)
def test_the_largest_scale_keeps_every_code_within_the_bounds(
    bounds: Bounds, zero_point: int, codes: tuple[int, int], expected: float
) -> None:
    found = largest_scale(bounds, zero_point, *codes)
    assert found == pytest.approx(expected, rel=1e-6)
    if 0 < found < np.inf:
        assert np.float32(codes[1] - zero_point) * np.float32(found) <= np.float32(bounds.high)
        assert np.float32(codes[0] - zero_point) * np.float32(found) >= np.float32(bounds.low)


def test_bounds_are_those_of_a_relu_and_of_a_clip_with_constants() -> None:
    nodes = {node.op_type: node for node in build_residual().graph.graph}
    assert bounds_of(nodes["Relu"]) == Bounds(0.0, np.inf)
    assert bounds_of(nodes["Clip"]) == Bounds(0.0, 6.0)
    assert bounds_of(nodes["Conv"]) == Bounds()
    assert bounds_of(None) == Bounds()
    computed = ir.Node("", "Clip", [ir.Value(name="x"), ir.Value(name="low")], num_outputs=1)
    assert bounds_of(computed) == Bounds()
    one_sided = ir.Node(
        "", "Clip", [ir.Value(name="x"), None, ir.Value(name="h", const_value=ir.tensor(2.0))], num_outputs=1
    )
    assert bounds_of(one_sided) == Bounds(high=2.0)


def test_a_weight_that_was_rounded_the_other_way_starts_beside_the_original_and_keeps_its_integer(
    tmp_path: Path,
) -> None:
    original = build_residual()
    model = quantized(original, tmp_path)
    value = model.graph.graph.initializers["w2_of_conv2_quantized"]
    assert value.const_value is not None
    codes = value.const_value.numpy().copy()
    codes[0, 0] -= np.sign(codes[0, 0])
    value.const_value = ir.tensor(codes, name=value.name)
    opened = find_sites(model, original, DIALECTS["u8s8"])
    assert opened.from_original == 4
    constants = {name: each.const_value for name, each in opened.model.graph.graph.initializers.items()}
    latent, weight = constants["w2_of_conv2_quantized_latent"], original.graph.graph.initializers["w2"].const_value
    scale = model.graph.graph.initializers["w2_of_conv2_scale"].const_value
    assert latent is not None
    assert weight is not None
    assert scale is not None
    assert np.array_equal(np.rint(latent.numpy() / scale.numpy().reshape(-1, 1, 1, 1)), codes)
    assert np.array_equal(latent.numpy().reshape(-1)[1:], weight.numpy().reshape(-1)[1:])
