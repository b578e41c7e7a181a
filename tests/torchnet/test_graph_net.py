import copy
import weakref
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from parsed_graphs import parse, run_onnxruntime
from tolerances import assert_near
from torch import Tensor

from compress.errors import DataError, ExitCode
from compress.intake import IntakeOptions, take_in
from compress.model import Model
from compress.torchnet.graph_net import GraphNet
from compress.torchnet.operators import OperatorError, operators

EXAMPLE = Path(__file__).parents[2] / "examples" / "fashion" / "model.pt"


def floats(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def linear(**more: Any) -> Model:
    """x [n, 3] → y [n, 2]."""
    text = "g (float[n,3] x) => (float[n,2] y) { h = MatMul(x, w) y = Add(h, b) }"
    return parse(text, w=floats(3, 2), b=floats(2, seed=1), **more)


@pytest.fixture(scope="module")
def fashion() -> Model:
    return take_in(EXAMPLE, IntakeOptions()).model


def test_the_shipped_example_computes_what_onnxruntime_does(fashion: Model) -> None:
    feed = {"image": torch.randn(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))}
    assert_near(GraphNet(fashion)(feed)["output"], run_onnxruntime(fashion, feed)["output"], "onnxruntime")


def test_all_weights_of_the_shipped_example_are_trained_and_nothing_else(fashion: Model) -> None:
    net = GraphNet(fashion)
    bounds = {"min_val_cast", "max_val_cast", "val_192"}
    assert set(net.initializer_names.values()) == set(fashion.graph.graph.initializers) - bounds
    net({"image": torch.randn(2, 1, 28, 28)})["output"].square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in net.parameters())


def test_writing_back_what_was_not_trained_gives_the_same_bytes(fashion: Model) -> None:
    assert GraphNet(fashion).write_back(fashion).digest() == fashion.digest()


def test_trained_values_go_back_into_the_initializers_and_the_given_model_stays() -> None:
    model = linear()
    before, net = model.digest(), GraphNet(model)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(2)
    trained = net.write_back(model)
    feed = {"x": torch.ones(1, 3)}
    assert_near(run_onnxruntime(trained, feed)["y"], net(feed)["y"], "onnxruntime")
    written = trained.graph.graph.initializers["w"].const_value
    assert written is not None
    np.testing.assert_array_equal(written.numpy(), 2 * floats(3, 2))
    assert model.digest() == before


def test_writing_back_into_a_graph_without_the_initializer_names_it() -> None:
    other = parse("g (float[n,3] x) => (float[n,2] y) { y = MatMul(x, weight) }", weight=floats(3, 2))
    with pytest.raises(OperatorError, match="has no initializer `w`"):
        GraphNet(linear()).write_back(other)


def test_a_missing_input_is_named_with_those_given() -> None:
    with pytest.raises(DataError, match="input `x` is missing") as caught:
        GraphNet(linear())({"image": torch.ones(1, 3)})
    assert caught.value.hint == "Given are: image."


def test_all_missing_operators_are_named_at_once_and_cost_exit_code_2() -> None:
    model = parse(
        """g (float[n] x, bool c) => (float[n] y) {
          a = local.test.Fancy(x)
          y = If(c) <then_branch = t () => (float[n] p) { p = local.test.Odd(a) },
                     else_branch = e () => (float[n] q) { q = Relu(a) }>
        }"""
    )
    with pytest.raises(OperatorError, match=r"2 operators .*: local.test::Fancy, local.test::Odd") as caught:
        GraphNet(model)
    assert caught.value.exit_code == ExitCode.USAGE
    assert "quantization without training works" in str(caught.value.hint)


def test_an_attribute_that_nobody_understands_is_refused() -> None:
    with pytest.raises(OperatorError, match=r"Relu `r` has attributes .* not understood here: slope, zone"):
        GraphNet(parse("g (float[n] x) => (float[n] y) { [r] y = Relu <slope = 0.1, zone = 3> (x) }"))


def test_every_family_of_operators_is_there() -> None:
    assert {"Conv", "If", "Attention", "MaxPool", "LSTM", "Resize", "QuantizeLinear", "Softmax"} <= set(operators())


