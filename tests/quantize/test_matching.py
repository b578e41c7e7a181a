from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from qat_models import quantized, random_samples, run_graph
from small_graphs import build_residual

from compress.model import Model
from compress.quantize.layers import float_constants
from compress.quantize.matching import name_layers, without_quantization
from compress.store import Store
from compress.targets import DialectName


def renamed(model: Model) -> Model:
    """Return a graph whose nodes and values all have other names."""
    graph = model.copy_graph()
    for number, node in enumerate(graph.graph):
        node.name = f"node_{number}"
        for value in node.outputs:
            if not value.is_graph_output():
                value.name = f"value_{value.name}"
    return Model.from_ir(graph)


@pytest.mark.parametrize("dialect", ["u8s8", "u8s8-7bit", "s8s8-symmetric"])
def test_layers_get_their_names_and_float_weights_back(tmp_path: Path, dialect: DialectName) -> None:
    original = build_residual()
    whole = quantized(original, tmp_path, dialect)
    named, constants = name_layers(renamed(whole), original)
    weighted = [(node.name, node.op_type) for node in whole.graph.graph if node.op_type in ("Conv", "Gemm")]
    assert [(node.name, node.op_type) for node in named.graph.graph if node.op_type in ("Conv", "Gemm")] == weighted
    expected = float_constants(whole, Store(tmp_path))
    assert set(constants) == {(name, 1) for name, _ in weighted}
    for key, weight in constants.items():
        np.testing.assert_array_equal(weight, expected[key])


def test_a_weight_of_another_model_gives_no_name(tmp_path: Path) -> None:
    original = build_residual()
    other = original.copy_graph()
    for name in ("w0", "w1", "w2", "wf"):
        value = other.graph.initializers[name]
        assert value.const_value is not None
        value.const_value = ir.tensor(value.const_value.numpy()[::-1].copy(), name=name)
    named, constants = name_layers(renamed(quantized(original, tmp_path)), Model.from_ir(other))
    assert not constants
    assert all(str(node.name).startswith("node_") for node in named.graph.graph)


def test_without_its_quantization_the_graph_is_the_float_one(tmp_path: Path) -> None:
    original = build_residual()
    whole = quantized(original, tmp_path)
    found = Model.from_ir(without_quantization(whole, float_constants(whole, Store(tmp_path))))
    assert [node.op_type for node in found.graph.graph] == [node.op_type for node in original.graph.graph]
    assert (found.inputs, found.outputs) == (original.inputs, original.outputs)
    x = random_samples()
    np.testing.assert_allclose(run_graph(found, x), run_graph(original, x), atol=1e-6)
