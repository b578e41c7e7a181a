from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hand_coupled import convolutions, each, evidence_of, group, perceptron
from onnx import helper
from small_graphs import build, normal

from compress.errors import PruneError
from compress.model import Model
from compress.prune.groups import Coupling
from compress.prune.importance import CRITERIA, CriterionName, score_groups
from compress.prune.importance.weights import chance, gains, geometric_median, l1, l2


def weight(model: Model, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    constant = model.graph.graph.initializers[name].const_value
    assert constant is not None
    return constant.numpy().astype(np.float64)


def test_norms_are_those_of_what_a_unit_owns_of_each_kernel() -> None:
    model, coupling = convolutions()
    k0, k1, w = (weight(model, name) for name in ("k0", "k1", "w"))
    first, second = l1(evidence_of(model, coupling)), l2(evidence_of(model, coupling))
    assert [each.slice.initializer for each in first["h"]] == ["k0", "k1"]
    np.testing.assert_allclose(first["h"][0].scores, [np.abs(k0[unit]).sum() for unit in range(6)])
    np.testing.assert_allclose(first["h"][1].scores, [np.abs(k1[:, unit]).sum() for unit in range(6)])
    np.testing.assert_allclose(second["g"][0].scores, [np.linalg.norm(k1[unit]) for unit in range(3)])
    np.testing.assert_allclose(second["g"][1].scores, [np.linalg.norm(w[2 * unit : 2 * unit + 2]) for unit in range(3)])


def test_a_group_of_vectors_alone_is_judged_by_them() -> None:
    model, _ = perceptron()
    coupling = Coupling(model.digest(), (group("h", "matmul", [("b0", 0, each(4), "output")]),), ())
    [found] = l1(evidence_of(model, coupling))["h"]
    np.testing.assert_allclose(found.scores, np.abs(weight(model, "b0")))


def test_the_geometric_median_is_the_sum_of_distances_to_the_other_units() -> None:
    model, coupling = convolutions()
    rows = weight(model, "k0").reshape(6, -1)
    brute = np.array([np.linalg.norm(rows - rows[unit], axis=1).sum() for unit in range(6)], np.float64)
    np.testing.assert_allclose(geometric_median(evidence_of(model, coupling))["h"][0].scores, brute, rtol=1e-9)


def test_equal_units_are_at_no_distance() -> None:
    model, coupling = perceptron()
    graph = model.copy_graph()
    graph.graph.initializers["w0"].const_value = ir.tensor(np.full((4, 6), 0.1, np.float32), name="w0")
    found = geometric_median(evidence_of(Model.from_ir(graph), coupling))["h"][0].scores
    np.testing.assert_allclose(found, 0, atol=1e-6)


def normalised(folded: bool) -> tuple[Model, Coupling]:
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["c"], "conv"),
        helper.make_node("BatchNormalization", ["c", "gain", "shift", "mean", "var"], ["n"], "norm"),
        helper.make_node("Relu", ["n"], ["r"], "relu"),
        helper.make_node("Conv", ["r", "k1"], ["y"], "next"),
    ]
    constants = {
        "k": normal(4, 2, 1, 1, seed=1), "gain": np.array([-3, 0.5, 1, 2], np.float32), "shift": normal(4),
        "mean": normal(4), "var": np.ones(4, np.float32), "k1": normal(2, 4, 1, 1, seed=2),
    }  # fmt: skip
    model = build(nodes, constants, ["batch", 2, 3, 3], ["y"])
    names = ("k",) if folded else ("k", "gain", "shift", "mean", "var")
    parts: list[Any] = [(name, 0, each(4), "output") for name in names]
    return model, Coupling(model.digest(), (group("c", "convolution", parts),), ())


def test_the_gain_of_a_normalisation_is_its_size_whatever_its_sign() -> None:
    [found] = gains(evidence_of(*normalised(folded=False)))["c"]
    np.testing.assert_allclose(found.scores, [3, 0.5, 1, 2])


def test_a_graph_without_gains_says_what_to_use_instead() -> None:
    with pytest.raises(PruneError, match="no normalisation with a gain") as caught:
        gains(evidence_of(*normalised(folded=True)))
    assert 'importance = "l2"' in str(caught.value.hint)


def test_chance_depends_on_seed_and_group_alone() -> None:
    model, coupling = convolutions()
    first, again = chance(evidence_of(model, coupling)), chance(evidence_of(model, coupling))
    other = chance(evidence_of(model, coupling, seed=1))
    np.testing.assert_array_equal(first["h"][0].scores, again["h"][0].scores)
    assert not np.array_equal(first["h"][0].scores, other["h"][0].scores)
    assert not np.array_equal(first["h"][0].scores[:3], first["g"][0].scores)


@pytest.mark.parametrize("criterion", sorted(set(CRITERIA) - {"gain"}))
def test_every_criterion_scores_each_unit_of_each_group_once_and_twice_alike(criterion: CriterionName) -> None:
    model, coupling = convolutions()

    def scores() -> dict[str, Any]:
        return score_groups(
            evidence_of(model, coupling), criterion, aggregation="sum", normalisation="mean", unit_costs={}
        )

    found, again = scores(), scores()
    assert {name: len(each) for name, each in found.items()} == {"h": 6, "g": 3}
    for name, each_score in found.items():
        assert np.isfinite(each_score).all()
        assert len(set(each_score.tolist())) == len(each_score)
        np.testing.assert_allclose(each_score.mean(), 1)
        np.testing.assert_array_equal(each_score, again[name])


def test_units_that_a_criterion_cannot_judge_are_worth_more_than_any() -> None:
    model, _ = perceptron()
    coupling = Coupling(model.digest(), (group("h", "matmul", [("b0", 0, each(4), "output")]),), ())
    found = score_groups(
        evidence_of(model, coupling), "activation", aggregation="sum", normalisation="mean", unit_costs={}
    )
    assert np.isinf(found["h"]).all()