def test_an_observed_value_is_returned_beside_the_outputs() -> None:
    outputs = GraphNet(linear(), observe=["h"])({"x": torch.ones(1, 3)})
    assert list(outputs) == ["y", "h"]
    assert_near(outputs["h"] + torch.from_numpy(floats(2, seed=1)), outputs["y"], "eager")


def test_an_unknown_value_to_observe_gets_a_suggestion() -> None:
    with pytest.raises(OperatorError, match="no value `hh`") as caught:
        GraphNet(linear(), observe=["hh"])
    assert "Did you mean `h`?" in str(caught.value.hint)


def test_only_the_named_initializers_are_trained() -> None:
    net = GraphNet(linear(), trainable=["b"])
    assert list(net.initializer_names.values()) == ["b"]
    with pytest.raises(OperatorError, match="no initializer `bias`"):
        GraphNet(linear(), trainable=["bias"])


def test_integers_cannot_be_trained() -> None:
    model = parse("g (float[n,4] x) => (float[2,m] y) { y = Reshape(x, s) }", s=np.array([2, -1]))
    with pytest.raises(OperatorError, match=r"initializer `s` holds torch.int64"):
        GraphNet(model, trainable=["s"])


def test_outputs_may_be_inputs_constants_or_said_twice() -> None:
    model = parse(
        "g (float[n] x) => (float[n] x, float[2] k, float[n] y, int64[1] s) { y = Relu(x) s = Identity(t) }",
        k=floats(2), t=np.array([7]),
    )  # fmt: skip
    outputs = GraphNet(model)({"x": torch.tensor([-1.0, 2.0])})
    assert outputs["x"].tolist() == [-1.0, 2.0]
    assert outputs["y"].tolist() == [0.0, 2.0]
    assert outputs["s"].tolist() == [7]
    np.testing.assert_array_equal(outputs["k"].detach(), floats(2))


def test_an_input_that_nobody_reads_does_no_harm() -> None:
    model = parse("g (float[n] x, int64[n] unused) => (float[n] y) { y = Relu(x) }")
    assert GraphNet(model)({"x": -torch.ones(1), "unused": torch.ones(1)})["y"].tolist() == [0.0]


def test_absent_optional_inputs_and_outputs_are_left_out() -> None:
    model = parse("g (float[n] x) => (float[n] y) { y = Clip(x, , top) }", top=np.float32(1))
    assert GraphNet(model)({"x": torch.tensor([-5.0, 5.0])})["y"].tolist() == [-5.0, 1.0]
    model = parse("g (float[1,1,4] x) => (int64[1,1,2] i) { , i = MaxPool <kernel_shape = [2], strides = [2]> (x) }")
    assert GraphNet(model)({"x": torch.tensor([[[1.0, 2.0, 4.0, 3.0]]])})["i"].tolist() == [[[1, 2]]]


def test_what_depends_on_constants_alone_is_computed_once() -> None:
    model = parse(
        """g (float[n,4] x) => (float[n,2] y) {
          two = Constant <value_int = 2> ()
          t = Cast <to = 1> (two)
          wide = Mul(k, t)
          y = MatMul(x, wide)
        }""",
        k=floats(4, 2),
    )
    net = GraphNet(model, trainable=[])
    assert [call.op_type for call in net._calls] == ["MatMul"]
    # The folded product is kept, what it was made of is not.
    assert sum(buffer.numel() for buffer in net.buffers()) == 8
    feed = {"x": torch.ones(3, 4)}
    assert_near(net(feed)["y"], run_onnxruntime(model, feed)["y"], "onnxruntime")


def test_a_node_whose_result_nobody_reads_is_not_computed() -> None:
    net = GraphNet(parse("g (float[n] x) => (float[n] y) { y = Relu(x) dead = Exp(x) deader = Log(dead) }"))
    assert [call.op_type for call in net._calls] == ["Relu"]


def test_an_intermediate_value_is_freed_after_its_last_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[weakref.ref[Tensor]] = []
    most = 0

    def exp(x: Tensor) -> Tensor:
        nonlocal most
        result = torch.exp(x * 0)
        alive.append(weakref.ref(result))
        most = max(most, sum(reference() is not None for reference in alive))
        return result

    monkeypatch.setitem(operators(), "Exp", lambda node: exp)
    chain = " ".join(f"v{index + 1} = Exp(v{index})" for index in range(9))
    net = GraphNet(parse(f"g (float[n] v0) => (float[n] v9) {{ {chain} }}"))
    with torch.no_grad():
        net({"v0": torch.ones(2)})
    assert most == 2


