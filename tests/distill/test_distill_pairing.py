import pytest
from onnx import helper
from small_graphs import build, build_residual, normal

from compress.distill.pairing import (
    Pair,
    attention_candidates,
    feature_candidates,
    pair_attention,
    pair_features,
)
from compress.errors import ModelError
from compress.model import Model


def chain(layers: int, width: int) -> Model:
    """Return x [batch, 4] → ``layers`` times Gemm and Relu → Gemm → y [batch, 3]."""
    nodes, constants, name = [], {}, "x"
    for index in range(layers):
        constants[f"w{index}"] = normal(width, 4 if index == 0 else width, seed=index)
        nodes.append(helper.make_node("Gemm", [name, f"w{index}"], [f"g{index}"], f"gemm{index}", transB=1))
        nodes.append(helper.make_node("Relu", [f"g{index}"], [f"r{index}"], f"relu{index}"))
        name = f"r{index}"
    constants["wl"] = normal(3, width, seed=9)
    nodes.append(helper.make_node("Gemm", [name, "wl"], ["y"], "last", transB=1))
    return build(nodes, constants, ["batch", 4], ["y"])


def encoder(layers: int) -> Model:
    """Return x [batch, 5, 4] → ``layers`` times softmax(x·xᵀ)·x·w → y; every map has the shape [batch, 5, 5]."""
    nodes, constants, name = [], {}, "x"
    for index in range(layers):
        constants[f"w{index}"] = normal(4, 4, seed=index)
        out = "y" if index == layers - 1 else f"o{index}"
        nodes += [
            helper.make_node("Transpose", [name], [f"t{index}"], f"transpose{index}", perm=[0, 2, 1]),
            helper.make_node("MatMul", [name, f"t{index}"], [f"s{index}"], f"scores{index}"),
            helper.make_node("Softmax", [f"s{index}"], [f"a{index}"], f"softmax{index}", axis=-1),
            helper.make_node("Identity", [f"a{index}"], [f"i{index}"], f"identity{index}"),
            helper.make_node("MatMul", [f"i{index}", name], [f"c{index}"], f"context{index}"),
            helper.make_node("MatMul", [f"c{index}", f"w{index}"], [out], f"out{index}"),
        ]
        name = out
    return build(nodes, constants, ["batch", 5, 4], ["y"])


def shapes(model: Model, *size: int) -> dict[str, tuple[int, ...]]:
    return {candidate.name: (1, *size) for candidate in feature_candidates(model)}


def test_candidates_are_what_the_next_layer_reads_at_each_depth() -> None:
    assert [(c.name, c.depth) for c in feature_candidates(chain(3, 8))] == [("r0", 0.25), ("r1", 0.5), ("r2", 0.75)]
    # The residual sum counts once, behind its activation and the mean.
    assert [c.name for c in feature_candidates(build_residual())] == ["r0", "r1", "m"]


def test_layers_are_paired_by_their_share_of_the_depth_whatever_their_widths() -> None:
    student, teacher = chain(3, 8), chain(7, 16)
    pairs = pair_features(student, teacher, shapes(student, 8), shapes(teacher, 16), 3)
    assert pairs == (Pair("r0", "r1"), Pair("r1", "r3"), Pair("r2", "r5"))
    assert pair_features(student, teacher, shapes(student, 8), shapes(teacher, 16), 1) == (Pair("r1", "r3"),)


def test_no_more_pairs_are_made_than_there_are_values_on_either_side() -> None:
    student, teacher = chain(4, 8), chain(2, 8)
    pairs = pair_features(student, teacher, shapes(student, 8), shapes(teacher, 8), 9)
    assert len(pairs) == len({pair.teacher for pair in pairs}) == 2


def test_only_values_of_one_rank_and_of_sizes_that_divide_are_paired() -> None:
    student = build_residual()
    sizes = {"r0": (1, 8, 8, 8), "r1": (1, 8, 8, 8), "m": (1, 8)}
    halved = {"r0": (1, 16, 4, 4), "r1": (1, 16, 3, 3), "m": (1, 7, 7)}
    assert pair_features(student, student, sizes, halved, 2) == (Pair("r0", "r0"),)
    with pytest.raises(ModelError, match="ranks or spatial sizes differ everywhere") as raised:
        pair_features(student, student, {"m": (1, 8)}, {"r1": (1, 16, 3, 3)}, 1)
    assert raised.value.hint == "leave out the loss on features (`features = 0`)"
    tokens = chain(2, 8)
    assert pair_features(tokens, tokens, shapes(tokens, 5, 8), shapes(tokens, 5, 16), 1)


def test_attention_maps_are_softmaxes_that_weigh_something_and_the_last_goes_with_the_last() -> None:
    assert [c.name for c in attention_candidates(encoder(2))] == ["a0", "a1"]
    assert pair_attention(encoder(2), encoder(6)) == (Pair("a0", "a2"), Pair("a1", "a5"))
    assert pair_attention(encoder(3), encoder(1)) == tuple(Pair(f"a{index}", "a0") for index in range(3))


def test_a_model_without_attention_maps_is_refused_by_name() -> None:
    with pytest.raises(ModelError, match="the student has no attention maps"):
        pair_attention(chain(2, 8), encoder(1))
    with pytest.raises(ModelError, match="the teacher has no attention maps"):
        pair_attention(encoder(1), chain(2, 8))
