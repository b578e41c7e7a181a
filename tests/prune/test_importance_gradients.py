from typing import Any

import numpy as np
import pytest
import torch
from hand_coupled import evidence_of, perceptron, samples_of
from onnx import helper
from small_graphs import build, normal
from torch import Tensor
from torch.nn import functional

from compress.errors import ModelError
from compress.model import Model
from compress.prune.groups import Coupling
from compress.prune.importance.evidence import Evidence
from compress.prune.importance.gradients import Drawn, draw_loss, fisher, taylor


def weights(model: Model) -> dict[str, Tensor]:
    found = {}
    for name, value in model.graph.graph.initializers.items():
        assert value.const_value is not None
        found[name] = torch.tensor(value.const_value.numpy(), requires_grad=True)
    return found


def by_hand(evidence: Evidence) -> list[dict[str, Any]]:
    """Return gradient times weight of each sample's loss, computed with autograd on the formula of the perceptron."""
    w = weights(evidence.model)
    generator = torch.Generator().manual_seed(evidence.seed)
    products = []
    for batch in evidence.samples.batches(1):
        x = torch.tensor(np.asarray(batch.inputs["x"], np.float32))
        y = functional.relu(x @ w["w0"].T + w["b0"]) @ w["w1"].T + w["b1"]
        drawn = torch.multinomial(y.detach().softmax(-1), 1, generator=generator)[:, 0]
        loss = functional.cross_entropy(y, drawn)
        gradients = torch.autograd.grad(loss, list(w.values()))
        named = zip(w, gradients, strict=True)
        products.append({name: (each * w[name]).detach().double().numpy() for name, each in named})
    return products


def test_taylor_is_the_mean_absolute_first_order_term_of_each_units_weights() -> None:
    evidence = evidence_of(*perceptron())
    products = by_hand(evidence)
    found = {each.slice.initializer: each.scores for each in taylor(evidence)["h"]}
    assert set(found) == {"w0", "b0", "w1"}
    np.testing.assert_allclose(found["w0"], np.mean([np.abs(p["w0"].sum(1)) for p in products], 0), rtol=1e-5)
    np.testing.assert_allclose(found["b0"], np.mean([np.abs(p["b0"]) for p in products], 0), rtol=1e-5)
    np.testing.assert_allclose(found["w1"], np.mean([np.abs(p["w1"].sum(0)) for p in products], 0), rtol=1e-5)


def test_fisher_is_half_the_mean_squared_gradient_times_the_squared_weight() -> None:
    evidence = evidence_of(*perceptron())
    products = by_hand(evidence)
    found = {each.slice.initializer: each.scores for each in fisher(evidence)["h"]}
    np.testing.assert_allclose(found["w0"], np.mean([0.5 * (p["w0"] ** 2).sum(1) for p in products], 0), rtol=1e-5)
    np.testing.assert_allclose(found["w1"], np.mean([0.5 * (p["w1"] ** 2).sum(0) for p in products], 0), rtol=1e-5)


def test_fisher_of_an_untouched_model_is_the_rise_of_its_distillation_loss() -> None:
    """A small change of one weight changes the divergence from the original by ½·F·Δw², F the Fisher information."""
    model, coupling = perceptron()
    evidence = evidence_of(model, coupling, samples=samples_of(model, 2000), count=2000)
    w = {name: tensor.detach().double() for name, tensor in weights(model).items()}
    x = torch.tensor(np.concatenate([np.asarray(b.inputs["x"]) for b in evidence.samples.batches(500)])).double()

    def logs(last: Tensor) -> Tensor:
        return (functional.relu(x @ w["w0"].T + w["b0"]) @ last.T + w["b1"]).log_softmax(-1)

    def divergence(last: Tensor) -> float:
        return float((logs(w["w1"]).exp() * (logs(w["w1"]) - logs(last))).sum(-1).mean())

    [scores] = [each.scores for each in fisher(evidence)["h"] if each.slice.initializer == "w1"]
    step, rises = 0.01, np.zeros(4)
    for row, unit in np.ndindex(3, 4):
        changed = w["w1"].clone()
        changed[row, unit] *= 1 + step
        rises[unit] += divergence(changed) / step**2
    # One draw for each of 2,000 samples: the estimates are within 30 % of the curvature here, in its order.
    np.testing.assert_allclose(scores, rises, rtol=0.4)
    assert np.argsort(scores).tolist() == np.argsort(rises).tolist()


def test_values_are_drawn_with_the_spread_of_the_teachers_outputs() -> None:
    outputs, targets = {"y": torch.zeros(4000, 2)}, {"y": torch.ones(4000, 2)}
    loss = draw_loss(outputs, targets, {"y": Drawn("values", 2.0)}, torch.Generator().manual_seed(0))
    # E½((0 - 1 - 2ε)/2)² = ½(¼ + 1), for each of 8,000 elements.
    assert float(loss) / 8000 == pytest.approx(0.625, rel=0.03)


def test_shares_draw_a_class_as_their_logits_do() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5]]).repeat(50, 1)
    shares = logits.softmax(-1)
    of_logits = draw_loss({"y": logits}, {"y": logits}, {"y": Drawn("logits", 1.0)}, torch.Generator().manual_seed(3))
    of_shares = draw_loss({"y": shares}, {"y": shares}, {"y": Drawn("shares", 1.0)}, torch.Generator().manual_seed(3))
    assert float(of_logits) == pytest.approx(float(of_shares), rel=1e-5)


def test_a_fixed_batch_size_does_not_matter() -> None:
    model, coupling = perceptron()
    nodes = [
        helper.make_node("Gemm", ["x", "w0", "b0"], ["h"], "first", transB=1),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("Gemm", ["r", "w1", "b1"], ["y"], "second", transB=1),
    ]
    constants = {"w0": normal(4, 6, seed=1), "b0": normal(4, seed=2), "w1": normal(3, 4, seed=3), "b1": normal(3)}
    fixed = build(nodes, constants, [4, 6], ["y"])
    samples = samples_of(model)
    free = fisher(evidence_of(model, coupling, samples=samples))["h"]
    bound = fisher(evidence_of(fixed, coupling, samples=samples))["h"]
    for one, other in zip(free, bound, strict=True):
        np.testing.assert_allclose(one.scores, other.scores, rtol=1e-5)


def test_a_model_without_float_outputs_is_told_to_use_another_criterion() -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "w0"], ["h"], "first", transB=1),
        helper.make_node("ArgMax", ["h"], ["y"], "best", axis=1),
    ]
    model = build_integer(nodes, {"w0": normal(4, 6)})
    _, coupling = perceptron()
    with pytest.raises(ModelError, match="no output has a gradient") as caught:
        fisher(evidence_of(model, Coupling(coupling.digest, (), ())))
    assert 'importance = "l2"' in str(caught.value.hint)


def build_integer(nodes: list[Any], constants: dict[str, Any]) -> Model:
    import onnx_ir as ir
    from onnx import TensorProto, numpy_helper

    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 6])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, ["batch", 1])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return Model.from_ir(ir.from_proto(proto))
