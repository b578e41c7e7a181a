import numpy as np
import pytest
import torch
from parsed_graphs import parse, run_onnxruntime
from tolerances import assert_near
from torch import Tensor

from compress.model import Model
from compress.torchnet.graph_net import GraphNet
from compress.torchnet.operators import OperatorError

BRANCHES = """g (float[n] x, bool c) => (float[n] y, float[n] z) {
  a = Mul(x, w)
  y, z = If(c) <
    then_branch = t () => (float[n] p, float[n] a2) { k = Constant <value_float = 3.0> () p = Mul(a, k) a2 = Neg(x) },
    else_branch = e () => (float[n] q, float[n] x2) <float[1] k = {5.0}> { q = Add(a, k) x2 = Identity(w2) }
  >
}"""

POWERS = """g (float[2] x, int64 m) => (float[2] last, float[r,2] all) {
  go = Constant <value = bool {1}> ()
  last, all = Loop(m, go, x) <body = b (int64 i, bool c, float[2] v) => (bool c2, float[2] next, float[2] seen) {
    c2 = Identity(c) next = Mul(v, w) seen = Add(next, x)
  }>
}"""

HALVING = """g (float x, float limit) => (float y, int64[r] steps) {
  go = Constant <value = bool {1}> ()
  y, steps = Loop(, go, x) <body = b (int64 i, bool c, float v) => (bool c2, float next, int64 seen) {
    two = Constant <value_float = 2.0> () next = Div(v, two) c2 = Greater(next, limit) seen = Identity(i)
  }>
}"""

SUMS = """g (float[2] s, float[t,2] x) => (float[2] last, float[2,t] all) {
  last, all = Scan <
    num_scan_inputs = 1, scan_input_directions = [1], scan_output_axes = [1], scan_output_directions = [1],
    body = b (float[2] v, float[2] step) => (float[2] next, float[2] seen) { next = Add(v, step) seen = Mul(next, w) }>
  (s, x)
}"""


def check(model: Model, **feed: Tensor) -> GraphNet:
    net = GraphNet(model)
    outputs, expected = net(feed), run_onnxruntime(model, feed)
    for name, array in expected.items():
        assert outputs[name].detach().numpy().dtype == array.dtype
        assert_near(outputs[name], array, "onnxruntime")
    return net


@pytest.mark.parametrize("condition", [True, False])
def test_a_branch_reads_values_weights_and_constants_of_both_scopes(condition: bool) -> None:
    model = parse(BRANCHES, w=np.array([2.0, 3.0], np.float32), w2=np.ones(2, np.float32))
    check(model, x=torch.tensor([1.0, -1.0]), c=torch.tensor(condition))


def test_gradients_pass_through_a_branch_to_weights_outside() -> None:
    net = GraphNet(parse(BRANCHES, w=np.array([2.0, 3.0], np.float32), w2=np.ones(2, np.float32)), trainable=["w"])
    net({"x": torch.tensor([1.0, 4.0]), "c": torch.tensor(True)})["y"].sum().backward()
    (weight,) = net.parameters()
    assert weight.grad is not None
    assert weight.grad.tolist() == [3.0, 12.0]


def test_constants_of_sibling_branches_may_share_a_name() -> None:
    model = parse(
        """g (float[1] x, bool c) => (float[1] y) {
          y = If(c) <then_branch = t () => (float[1] p) <float[1] k = {2.0}> { p = Mul(x, k) },
                     else_branch = e () => (float[1] q) <float[1] k = {7.0}> { q = Mul(x, k) }>
        }"""
    )
    net = GraphNet(model)
    assert net({"x": torch.ones(1), "c": torch.tensor(True)})["y"].tolist() == [2.0]
    assert net({"x": torch.ones(1), "c": torch.tensor(False)})["y"].tolist() == [7.0]


def test_a_branch_in_a_branch_reads_the_outermost_scope() -> None:
    model = parse(
        """g (float[1] x, bool c) => (float[1] y) {
          a = Add(x, x)
          y = If(c) <then_branch = t () => (float[1] p) {
            p = If(c) <then_branch = t2 () => (float[1] r) { r = Mul(a, k) },
                       else_branch = e2 () => (float[1] s) { s = Neg(a) }>
          }, else_branch = e () => (float[1] q) { q = Identity(a) }>
        }""",
        k=np.array([5.0], np.float32),
    )
    check(model, x=torch.ones(1), c=torch.tensor(True))
    check(model, x=torch.ones(1), c=torch.tensor(False))


@pytest.mark.parametrize("rounds", [1, 3])
def test_a_loop_carries_states_and_stacks_what_it_scans(rounds: int) -> None:
    model = parse(POWERS, w=np.array([2.0, 0.5], np.float32))
    check(model, x=torch.tensor([1.0, 4.0]), m=torch.tensor(rounds))


def test_a_loop_of_no_rounds_returns_its_states_and_nothing_stacked() -> None:
    net = GraphNet(parse(POWERS, w=np.array([2.0, 0.5], np.float32)))
    outputs = net({"x": torch.tensor([1.0, 4.0]), "m": torch.tensor(0)})
    assert outputs["last"].tolist() == [1.0, 4.0]
    assert outputs["all"].shape == (0, 2)
    assert outputs["all"].dtype == torch.float32


def test_a_loop_without_a_count_ends_when_its_condition_says_so() -> None:
    check(parse(HALVING), x=torch.tensor(9.0), limit=torch.tensor(1.0))


def test_gradients_pass_through_the_rounds_of_a_loop() -> None:
    net = GraphNet(parse(POWERS, w=np.array([2.0, 0.5], np.float32)), trainable=["w"])
    net({"x": torch.tensor([1.0, 4.0]), "m": torch.tensor(3)})["last"].sum().backward()
    (weight,) = net.parameters()
    assert weight.grad is not None
    assert weight.grad.tolist() == [12.0, 3.0]


def test_a_scan_runs_backwards_and_stacks_along_another_axis() -> None:
    model = parse(SUMS, w=np.array([1.0, 2.0], np.float32))
    check(model, s=torch.zeros(2), x=torch.arange(8.0).reshape(4, 2))


def test_a_scan_of_an_empty_sequence_returns_its_states() -> None:
    net = GraphNet(parse(SUMS, w=np.ones(2, np.float32)))
    assert net({"s": torch.ones(2), "x": torch.zeros(0, 2)})["last"].tolist() == [1.0, 1.0]


def test_a_scan_of_opset_8_with_sequence_lengths_is_refused() -> None:
    model = parse(
        """g (int64[n] lengths, float[n,2] s, float[n,t,2] x) => (float[n,2] last) {
          last = Scan <num_scan_inputs = 1,
            body = b (float[2] v, float[2] step) => (float[2] next) { next = Add(v, step) }>
          (lengths, s, x)
        }""",
        opset=8,
    )
    with pytest.raises(OperatorError, match="opset 8 has sequence lengths"):
        GraphNet(model)


def test_a_sequence_is_passed_on_as_a_list() -> None:
    model = parse(
        """g (float[n,2] x) => (float[m,2] y) {
          s = SplitToSequence <axis = 0> (x, size)
          first = SequenceAt(s, zero)
          longer = SequenceInsert(s, first)
          y = ConcatFromSequence <axis = 0> (longer)
        }""",
        size=np.array(2), zero=np.array(0),
    )  # fmt: skip
    check(model, x=torch.arange(10.0).reshape(5, 2))
