from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from cutting import assert_every_cut_equals_masked, described, prunable_share, reasons
from parsed_graphs import parse
from zoo import zoo_model

from compress.errors import PruneError
from compress.model import Model
from compress.prune.coupling import analyse
from compress.prune.groups import Group


def weights(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed + 1).standard_normal(shape).astype(np.float32)


def integers(*values: int) -> Any:
    return np.array(values, np.int64)


def tokens(*sizes: tuple[int, int], width: int = 6) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [{"x": torch.randn((batch, length, width), generator=generator)} for batch, length in sizes]


def group_named(name: str, groups: tuple[Group, ...]) -> Group:
    return next(group for group in groups if group.name == name)


def test_a_residual_stream_is_one_group_of_all_that_write_it() -> None:
    groups = analyse(zoo_model("resnet")).groups
    assert described(analyse(zoo_model("resnet"))) == {
        "stem.0": ("convolution", 8, 1),
        "narrow.0": ("convolution", 16, 1),
        "body.0": ("convolution", 16, 1),
    }
    body = {(part.initializer, part.axis, part.role) for part in group_named("body.0", groups).slices}
    assert body == {
        ("body.0.weight", 0, "output"),
        ("body.0.weight_bias", 0, "output"),
        ("shortcut.0.weight", 0, "output"),
        ("shortcut.0.weight_bias", 0, "output"),
        ("head.weight", 1, "input"),
    }


def test_heads_of_a_fused_projection_own_their_places_in_q_k_and_v() -> None:
    heads = group_named("MatMul", analyse(zoo_model("vit")).groups)
    assert (heads.family, heads.units) == ("heads", 2)
    fused = next(part for part in heads.slices if part.initializer == "qkv.bias")
    expected = np.arange(48).reshape(3, 2, 8).transpose(1, 0, 2).reshape(2, 24)
    np.testing.assert_array_equal(fused.positions, expected)


def test_the_width_of_a_transformer_is_normalised_over() -> None:
    groups = analyse(zoo_model("bert")).groups
    assert {group.name: group.normalized for group in groups} == {
        "Gather": True,
        "MatMul": False,
        "MatMul_6": False,
        "pool": False,
    }


def test_hidden_units_are_rows_of_every_gate() -> None:
    gru = group_named("GRU", analyse(zoo_model("recurrent")).groups)
    kernel = next(part for part in gru.slices if part.width == 3 and part.role == "output")
    np.testing.assert_array_equal(kernel.positions, np.arange(15).reshape(3, 5).T)


def test_grouped_channels_are_units_in_blocks() -> None:
    found = described(analyse(zoo_model("grouped")))
    assert found["stem"] == ("convolution", 12, 4)
    assert found["grouped"] == ("convolution", 16, 4)
    assert found["up"] == ("convolution", 8, 2)


def test_channels_that_pass_shuffles_differently_are_different_groups() -> None:
    found = described(analyse(zoo_model("shufflenet")))
    assert found["branch"] == found["branch#2"] == ("convolution", 4, 1)
    assert found["branch#3"] == ("convolution", 8, 1)


def test_key_heads_go_with_the_query_heads_that_read_them() -> None:
    heads = group_named("MatMul", analyse(zoo_model("llama")).groups)
    assert (heads.family, heads.units) == ("heads", 2)
    assert sorted(part.width for part in heads.slices) == [4, 4, 8, 8]


def test_what_is_analysed_is_the_prepared_model_and_analysing_it_again_is_the_same() -> None:
    model = zoo_model("gru")
    coupling = analyse(model)
    again = analyse(model)
    assert coupling.digest == again.digest
    assert described(coupling) == described(again)


def attention(nodes: str, constants: Mapping[str, Any], opset: int = 20) -> Model:
    text = "g (float[batch, length, 6] x) => (float[batch, length, 5] y) {" + nodes + "}"
    return parse(text, opset=opset, **dict(constants))


