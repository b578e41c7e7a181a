from collections.abc import Mapping

import numpy as np
import pytest
from fake_engines import FakeSamples
from onnx import NodeProto, helper
from small_graphs import build, build_residual, normal

from compress.data.binding import bind_samples
from compress.data.samples import SampleSet
from compress.model import Model
from compress.prune import reconstruct as module
from compress.prune.coupling import analyse
from compress.prune.groups import Coupling
from compress.prune.least_squares import Change
from compress.prune.reconstruct import Reconstruction, reconstruct, update_readers
from compress.prune.surgery import cut
from compress.runtimes import open_graph

Array = np.ndarray


def images(count: int = 96, seed: int = 3) -> Array:
    """Return images x [count, 3, 8, 8] whose channels and places have something in common."""
    random = np.random.default_rng(seed)
    coarse = random.standard_normal((count, 2, 4, 4)).repeat(2, 2).repeat(2, 3)
    mixed: Array = np.einsum("oc,nchw->nohw", random.standard_normal((3, 2)), coarse)
    return np.asarray(mixed + 0.3 * random.standard_normal((count, 3, 8, 8)), np.float32)


def vectors(count: int = 400, seed: int = 3) -> Array:
    """Return vectors x [count, 16] of rank 6 and a little noise."""
    random = np.random.default_rng(seed)
    return (
        random.standard_normal((count, 6)) @ random.standard_normal((6, 16)) + 0.1 * random.standard_normal((count, 16))
    ).astype(np.float32)


def samples(model: Model, x: Array) -> SampleSet:
    return bind_samples(FakeSamples(x, None), model.inputs)


def residual() -> Model:
    return build_residual()


def plain_convolutions() -> Model:
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("Conv", ["b", "w1"], ["c"], "second", auto_pad="SAME_UPPER", strides=[2, 2]),
        helper.make_node("Sigmoid", ["c"], ["d"], "sigmoid"),
        helper.make_node("Conv", ["d", "w2"], ["y"], "third", dilations=[2, 1]),
    ]
    weights = {"w0": 2 * normal(16, 3, 3, 3), "w1": normal(16, 16, 3, 3, seed=1), "w2": normal(8, 16, 2, 2, seed=2)}
    return build(nodes, weights, ["batch", 3, 8, 8], ["y"])


def depthwise_between() -> Model:
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["a"], "expand"),
        helper.make_node("Clip", ["a", "zero", "six"], ["b"], "clip"),
        helper.make_node("Conv", ["b", "w1"], ["c"], "depthwise", group=16, pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["d"], "relu"),
        helper.make_node("Conv", ["d", "w2"], ["y"], "project"),
    ]
    constants = {
        "w0": 2 * normal(16, 3, 1, 1), "b0": normal(16), "w1": 2 * normal(16, 1, 3, 3, seed=1),
        "w2": normal(8, 16, 1, 1, seed=2), "zero": np.array(0, np.float32), "six": np.array(6, np.float32),
    }  # fmt: skip
    return build(nodes, constants, ["batch", 3, 8, 8], ["y"])


def gemms() -> Model:
    nodes = [
        helper.make_node("Gemm", ["x", "w0", "b0"], ["a"], "first", transB=1),
        helper.make_node("Relu", ["a"], ["b"], "relu0"),
        helper.make_node("Gemm", ["b", "w1", "b1"], ["c"], "second", alpha=0.5, beta=2.0),
        helper.make_node("Relu", ["c"], ["d"], "relu1"),
        helper.make_node("Gemm", ["d", "w2"], ["y"], "third"),
    ]
    constants = {
        "w0": normal(24, 16), "b0": normal(24), "w1": 2 * normal(24, 20, seed=1), "b1": normal(20),
        "w2": normal(20, 4, seed=2),
    }  # fmt: skip
    return build(nodes, constants, ["batch", 16], ["y"])


def products() -> Model:
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["a"], "first"),
        helper.make_node("Add", ["a", "b0"], ["b"], "add0"),
        helper.make_node("Tanh", ["b"], ["c"], "tanh"),
        helper.make_node("MatMul", ["c", "w1"], ["d"], "second"),
        helper.make_node("Add", ["b1", "d"], ["e"], "add1"),
        helper.make_node("Relu", ["e"], ["f"], "relu"),
        helper.make_node("MatMul", ["f", "w2"], ["y"], "third"),
    ]
    constants = {
        "w0": normal(16, 24), "b0": normal(24), "w1": normal(24, 20, seed=1), "b1": 1 + normal(20),
        "w2": normal(20, 4, seed=2),
    }  # fmt: skip
    return build(nodes, constants, ["batch", 16], ["y"])


