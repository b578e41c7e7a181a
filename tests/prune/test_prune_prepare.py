from typing import Any

import numpy as np
import pytest
import torch
from cutting import run_all
from parsed_graphs import parse
from zoo import KINDS, make_inputs, zoo_model

from compress.model import Model
from compress.prune.prepare import prepare


def weights(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def operators(model: Model) -> list[str]:
    return [node.op_type for node in model.graph.graph]


def sequence(nodes: str, **constants: Any) -> Model:
    return parse(f"g (float[batch, length, 6] x) => (float[batch, length, 6] y) {{ {nodes} }}", **constants)


def assert_same_outputs(model: Model) -> Model:
    prepared = prepare(model)
    feeds = [{"x": torch.randn(batch, length, 6)} for batch, length in ((2, 3), (1, 5))]
    for found, expected in zip(run_all(prepared, feeds), run_all(model, feeds), strict=True):
        np.testing.assert_allclose(found["y"], expected["y"], rtol=1e-5, atol=1e-6)
    return prepared


@pytest.mark.parametrize("name", sorted(KINDS))
def test_a_prepared_model_computes_the_same_and_is_prepared(name: str) -> None:
    model, feeds = zoo_model(name), [make_inputs(name, 3, 7)]
    prepared = prepare(model)
    assert (prepared.inputs, prepared.outputs) == (model.inputs, model.outputs)
    assert prepare(prepared).digest() == prepared.digest()
    np.testing.assert_allclose(run_all(prepared, feeds)[0]["y"], run_all(model, feeds)[0]["y"], rtol=1e-5, atol=1e-6)


def test_each_reader_of_a_constant_of_one_value_gets_its_own() -> None:
    prepared = assert_same_outputs(sequence("h = Mul (x, g) y = Mul (h, g)", g=np.ones(6, np.float32)))
    assert set(prepared.graph.graph.initializers) == {"g", "g_1"}


def test_a_matrix_with_several_readers_stays_one() -> None:
    prepared = assert_same_outputs(sequence("h = MatMul (x, w) y = MatMul (h, w)", w=weights(6, 6)))
    assert set(prepared.graph.graph.initializers) == {"w"}


def test_constant_nodes_become_initializers() -> None:
    model = sequence("c = Constant <value_float = 2.0> () d = Constant <value = float[6] {1, 2, 3, 4, 5, 6}> ()"
                     " h = Mul (x, c) y = Add (h, d)")  # fmt: skip
    prepared = assert_same_outputs(model)
    assert operators(prepared) == ["Mul", "Add"]


def test_what_depends_on_fixed_sizes_alone_is_a_constant() -> None:
    nodes = """s = Shape <start=2> (x) f = Cast <to=1> (s) r = Sqrt (f) h = Div (x, r)
        t = Transpose (w) k = MatMul (h, t) y = Relu (k)"""
    prepared = assert_same_outputs(sequence(nodes, w=weights(6, 6)))
    assert operators(prepared) == ["Div", "MatMul", "Relu"]


def test_what_depends_on_dynamic_sizes_is_still_computed() -> None:
    prepared = assert_same_outputs(sequence("s = Shape <start=1, end=2> (x) f = Cast <to=1> (s) y = Div (x, f)"))
    assert operators(prepared) == ["Shape", "Cast", "Div"]


def test_quantized_weights_stay_quantized() -> None:
    nodes = "v = DequantizeLinear (w, s) k = MatMul (x, v) y = Relu (k)"
    prepared = assert_same_outputs(sequence(nodes, w=weights(6, 6).astype(np.int8), s=np.float32(0.5)))
    assert operators(prepared) == ["DequantizeLinear", "MatMul", "Relu"]


def test_sizes_that_are_partly_computed_are_put_together_of_pieces() -> None:
    nodes = "s = Shape (x) e = Expand (c, s) y = Add (x, e)"
    prepared = assert_same_outputs(sequence(nodes, c=weights(1, 1, 6)))
    assert operators(prepared) == ["Shape", "Slice", "Slice", "Concat", "Expand", "Add"]
    # A shape without a type is left out when the graph is written, with a warning on the terminal.
    written = [value for node in prepared.graph.graph for value in node.outputs if value.shape is not None]
    assert all(value.type is not None for value in written)
    assert prepare(prepared).digest() == prepared.digest()


def test_initial_states_of_zeros_go_and_others_stay() -> None:
    text = """g (float[length, batch, 6] x) => (float[length, 1, batch, 5] y) {{
        n = Shape <start=1, end=2> (x) z = Concat <axis=0> (one, n, five) h0 = Expand ({state}, z)
        y = RNN <hidden_size=5> (x, w, r, , , h0) }}"""
    held: dict[str, Any] = {"w": weights(1, 5, 6), "r": weights(1, 5, 5), "five": np.array([5], np.int64)}
    held |= {"one": np.array([1], np.int64), "a": np.zeros((1, 1, 5), np.float32), "b": weights(1, 1, 5)}
    assert operators(prepare(parse(text.format(state="a"), opset=20, **held))) == ["RNN"]
    assert operators(prepare(parse(text.format(state="b"), opset=20, **held)))[-2:] == ["Expand", "RNN"]


@pytest.mark.parametrize(("split", "parts"), [(np.int64(4), 2), (np.array([1, 2, 3], np.int64), 3)])
def test_a_split_that_is_written_as_a_sequence_is_a_split(split: Any, parts: int) -> None:
    nodes = """s = SplitToSequence <axis=2> (x, size) a = SequenceAt (s, first) b = SequenceAt (s, last)
        y = Concat <axis=2> (b, a, c)"""
    left = 6 - (1 if parts == 3 else 4) - (3 if parts == 3 else 2)
    rest = "c = Slice (x, begin, end, axes) "
    bounds = {"begin": np.array([0], np.int64), "end": np.array([left], np.int64), "axes": np.array([2], np.int64)}
    prepared = assert_same_outputs(sequence(rest + nodes, size=split, first=np.int64(0), last=np.int64(-1), **bounds))
    assert "Split" in operators(prepared)
    assert "SplitToSequence" not in operators(prepared)


def test_a_sequence_that_is_read_in_another_way_stays() -> None:
    nodes = "s = SplitToSequence <axis=2> (x, size) y = ConcatFromSequence <axis=2> (s)"
    prepared = assert_same_outputs(sequence(nodes, size=np.int64(3)))
    assert operators(prepared) == ["SplitToSequence", "ConcatFromSequence"]
    whole = "s = SplitToSequence <axis=2> (x) y = ConcatFromSequence <axis=2> (s)"
    assert operators(prepare(sequence(whole)))[0] == "SplitToSequence"
