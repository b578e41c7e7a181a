from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper
from qat_models import quantized, random_samples, run_graph
from small_graphs import build, build_residual, normal

from compress.model import Model
from compress.quantize.removed import restore_activations


def build_last() -> Model:
    """Return Conv-Relu, Conv-Clip, whose output is the model's: x [batch, 3, 8, 8] → y."""
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["c0"], "conv0"),
        helper.make_node("Relu", ["c0"], ["r0"], "relu0"),
        helper.make_node("Conv", ["r0", "w1"], ["c1"], "conv1"),
        helper.make_node("Clip", ["c1", "low", "high"], ["y"], "clip1"),
    ]
    constants = {
        "w0": normal(8, 3, 3, 3), "w1": normal(4, 8, 1, 1, seed=1),
        "low": np.array(0, np.float32), "high": np.array(2, np.float32),
    }  # fmt: skip
    return build(nodes, constants, ["batch", 3, 8, 8], ["y"])


def without_functions(model: Model) -> Model:
    """Return a graph as ONNX Runtime's quantizer leaves it: what gives a function's value is the node before it."""
    graph = model.copy_graph().graph
    for node in [node for node in graph if node.op_type in ("Relu", "Clip")]:
        source = node.inputs[0]
        assert source is not None
        name = node.outputs[0].name
        ir.convenience.replace_all_uses_with(node.outputs[0], source, replace_graph_outputs=True)
        graph.remove(node, safe=True)
        source.name = name
    for name in [name for name, value in graph.initializers.items() if not value.uses()]:
        del graph.initializers[name]
    return Model.from_ir(ir.Model(graph, ir_version=model.graph.ir_version))


def described(model: Model) -> list[tuple[str | None, str, list[str | None]]]:
    return [
        (node.name, node.op_type, [None if value is None else value.name for value in (*node.inputs, *node.outputs)])
        for node in model.graph.graph
    ]


@pytest.mark.parametrize("make", [build_residual, build_last])
def test_removed_functions_are_back_with_their_names_and_bounds(tmp_path: Path, make: Callable[[], Model]) -> None:
    original = make()
    whole = quantized(original, tmp_path)
    short = without_functions(whole)
    assert not {"Relu", "Clip"} & {node.op_type for node in short.graph.graph}
    restored = restore_activations(short, original)
    assert described(restored) == described(whole)
    x = random_samples()
    np.testing.assert_array_equal(run_graph(restored, x, simulate=True), run_graph(whole, x, simulate=True))
    assert restored.outputs == whole.outputs


def test_functions_that_are_there_stay_as_they_are(tmp_path: Path) -> None:
    original = build_residual()
    whole = quantized(original, tmp_path)
    assert restore_activations(whole, original).digest() == whole.digest()