def normalized() -> Model:
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["a"], "first"),
        helper.make_node("LayerNormalization", ["a", "gain", "shift"], ["b"], "norm"),
        helper.make_node("MatMul", ["b", "w1"], ["y"], "second"),
    ]
    constants = {"w0": normal(16, 24), "gain": 1 + normal(24), "shift": normal(24), "w1": normal(24, 6, seed=1)}
    return build(nodes, constants, ["batch", 16], ["y"])


NETS = {
    "residual": (residual, images),
    "convolutions": (plain_convolutions, images),
    "depthwise": (depthwise_between, images),
    "gemm": (gemms, vectors),
    "matmul": (products, vectors),
    "normalized": (normalized, vectors),
}


def cut_third(model: Model) -> tuple[Model, Coupling, dict[str, tuple[int, ...]]]:
    """Return the model without every third unit of each group."""
    coupling = analyse(model)
    cuts = {group.name: tuple(range(0, group.units, 3)) for group in coupling.groups if group.blocks == 1}
    assert cuts
    return cut(model, coupling, cuts), coupling, cuts


def outputs(model: Model, x: Array, names: list[str] | None = None) -> Mapping[str, Array]:
    with open_graph(model.to_bytes(), threads=1, outputs=names) as session:
        return session.run({"x": x})


def distance(model: Model, other: Model, x: Array) -> float:
    (first,), (second,) = outputs(model, x).values(), outputs(other, x).values()
    return float(np.square(first - second).sum())


@pytest.mark.parametrize("name", list(NETS))
def test_no_layer_and_no_output_is_further_from_the_original_than_after_plain_cutting(name: str) -> None:
    make, draw = NETS[name]
    model, x = make(), draw()
    pruned, coupling, cuts = cut_third(model)
    found = reconstruct(model, pruned, coupling, cuts, samples(model, x), threads=1)
    assert found.layers
    assert all(layer.missing_after <= layer.missing_before for layer in found.layers)
    assert any(layer.missing_after < 0.7 * layer.missing_before for layer in found.layers)
    assert distance(model, found.model, x) < 0.7 * distance(model, pruned, x)
    assert (found.model.inputs, found.model.outputs) == (model.inputs, model.outputs)


@pytest.mark.parametrize("name", list(NETS))
def test_other_samples_gain_too(name: str) -> None:
    make, draw = NETS[name]
    model, x = make(), draw(count=500)
    fitted, unseen = x[:400], x[400:]
    pruned, coupling, cuts = cut_third(model)
    updated = update_readers(model, pruned, coupling, cuts, samples(model, fitted), threads=1)
    assert distance(model, updated, unseen) < 0.8 * distance(model, pruned, unseen)


def test_a_unit_that_others_can_stand_for_is_missed_no_more() -> None:
    wide = normal(24, 16)
    wide[1] = 0.5 * wide[0]
    first = helper.make_node("Gemm", ["x", "w0"], ["a"], "first", transB=1)
    relu = helper.make_node("Relu", ["a"], ["b"], "relu")
    last = helper.make_node("Gemm", ["b", "w1"], ["y"], "last", transB=1)
    model, x = build([first, relu, last], {"w0": wide, "w1": normal(5, 24)}, ["batch", 16], ["y"]), vectors()
    coupling = analyse(model)
    cuts = {coupling.groups[0].name: (1,)}
    pruned = cut(model, coupling, cuts)
    found = reconstruct(model, pruned, coupling, cuts, samples(model, x), threads=1)
    (layer,) = found.layers
    assert layer.node == "last"
    assert layer.missing_before > 1e-3
    assert layer.missing_after < 1e-3 * layer.missing_before
    weight, expected = constant(found.model, "w1"), constant(model, "w1")
    assert weight[:, 0] == pytest.approx(expected[:, 0] + 0.5 * expected[:, 1], abs=1e-2)


def constant(model: Model, name: str) -> Array:
    value = model.graph.graph.initializers[name].const_value
    assert value is not None
    return value.numpy()


def update(model: Model, x: Array, count: int = 256) -> tuple[Model, Reconstruction]:
    pruned, coupling, cuts = cut_third(model)
    return pruned, reconstruct(model, pruned, coupling, cuts, samples(model, x), threads=1, count=count)


def test_what_is_given_stays_as_it_was_and_equal_runs_give_equal_bytes() -> None:
    model = plain_convolutions()
    pruned, coupling, cuts = cut_third(model)
    before = model.digest(), pruned.digest()
    done: list[tuple[int, int]] = []
    found = [
        reconstruct(
            model, pruned, coupling, cuts, samples(model, images()), threads=1, progress=lambda *at: done.append(at)
        ).model.digest()
        for _ in range(2)
    ]
    assert found[0] == found[1] != pruned.digest()
    assert (model.digest(), pruned.digest()) == before
    assert done == 2 * [(0, 2), (1, 2), (2, 2)]