PROJECTIONS: dict[str, Any] = {
    "wq": weights(6, 8),
    "wk": weights(6, 8, seed=1),
    "wv": weights(6, 8, seed=2),
    "wo": weights(8, 5, seed=3),
}
HEADS = """
    q = MatMul (x, wq) k = MatMul (x, wk) v = MatMul (x, wv)
    q4 = Reshape (q, split) k4 = Reshape (k, split) v4 = Reshape (v, split)
    qh = Transpose <perm=[0, 2, 1, 3]> (q4) kt = Transpose <perm=[0, 2, 3, 1]> (k4)
    vh = Transpose <perm=[0, 2, 1, 3]> (v4)
    s = MatMul (qh, kt) t = Add (s, bias) p = Softmax <axis=-1> (t) a = MatMul (p, vh)
    b = Transpose <perm=[0, 2, 1, 3]> (a) c = Reshape (b, merge) y = MatMul (c, wo)
"""


def test_dimensions_of_heads_are_cut_where_heads_cannot_be() -> None:
    text = HEADS.replace("t = Add (s, bias)", "t = LRN <size=3> (s)")
    sizes = {"split": integers(0, 0, 2, 4), "merge": integers(0, 0, 8)}
    coupling = assert_every_cut_equals_masked(attention(text, PROJECTIONS | sizes), tokens((2, 3), (1, 5)))
    assert described(coupling) == {"q": ("matmul", 4, 1), "v": ("matmul", 4, 1)}


def test_heads_have_a_bias_of_their_own() -> None:
    sizes = {"split": integers(0, 0, 2, 4), "merge": integers(0, 0, 8), "bias": weights(2, 1, 1)}
    coupling = assert_every_cut_equals_masked(attention(HEADS, PROJECTIONS | sizes), tokens((2, 3), (1, 5)))
    assert described(coupling) == {"q": ("heads", 2, 1)}


def test_heads_are_cut_from_the_attention_operator() -> None:
    nodes = """q = MatMul (x, wq) k = MatMul (x, wk) v = MatMul (x, wv)
        a = Attention <q_num_heads=4, kv_num_heads=2> (q, k, v) y = MatMul (a, wo)"""
    constants = {"wq": weights(6, 16), "wk": weights(6, 8), "wv": weights(6, 6), "wo": weights(12, 5)}
    coupling = assert_every_cut_equals_masked(attention(nodes, constants, 23), tokens((2, 3), (1, 5)))
    assert described(coupling) == {"q": ("heads", 2, 1)}


def test_heads_in_an_axis_of_their_own_and_their_masks_are_cut_from_the_attention_operator() -> None:
    nodes = """q = MatMul (x, wq) k = MatMul (x, wk) v = MatMul (x, wv)
        q4 = Reshape (q, split) k4 = Reshape (k, split) v4 = Reshape (v, split)
        qh = Transpose <perm=[0, 2, 1, 3]> (q4) kh = Transpose <perm=[0, 2, 1, 3]> (k4)
        vh = Transpose <perm=[0, 2, 1, 3]> (v4)
        t = Shape <start=1, end=2> (x) e = Concat <axis=0> (one, two, t, t) m = Expand (bias, e)
        a = Attention (qh, kh, vh, m)
        b = Transpose <perm=[0, 2, 1, 3]> (a) c = Reshape (b, merge) y = MatMul (c, wo)"""
    sizes = {"split": integers(0, 0, 2, 4), "merge": integers(0, 0, 8), "bias": weights(1, 2, 1, 1)}
    sizes |= {"one": integers(1), "two": integers(2)}
    coupling = assert_every_cut_equals_masked(attention(nodes, PROJECTIONS | sizes, 23), tokens((2, 3), (1, 5)))
    assert described(coupling) == {"q": ("heads", 2, 1)}


def test_the_scale_of_attention_stays_when_dimensions_of_its_only_head_are_cut() -> None:
    nodes = """q = MatMul (x, wq) k = MatMul (x, wk) v = MatMul (x, wv)
        a = Attention <q_num_heads=1, kv_num_heads=1> (q, k, v) y = MatMul (a, wo)"""
    coupling = assert_every_cut_equals_masked(attention(nodes, PROJECTIONS, 23), tokens((2, 3), (1, 5)))
    assert {units for _, units, _ in described(coupling).values()} == {8}
    assert len(coupling.groups) == 2


