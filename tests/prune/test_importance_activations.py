from typing import Any

import numpy as np
import pytest
from hand_coupled import convolutions, each, evidence_of, group, perceptron
from onnx import helper
from small_graphs import build, normal

from compress.model import Model
from compress.prune.groups import Coupling, Slice
from compress.prune.importance.activations import activation, find_readers, reconstruction
from compress.prune.importance.evidence import Evidence
from compress.runtimes import open_graph

Values = dict[str, np.ndarray[Any, np.dtype[np.float64]]]


def run(evidence: Evidence, *names: str, zeroed: tuple[str, int, list[int]] | None = None) -> Values:
    """Return values of the graph in ONNX Runtime, with some places of a weight set to zero."""
    graph = evidence.model.copy_graph()
    if zeroed:
        name, axis, places = zeroed
        constant = graph.graph.initializers[name].const_value
        assert constant is not None
        array = constant.numpy().copy()
        np.moveaxis(array, axis, 0)[places] = 0
        import onnx_ir as ir

        graph.graph.initializers[name].const_value = ir.tensor(array, name=name)
    feed = next(iter(evidence.samples.batches(len(evidence.samples)))).inputs
    with open_graph(Model.from_ir(graph).to_bytes(), threads=1, outputs=names) as session:
        return {name: value.astype(np.float64) for name, value in session.run(feed).items()}


def lost(evidence: Evidence, part: Slice, y: str) -> list[float]:
    """Return what reconstruction is: the error of the reading layer's output with one unit's weights at zero."""
    whole = run(evidence, y)[y]
    errors = []
    for places in part.positions.tolist():
        without = run(evidence, y, zeroed=(part.initializer, part.axis, places))[y]
        errors.append(float(((whole - without) ** 2).sum() / (whole**2).sum()))
    return errors


def test_activation_is_the_mean_size_of_what_the_next_layers_read() -> None:
    evidence = evidence_of(*convolutions())
    values = run(evidence, "r", "f")
    found = activation(evidence)
    np.testing.assert_allclose(found["h"][0].scores, np.abs(values["r"]).mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(found["g"][0].scores, np.abs(values["f"]).mean(0).reshape(3, 2).mean(1), rtol=1e-5)


def test_reconstruction_is_the_error_of_the_next_layer_without_the_unit() -> None:
    evidence = evidence_of(*convolutions())
    found = reconstruction(evidence)
    [first], [second] = found["h"], found["g"]
    assert (first.slice.initializer, second.slice.initializer) == ("k1", "w")
    np.testing.assert_allclose(first.scores, lost(evidence, first.slice, "g"), rtol=1e-4)
    np.testing.assert_allclose(second.scores, lost(evidence, second.slice, "y"), rtol=1e-4)


def test_a_transposed_gemm_is_read_along_its_other_axis() -> None:
    evidence = evidence_of(*perceptron())
    [found] = reconstruction(evidence)["h"]
    # The bias is part of the output's energy.
    np.testing.assert_allclose(found.scores, lost(evidence, found.slice, "y"), rtol=1e-4)


@pytest.mark.parametrize(
    "attributes",
    [
        {"auto_pad": "SAME_UPPER", "strides": [2]},
        {"auto_pad": "SAME_LOWER", "strides": [2]},
        {"auto_pad": "NOTSET", "dilations": [2]},
        {"auto_pad": "VALID"},
        {"pads": [2, 0], "strides": [3]},
    ],
    ids=str,
)
def test_convolutions_in_one_dimension_with_any_padding(attributes: dict[str, Any]) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "k0"], ["h"], "first"),
        helper.make_node("Conv", ["h", "k1"], ["y"], "second", **attributes),
    ]
    model = build(nodes, {"k0": normal(4, 2, 1, seed=1), "k1": normal(3, 4, 4, seed=2)}, ["batch", 2, 11], ["y"])
    units = group("h", "convolution", [("k0", 0, each(4), "output"), ("k1", 1, each(4), "input")])
    evidence = evidence_of(model, Coupling(model.digest(), (units,), ()))
    [found] = reconstruction(evidence)["h"]
    np.testing.assert_allclose(found.scores, lost(evidence, found.slice, "y"), rtol=1e-4)


def test_a_matrix_product_over_a_sequence_is_read_along_its_rows() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["h"], "first"),
        helper.make_node("MatMul", ["h", "w1"], ["y"], "second"),
    ]
    model = build(nodes, {"w0": normal(3, 6, seed=1), "w1": normal(6, 2, seed=2)}, ["batch", 5, 3], ["y"])
    heads = group("h", "heads", [("w0", 1, each(2, 3), "output"), ("w1", 0, each(2, 3), "input")])
    evidence = evidence_of(model, Coupling(model.digest(), (heads,), ()))
    [found] = reconstruction(evidence)["h"]
    np.testing.assert_allclose(found.scores, lost(evidence, found.slice, "y"), rtol=1e-4)
    values = run(evidence, "h")["h"]
    [mean] = activation(evidence)["h"]
    np.testing.assert_allclose(mean.scores, np.abs(values).mean((0, 1)).reshape(2, 3).mean(1), rtol=1e-5)


def test_grouped_convolutions_and_matrices_on_the_left_are_no_readers() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "k0"], ["h"], "first"),
        helper.make_node("Conv", ["h", "k1"], ["g"], "depthwise", group=4),
        helper.make_node("Flatten", ["g"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "w"], ["y"], "turned", transA=1),
    ]
    constants = {"k0": normal(4, 2, 1, 1), "k1": normal(4, 1, 1, 1), "w": normal(2, 3)}
    model = build(nodes, constants, [2, 2, 3, 3], ["y"])
    parts = (
        Slice("k1", 0, np.array(each(4)), "output"),
        Slice("k1", 1, np.array(each(1)), "input"),
        Slice("w", 0, np.array(each(2)), "input"),
        Slice("gone", 0, np.array(each(2)), "input"),
    )
    assert find_readers(model, parts) == ()


def test_a_unit_that_is_always_zero_matters_nothing_even_where_everything_is_zero() -> None:
    model, coupling = perceptron()
    graph = model.copy_graph()
    import onnx_ir as ir

    for name in ("w0", "b0", "b1"):
        value = graph.graph.initializers[name]
        assert value.const_value is not None
        value.const_value = ir.tensor(np.zeros_like(value.const_value.numpy()), name=name)
    evidence = evidence_of(Model.from_ir(graph), coupling)
    assert reconstruction(evidence)["h"][0].scores.tolist() == [0, 0, 0, 0]