def test_a_convolution_without_a_bias_gets_one_and_a_product_uses_the_addition_behind_it() -> None:
    _, found = update(plain_convolutions(), images())
    inputs = {node.name: len(node.inputs) for node in found.model.graph.graph}
    assert (inputs["first"], inputs["second"], inputs["third"]) == (2, 3, 3)
    pruned, found = update(products(), vectors())
    assert [layer.node for layer in found.layers] == ["second", "third"]
    assert not np.array_equal(constant(found.model, "b1"), constant(pruned, "b1"))
    assert np.array_equal(constant(found.model, "b0"), constant(pruned, "b0"))
    assert [len(node.inputs) for node in found.model.graph.graph if node.op_type == "MatMul"] == [2, 2, 2]


def test_a_bias_that_two_layers_share_changes_for_one_alone() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], "first"),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("Conv", ["b", "w1", "shared"], ["c"], "left"),
        helper.make_node("Conv", ["x", "w2", "shared"], ["d"], "right"),
        helper.make_node("Add", ["c", "d"], ["y"], "add"),
    ]
    shared = np.linspace(0, 1, 5, dtype=np.float32)
    weights = {"w0": normal(12, 3, 1, 1), "w1": normal(5, 12, 1, 1), "w2": normal(5, 3, 1, 1), "shared": shared}
    _, found = update(build(nodes, weights, ["batch", 3, 8, 8], ["y"]), images())
    biases = {node.name: node.inputs[2] for node in found.model.graph.graph if node.name in ("left", "right")}
    assert biases["left"] is not None
    assert biases["right"] is not None
    assert biases["left"].name == "left_updated_2"
    assert np.array_equal(constant(found.model, str(biases["right"].name)), shared)


def test_large_and_tied_layers_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], "first"),
        helper.make_node("Conv", ["a", "tied"], ["b"], "left"),
        helper.make_node("Tanh", ["a"], ["t"], "tanh"),
        helper.make_node("Conv", ["t", "tied"], ["c"], "right"),
        helper.make_node("Add", ["b", "c"], ["y"], "add"),
    ]
    model = build(nodes, {"w0": normal(12, 3, 1, 1), "tied": normal(5, 12, 1, 1)}, ["batch", 3, 8, 8], ["y"])
    pruned, found = update(model, images())
    assert found == Reconstruction(pruned, ())
    monkeypatch.setattr(module, "MAX_FEATURES", 10)
    pruned, found = update(depthwise_between(), images())
    assert [layer.node for layer in found.layers] == ["project"]
    monkeypatch.setattr(module, "MAX_FEATURES", 9)
    assert update(depthwise_between(), images())[1].layers == ()


@pytest.mark.parametrize(("batch", "count"), [("batch", 2), ("batch", 40), (4, 10), (4, 40)])
def test_few_samples_and_fixed_batches_do(batch: int | str, count: int) -> None:
    model = build(pointwise_nodes(), {"w0": normal(16, 3, 1, 1), "w1": normal(8, 16, 1, 1)}, [batch, 3, 8, 8], ["y"])
    x = images(40)
    _, found = update(model, x, count)
    assert [layer.node for layer in found.layers] == ["second"]
    assert found.layers[0].missing_after < 0.7 * found.layers[0].missing_before


def pointwise_nodes() -> list[NodeProto]:
    return [
        helper.make_node("Conv", ["x", "w0"], ["a"], "first"),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("Conv", ["b", "w1"], ["y"], "second"),
    ]


def test_without_a_whole_batch_nothing_changes() -> None:
    model = build(pointwise_nodes(), {"w0": normal(16, 3, 1, 1), "w1": normal(8, 16, 1, 1)}, [4, 3, 8, 8], ["y"])
    pruned, found = update(model, images(3))
    assert found.model.digest() == pruned.digest()


def test_where_the_outputs_would_be_further_away_the_plain_cut_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(training: object, checking: object, *, with_bias: bool, kept: object) -> Change:
        return Change(np.full((4, 13), 5.0), np.zeros(4))

    monkeypatch.setattr(module, "fit", spoil)
    model = gemms()
    coupling = analyse(model)
    cuts = {coupling.groups[-1].name: tuple(range(7))}
    pruned = cut(model, coupling, cuts)
    found = reconstruct(model, pruned, coupling, cuts, samples(model, vectors()), threads=1)
    assert found == Reconstruction(pruned, ())