def test_rotary_positions_leave_heads_free_and_dimensions_as_they_are() -> None:
    nodes = """q = MatMul (x, wq) k = MatMul (x, wk) v = MatMul (x, wv)
        n = Shape <start=1, end=2> (x) u = Squeeze (n) r = Range (nought, u, one)
        l = Shape <start=0, end=2> (x) p = Expand (r, l)
        qr = RotaryEmbedding <num_heads=2> (q, cosine, sine, p) kr = RotaryEmbedding <num_heads=2> (k, cosine, sine, p)
        a = Attention <q_num_heads=2, kv_num_heads=2> (qr, kr, v) y = MatMul (a, wo)"""
    angles = np.arange(8, dtype=np.float32)[:, None] * np.array([1, 0.1], np.float32)
    constants = {"cosine": np.cos(angles), "sine": np.sin(angles), "nought": np.int64(0), "one": np.int64(1)}
    coupling = assert_every_cut_equals_masked(attention(nodes, PROJECTIONS | constants, 23), tokens((2, 3), (1, 5)))
    assert described(coupling) == {"q": ("heads", 2, 1)}


CACHED = """
    q = MatMul (x, wq) k = MatMul (x, wk) v = MatMul (x, wv)
    q4 = Reshape (q, split) k4 = Reshape (k, split) v4 = Reshape (v, split)
    qh = Transpose <perm=[0, 2, 1, 3]> (q4) kh = Transpose <perm=[0, 2, 1, 3]> (k4)
    vh = Transpose <perm=[0, 2, 1, 3]> (v4)
    qr = RotaryEmbedding (qh, cosine, sine, p) kr = RotaryEmbedding (kh, cosine, sine, p)
    a, keys, values = Attention (qr, kr, vh, , pk, pv)
    b = Transpose <perm=[0, 2, 1, 3]> (a) c = Reshape (b, merge) y = MatMul (c, wo)
"""


def test_heads_of_a_learnt_past_are_cut_with_the_heads() -> None:
    past = """l = Shape <start=0, end=1> (x) e = Concat <axis=0> (l, two, two, four)
        pk = Expand (past, e) pv = Expand (past, e)
        n = Shape <start=1, end=2> (x) u = Squeeze (n) r = Range (nought, u, one)
        s = Shape <start=0, end=2> (x) p = Expand (r, s)"""
    angles = np.arange(8, dtype=np.float32)[:, None] * np.array([1, 0.1], np.float32)
    constants = {"cosine": np.cos(angles), "sine": np.sin(angles), "nought": np.int64(0), "one": np.int64(1)}
    constants |= {"split": integers(0, 0, 2, 4), "merge": integers(0, 0, 8), "past": weights(1, 2, 2, 4)}
    model = attention(past + CACHED, PROJECTIONS | constants | {"two": integers(2), "four": integers(4)}, 23)
    coupling = assert_every_cut_equals_masked(model, tokens((2, 3), (1, 5)))
    assert described(coupling) == {"q": ("heads", 2, 1)}


def recurrent(initial: str, **constants: Any) -> Model:
    text = f"""g (float[length, batch, 6] x, float[1, batch, 5] s) => (float[length, batch, 3] y) {{
        n = Shape <start=1, end=2> (x) z = Concat <axis=0> (one, n, five)
        {initial}
        h, hn, cn = LSTM <hidden_size=5> (x, w, r, b, , h0, c0, p) k = Squeeze (h, one) y = MatMul (k, v)
    }}"""
    held = {
        "w": weights(1, 20, 6),
        "r": weights(1, 20, 5),
        "b": weights(1, 40),
        "p": weights(1, 15),
        "v": weights(5, 3),
    }
    return parse(text, one=integers(1), five=integers(5), **held, **constants)


def states(*sizes: tuple[int, int]) -> list[dict[str, torch.Tensor]]:
    found = [{"x": feed["x"].transpose(0, 1)} for feed in tokens(*sizes)]
    return [{**feed, "s": torch.ones(1, feed["x"].shape[1], 5)} for feed in found]