@pytest.mark.parametrize("name", ["layer.weight", "forward", "training", "inputs", "a/b", "constant 1", "/x/Conv_1"])
def test_any_initializer_name_can_be_a_parameter(name: str) -> None:
    model = linear()
    model.graph.graph.initializers["w"].name = name
    net = GraphNet(model)
    assert sorted(net.initializer_names.values()) == sorted([name, "b"])
    assert set(net.initializer_names) == set(dict(net.named_parameters()))
    other = GraphNet(model)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(1)
    other.load_state_dict(net.state_dict())
    feed = {"x": torch.ones(1, 3)}
    assert torch.equal(other(feed)["y"], net(feed)["y"])
    assert net.write_back(model).digest() != model.digest()


def test_names_that_differ_only_in_what_is_replaced_stay_apart() -> None:
    model = linear()
    model.graph.graph.initializers["w"].name, model.graph.graph.initializers["b"].name = "p.q", "p/q"
    net = GraphNet(model)
    assert sorted(net.initializer_names.values()) == ["p.q", "p/q"]


def test_a_deep_copy_has_weights_of_its_own() -> None:
    net = GraphNet(linear())
    twin, feed = copy.deepcopy(net), {"x": torch.ones(1, 3)}
    with torch.no_grad():
        twin.get_parameter("w").zero_()
    assert not torch.equal(net(feed)["y"], twin(feed)["y"])


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_weights_of_other_precisions_run_and_go_back_in_their_own_type(dtype: Any) -> None:
    kind = {"float16": "float16", "bfloat16": "bfloat16", "float64": "double"}[np.dtype(dtype).name]
    text = f"g ({kind}[n,3] x) => ({kind}[n,2] y) {{ y = MatMul(x, w) }}"
    model = parse(text, w=floats(3, 2).astype(dtype))
    net = GraphNet(model)
    x = torch.ones(2, 3, dtype=getattr(torch, np.dtype(dtype).name))
    assert_near(net({"x": x})["y"], x.double() @ torch.from_numpy(floats(3, 2).astype(np.float64)), "bfloat16")
    assert net.write_back(model).digest() == model.digest()


def test_one_weight_read_twice_is_one_parameter() -> None:
    text = """g (int64[n] i) => (float[n,4] y) {
      e = Gather(table, i) t = Transpose <perm = [1, 0]> (table) y = MatMul(e, t)
    }"""
    net = GraphNet(parse(text, table=floats(4, 3)))
    net({"i": torch.tensor([2])})["y"].sum().backward()
    (gradient,) = (parameter.grad for parameter in net.parameters())
    table = torch.from_numpy(floats(4, 3)).requires_grad_()
    torch.autograd.backward((table[[2]] @ table.t()).sum())
    assert_near(gradient, table.grad, "gradient")


def test_an_error_while_running_names_the_node() -> None:
    with pytest.raises(RuntimeError) as caught:
        GraphNet(linear())({"x": torch.ones(2, 5)})
    assert any(note.startswith("in MatMul") for note in caught.value.__notes__)


def test_random_operators_and_statistics_are_not_folded() -> None:
    net = GraphNet(parse("g (float[n] x) => (float[4] y) { y = RandomNormal <shape = [4]> () }"))
    feed = {"x": torch.ones(1)}
    assert not torch.equal(net(feed)["y"], net(feed)["y"])


def test_strings_are_refused_with_the_name_of_the_constant() -> None:
    model = parse("g (float[n] x) => (string[1] y) { y = Identity(words) }", words=np.array(["a"], object))
    with pytest.raises(OperatorError, match="constant `words` has element type STRING"):
        GraphNet(model)


def test_a_constant_of_an_unknown_kind_is_refused() -> None:
    model = parse('g (float[n] x) => (string y) { y = Constant <value_string = "a"> () }')
    with pytest.raises(OperatorError, match="value_string, which is not understood"):
        GraphNet(model)
