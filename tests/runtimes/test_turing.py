import numpy as np
import onnx
import pytest
from onnx import TensorProto
from qdq_graphs import Sketch, attention_net, residual_net, samples

from compress.model import Model
from compress.runtimes.onnxruntime import open_graph
from compress.runtimes.turing import halve_products


@pytest.mark.parametrize(
    ("model", "count", "shape"),
    [(residual_net(), 1, (2, 8, 8)), (attention_net(), 5, (4, 16))],
    ids=["residual", "attention"],
)
def test_every_float32_product_becomes_float16_and_the_result_stays(
    model: Model, count: int, shape: tuple[int, ...]
) -> None:
    halved, found = halve_products(model)
    assert found == count
    onnx.checker.check_model(halved.to_bytes(), full_check=True)
    assert (halved.inputs, halved.outputs) == (model.inputs, model.outputs)
    x = samples(4, *shape)
    with (
        open_graph(model.to_bytes(), threads=1, simulate=True) as before,
        open_graph(halved.to_bytes(), threads=1, simulate=True) as after,
    ):
        expected, y = (np.asarray(session.run({"x": x})["y"], np.float32) for session in (before, after))
    # float16 has 11 bits, and a rounding may move a value by one step of the quantizers that follow.
    np.testing.assert_allclose(y, expected, atol=0.02 * float(np.ptp(expected)))


def test_the_model_given_is_not_changed() -> None:
    model = attention_net()
    before = model.to_bytes()
    halve_products(model)
    assert model.to_bytes() == before


def test_a_product_that_is_the_graphs_output_keeps_its_name() -> None:
    s = Sketch(["batch", 3])
    product = s.node("MatMul", "x", s.constant(np.eye(3)))
    model = s.finish(product, ["batch", 3])
    graph = model.copy_graph()
    graph.graph.outputs[0] = graph.graph[0].outputs[0]
    graph.graph.remove(graph.graph[1])
    halved, count = halve_products(Model.from_ir(graph))
    assert count == 1
    assert halved.outputs[0].name == "MatMul_0"
    x = samples(2, 3)
    with open_graph(halved.to_bytes(), threads=1) as session:
        np.testing.assert_array_equal(session.run({"x": x})["MatMul_0"], x)


def test_a_graph_without_float32_products_stays_as_it_is() -> None:
    s = Sketch(["batch", 3], dtype=TensorProto.FLOAT16)
    y = s.node("MatMul", "x", s.constant(np.eye(3), "float16"))
    model = s.finish(y, ["batch", 3], dtype=TensorProto.FLOAT16)
    halved, count = halve_products(model)
    assert count == 0
    assert halved is model