def test_learnt_initial_states_and_peepholes_are_cut_with_the_hidden_units() -> None:
    model = recurrent("h0 = Expand (h1, z) c0 = Expand (c1, z)", h1=weights(1, 1, 5), c1=weights(1, 1, 5))
    coupling = assert_every_cut_equals_masked(model, states((2, 3), (1, 5)))
    assert described(coupling) == {"h": ("recurrent", 5, 1)}
    assert {part.initializer for part in coupling.groups[0].slices} == {"w", "r", "b", "p", "v", "h1", "c1"}


def test_initial_states_that_are_inputs_keep_the_hidden_units() -> None:
    coupling = analyse(recurrent("h0 = Identity (s) c0 = Expand (c1, z)", c1=weights(1, 1, 5)))
    assert coupling.groups == ()
    assert reasons(coupling)["r", 2] == "is the model's input"


def test_a_matrix_that_is_embedding_and_output_layer_stays_one() -> None:
    text = """g (int64[batch, length] x) => (float[batch, length, 999] y) {
        e = Gather (w, x) h = MatMul (e, u) k = Relu (h) t = Transpose (w) y = MatMul (k, t) }"""
    model = parse(text, w=weights(999, 6), u=weights(6, 6))
    feeds = [{"x": torch.randint(0, 999, size)} for size in ((2, 3), (1, 5))]
    coupling = assert_every_cut_equals_masked(model, feeds)
    assert described(coupling) == {"e": ("matmul", 6, 1)}
    assert prunable_share(model, coupling) == 1.0


def test_a_graph_with_nothing_to_prune_has_no_groups() -> None:
    model = parse("g (float[batch, 6] x) => (float[batch, 3] y) { y = MatMul (x, w) }", w=weights(6, 3))
    coupling = analyse(model)
    assert coupling.groups == ()
    assert reasons(coupling) == {("w", 0): "is the model's input", ("w", 1): "is the model's output"}


def test_a_single_unit_is_no_group() -> None:
    text = "g (float[batch, 6] x) => (float[batch, 3] y) { h = MatMul (x, w) y = MatMul (h, v) }"
    assert analyse(parse(text, w=weights(6, 1), v=weights(1, 3))).groups == ()


def test_channels_one_to_a_block_are_protected() -> None:
    text = """g (float[batch, 3, 4, 4] x) => (float[batch, 4, 4, 4] y) {
        h = Conv (x, w) k = GroupNormalization <num_groups=4> (h, s, s) y = Conv (k, v) }"""
    model = parse(text, opset=21, w=weights(4, 3, 1, 1), v=weights(4, 4, 1, 1), s=weights(4))
    coupling = analyse(model)
    assert coupling.groups == ()
    assert reasons(coupling)["w", 0] == "has one unit only, or one in each block"


def test_a_graph_that_cannot_be_run_is_an_error_with_the_reason() -> None:
    text = "g (float[batch, 6] x) => (float[batch, 3] y) { h = local.test.Unknown (x) y = MatMul (h, w) }"
    with pytest.raises(
        PruneError, match=r"cannot be analysed for pruning: ONNX Runtime cannot take the graph: .*Unknown"
    ):
        analyse(parse(text, w=weights(6, 3)))


def test_a_graph_that_runs_at_no_size_is_an_error_with_the_reason() -> None:
    text = "g (float[batch, length] x) => (float[batch, 3] y) { y = MatMul (x, w) }"
    with pytest.raises(PruneError, match="cannot be analysed for pruning: ONNX Runtime cannot run these inputs"):
        analyse(parse(text, w=weights(7, 3)))


def test_a_size_that_the_graph_fixes_although_it_is_said_to_be_dynamic_is_found() -> None:
    text = "g (float[batch, length] x) => (float[batch, 3] y) { h = MatMul (x, w) y = MatMul (h, v) }"
    model = parse(text, w=weights(64, 4), v=weights(4, 3))
    assert described(analyse(model)) == {"h": ("matmul", 4, 1)}


def test_the_given_model_is_not_changed() -> None:
    model = zoo_model("recurrent")
    before = model.to_bytes()
    analyse(model)
    assert model.to_bytes() == before
    assert isinstance(model.graph, ir.Model)
