"""Shapes are computed once, constants that Python reads stay on the host, and nothing breaks a compiled graph."""

from typing import Any

import numpy as np
import pytest
import torch
from exported_nets import make_batch, unfolded_model
from parsed_graphs import parse, run_onnxruntime
from tolerances import assert_near
from torch import Tensor

from compress.torchnet.graph_net import GraphNet
from compress.torchnet.operators import operators

MERGE = """g (float[n,s,4] x) => (float[n,m] y) {
  size = Shape(x)
  n = Gather(size, zero)
  first = Unsqueeze(n, zeros)
  shape = Concat <axis = 0> (first, rest)
  t = Mul(x, w)
  y = Reshape(t, shape)
}"""
DATA = """g (float[n] x) => (float[m] y) {
  place = NonZero(x) flat = Reshape(place, minus) size = Shape(flat) long = Cast <to = 1> (size) y = Mul(x, long)
}"""


def merge() -> GraphNet:
    rest, zeros = np.array([-1]), np.array([0])
    return GraphNet(parse(MERGE, w=np.ones(4, np.float32), zero=np.array(0), zeros=zeros, rest=rest))


def count_calls(monkeypatch: pytest.MonkeyPatch, op_type: str) -> list[str]:
    """Return a list that grows whenever an operator of a net that is made later is called."""
    made, called = operators()[op_type], list[str]()

    def factory(node: Any) -> Any:
        kernel = made(node)

        def count(*inputs: Any) -> Any:
            called.append(node.name)
            return kernel(*inputs)

        return count

    monkeypatch.setitem(operators(), op_type, factory)
    return called


def test_shapes_are_computed_once_for_each_shape_of_the_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    called = count_calls(monkeypatch, "Concat")
    net = merge()
    for batch in (2, 2, 3, 2, 3):
        assert net({"x": torch.ones(batch, 5, 4)})["y"].shape == (batch, 20)
    assert len(called) == 2


def test_only_so_many_shapes_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    net = merge()
    for batch in range(1, 40):
        net({"x": torch.ones(batch, 2, 4)})
    assert len(net._plans) == 16


def test_shapes_that_the_data_decide_are_computed_every_time() -> None:
    net = GraphNet(parse(DATA, minus=np.array([-1])))
    assert net({"x": torch.tensor([1.0, 0.0, 2.0])})["y"].tolist() == [2, 0, 4]
    assert net({"x": torch.tensor([1.0, 5.0, 2.0])})["y"].tolist() == [3, 15, 6]


def test_a_shape_that_is_an_output_is_right_for_every_input() -> None:
    net = GraphNet(parse("g (float[n,s] x) => (int64[2] y) { y = Shape(x) }"))
    for shape in ((2, 3), (2, 3), (4, 1)):
        assert net({"x": torch.ones(shape)})["y"].tolist() == list(shape)


def test_what_was_remembered_in_inference_mode_can_be_trained_with() -> None:
    text = """g (float[n,4] x) => (float[n,4] y) {
      s = Shape(x) k = ConstantOfShape(s) c = Cos(k) t = Mul(x, w) y = Mul(t, c)
    }"""
    net, x = GraphNet(parse(text, w=np.ones((4, 4), np.float32)), trainable=["w"]), torch.ones(4, 4)
    with torch.inference_mode():
        net({"x": x})
    torch.autograd.backward(net({"x": x})["y"].sum())
    assert all(parameter.grad is not None for parameter in net.parameters())


@pytest.mark.parametrize("name", ["vit", "unet", "rnet"])
def test_on_another_device_no_value_is_read_and_no_two_devices_meet(name: str) -> None:
    # PyTorch's meta device has shapes only: reading a value, or mixing it with host memory, is an error.
    net, x = GraphNet(unfolded_model(name)), make_batch(name, 3)
    expected = net({"x": x})["y"]
    y = net.to("meta")({"x": x.to("meta")})["y"]
    assert y.device.type == "meta"
    assert y.shape == expected.shape


def test_in_a_branch_inputs_are_brought_to_one_device() -> None:
    text = """g (float[3] x, bool c) => (float[n] y) {
      y = If(c) <then_branch = t () => (float[m] p) { s = Shape(x) f = Cast <to = 1> (s) p = Mul(x, f) },
                 else_branch = e () => (float[k] q) { q = Identity(x) }>
    }"""
    net = GraphNet(parse(text)).to("meta")
    y = net({"x": torch.ones(3, device="meta"), "c": torch.tensor(True)})["y"]
    assert y.device.type == "meta"


def test_moving_to_another_precision_forgets_what_was_remembered() -> None:
    net, x = merge(), torch.ones(2, 5, 4)
    net({"x": x})
    assert net.double()({"x": x.double()})["y"].dtype == torch.float64


@pytest.mark.parametrize("name", ["vit", "rnet"])
def test_a_compiled_net_is_one_graph_with_the_same_outputs_and_gradients(name: str) -> None:
    net, x = GraphNet(unfolded_model(name)), make_batch(name, 3)
    y = net({"x": x})["y"]
    expected = torch.autograd.grad(y.square().sum(), list(net.parameters()))
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    again = compiled({"x": x})["y"]
    assert_near(again, y, "compiled")
    for one, other in zip(torch.autograd.grad(again.square().sum(), list(net.parameters())), expected, strict=True):
        assert float((one - other).abs().max()) <= 1e-5 * max(float(part.abs().max()) for part in expected)
    torch.compiler.reset()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_net_compiled_to_machine_code_has_the_same_outputs() -> None:
    net, x = GraphNet(unfolded_model("rnet")), make_batch("rnet", 3)
    y = net({"x": x})["y"]
    assert_near(torch.compile(net)({"x": x})["y"], y, "compiled")
    torch.compiler.reset()


@pytest.mark.parametrize("name", ["resnet", "vit", "recurrent"])
def test_bfloat16_autocast_is_near_float32_and_trains_float32_weights(name: str) -> None:
    net, x = GraphNet(unfolded_model(name)), make_batch(name, 3)
    with torch.autocast("cpu", torch.bfloat16):
        y = net({"x": x})["y"]
    assert_near(y, net({"x": x})["y"], "bfloat16")
    torch.autograd.backward(y.float().square().sum())
    assert all(parameter.dtype == torch.float32 for parameter in net.parameters())
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_constants_that_only_tensors_meet_move_with_the_module() -> None:
    text = "g (float[n,3] x) => (float[n,3] y) { c = Clip(x, low, high) y = Mul(c, k) }"
    model = parse(text, low=np.float32(0), high=np.float32(6), k=np.array([1, 2, 3], np.float32))
    net, x = GraphNet(model), torch.randn(2, 3)
    assert_near(net({"x": x})["y"], run_onnxruntime(model, {"x": x})["y"], "onnxruntime")
    moved: dict[str, Tensor] = {**dict(net.named_buffers()), **dict(net.named_parameters())}
    assert [tensor.tolist() for tensor in moved.values()] == [[1, 2, 3]]
