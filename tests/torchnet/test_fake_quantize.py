from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parsed_graphs import parse, run_onnxruntime
from tolerances import assert_near
from torch import Tensor

from compress.torchnet.fake_quantize import fake_quantize
from compress.torchnet.graph_net import GraphNet

PAIR = """g (float[n,3,4] x) => (float[n,3,4] y) {
  q = QuantizeLinear <axis = 1> (x, scale, zero) y = DequantizeLinear <axis = 1> (q, scale, zero)
}"""
RANGES = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767), "uint16": (0, 65535)}


def expected_gradients(x: Tensor, scale: Tensor, zero: Tensor, qmin: int, qmax: int) -> tuple[Tensor, Tensor, Tensor]:
    """LSQ's equation 3 and LSQ+'s equation 7, element by element."""
    steps = x / scale
    low, high = qmin - zero, qmax - zero
    inside = (steps >= low) & (steps <= high)
    to_scale = torch.where(inside, torch.round(steps) - steps, torch.where(steps < low, low, high))
    return inside.float(), to_scale, torch.where(inside, 0.0, -scale)


@given(
    values=st.lists(st.floats(-1e4, 1e4, width=32, allow_subnormal=False), min_size=1, max_size=24),
    scale=st.floats(2**-10, 10, width=32),
    kind=st.sampled_from(sorted(RANGES)),
    share=st.floats(0, 1),
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_values_are_bit_for_bit_those_of_onnxruntime(
    values: list[float], scale: float, kind: str, share: float
) -> None:
    qmin, qmax = RANGES[kind]
    zero = np.array(round(qmin + share * (qmax - qmin)), kind)
    x = np.resize(np.array(values, np.float32), (2, 3, 4))
    model = parse(PAIR, opset=21, scale=np.float32(scale), zero=zero)
    expected = run_onnxruntime(model, {"x": torch.from_numpy(x)})["y"]
    point = torch.tensor(float(zero))
    ours = fake_quantize(torch.from_numpy(x), torch.tensor(scale, dtype=torch.float32), point, qmin, qmax)
    np.testing.assert_array_equal(ours.numpy(), expected)
    assert np.array_equal(GraphNet(model)({"x": torch.from_numpy(x)})["y"].numpy(), expected)


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_gradients_are_those_of_lsq_and_lsq_plus(axis: int | None) -> None:
    generator = torch.Generator().manual_seed(0)
    x = (torch.randn(5, 7, generator=generator) * 4).requires_grad_()
    shape = [] if axis is None else [x.shape[axis]]
    scale = (torch.rand(shape, generator=generator) * 0.05 + 0.01).requires_grad_()
    zero = torch.randint(100, 150, shape, generator=generator).float().requires_grad_()
    weights = torch.randn(5, 7, generator=generator)
    torch.autograd.backward((fake_quantize(x, scale, zero, 0, 255, axis) * weights).sum())
    wide = [part.detach() if axis != 0 else part.detach()[:, None] for part in (scale, zero)]
    parts = expected_gradients(x.detach(), wide[0], wide[1], 0, 255)
    assert_near(x.grad, parts[0] * weights, "gradient")
    others = [index for index in range(2) if index != axis]
    assert_near(scale.grad, (parts[1] * weights).sum(others), "gradient")
    assert_near(zero.grad, (parts[2] * weights).sum(others), "gradient")


def lay_out(x: Tensor, form: str) -> Tensor:
    if form == "channels last":
        return x.contiguous(memory_format=torch.channels_last)
    return x.transpose(1, 3) if form == "transposed" else x[:, :, ::2] if form == "strided" else x


@pytest.mark.parametrize("form", ["contiguous", "channels last", "transposed", "strided"])
@pytest.mark.parametrize("gradient_form", ["contiguous", "channels last"])
def test_large_tensors_are_computed_in_pieces_with_the_values_and_gradients_of_the_whole(
    form: str, gradient_form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(1)
    wide = lay_out(torch.randn(2, 3, 20, 20, generator=generator) * 3, form)
    found = []
    for piece in (64, 1 << 20):
        monkeypatch.setattr("compress.torchnet.fake_quantize._PIECE", piece)
        x = wide.detach().clone(memory_format=torch.preserve_format).requires_grad_()
        scale, zero = torch.tensor(0.03).requires_grad_(), torch.tensor(100.0).requires_grad_()
        y = fake_quantize(x, scale, zero, 0, 255)
        weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(2))
        y.backward(lay_out(weights, gradient_form))  # type: ignore[no-untyped-call]
        assert x.grad is not None
        assert scale.grad is not None
        assert zero.grad is not None
        found.append((y.detach(), x.grad, torch.stack([scale.grad, zero.grad])))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])
    torch.testing.assert_close(found[0][2], found[1][2], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("value", "passes"), [(-1.28, 1), (-1.2801, 0), (1.27, 1), (1.2701, 0), (0.0, 1)])
def test_the_bounds_themselves_count_as_inside_in_pieces_too(
    value: float, passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compress.torchnet.fake_quantize._PIECE", 2)
    x, scale = torch.full((5,), value * 100).requires_grad_(), torch.ones(()).requires_grad_()
    torch.autograd.backward(fake_quantize(x, scale, None, -128, 127).sum())
    assert x.grad is not None
    assert x.grad.tolist() == [passes] * 5


def test_only_x_is_trained_where_the_scale_is_constant() -> None:
    x = torch.tensor([-2.0, -1.28, 0.3, 1.27, 1.5]).requires_grad_()
    torch.autograd.backward(fake_quantize(x, torch.tensor(0.01), None, -128, 127).sum())
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1, 1, 1, 0]


def test_the_scale_may_be_trained_where_x_is_constant() -> None:
    scale = torch.tensor(0.5, requires_grad=True)
    torch.autograd.backward(fake_quantize(torch.tensor([0.6, 9.0]), scale, None, -4, 3).sum())
    assert scale.grad is not None
    assert scale.grad.item() == pytest.approx((1 - 1.2) + 3)


def test_a_float_zero_point_is_rounded() -> None:
    x, scale = torch.tensor([0.0, 0.4]), torch.tensor(0.1)
    assert torch.equal(
        fake_quantize(x, scale, torch.tensor(2.4), 0, 255), fake_quantize(x, scale, torch.tensor(2), 0, 255)
    )


def test_an_integer_zero_point_has_no_gradient() -> None:
    x = torch.tensor([0.26], requires_grad=True)
    torch.autograd.backward(
        fake_quantize(x, torch.tensor([0.1]), torch.tensor([3], dtype=torch.uint8), 0, 255, 0).sum()
    )
    assert x.grad is not None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32_and_returned_as_it_came(dtype: torch.dtype) -> None:
    x = torch.linspace(-3, 3, 50).to(dtype).requires_grad_()
    y = fake_quantize(x, torch.tensor(0.02), None, -128, 127)
    assert y.dtype == dtype
    assert torch.equal(y, fake_quantize(x.float(), torch.tensor(0.02), None, -128, 127).to(dtype))
    torch.autograd.backward(y.sum())
    assert x.grad is not None
    assert x.grad.dtype == dtype


def test_blocks_of_an_axis_have_a_scale_each() -> None:
    x = torch.randn(2, 10, generator=torch.Generator().manual_seed(0))
    scale = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]).requires_grad_()
    y = fake_quantize(x, scale, None, -8, 7, 1, block_size=4)
    for row in range(2):
        for start in (0, 4, 8):
            block = x[row, start : start + 4]
            expected = fake_quantize(block, scale[row, start // 4], None, -8, 7)
            assert torch.equal(y[row, start : start + 4], expected)
    torch.autograd.backward(y.sum())
    assert scale.grad is not None
    assert (scale.grad != 0).all()


def quantized(**more: Any) -> Any:
    scale = np.array([0.01, 0.02, 0.05], np.float32)
    return parse(PAIR.replace("=> (float[n,3,4] y)", more.pop("outputs", "=> (float[n,3,4] y)")), scale=scale, **more)


def test_a_pair_in_a_graph_is_one_fake_quantization_whose_scales_can_be_trained() -> None:
    model = quantized(zero=np.array([3, 100, 200], np.uint8))
    net, x = GraphNet(model, trainable=["scale"]), torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    assert [call.op_type for call in net._calls] == ["FakeQuantize"]
    y = net({"x": x})["y"]
    torch.autograd.backward(y.sum())
    (scale,) = net.parameters()
    _, to_scale, _ = expected_gradients(x, scale.detach()[:, None], torch.tensor([3.0, 100.0, 200.0])[:, None], 0, 255)
    assert_near(scale.grad, to_scale.sum((0, 2)), "gradient")


def test_integers_that_somebody_else_reads_are_still_computed() -> None:
    model = quantized(zero=np.zeros(3, np.int8), outputs="=> (float[n,3,4] y, int8[n,3,4] q)")
    x = torch.randn(2, 3, 4)
    outputs, expected = GraphNet(model)({"x": x}), run_onnxruntime(model, {"x": x})
    assert outputs["q"].dtype == torch.int8
    for name, array in expected.items():
        np.testing.assert_array_equal(outputs[name].numpy(), array)


def test_two_readers_of_the_same_integers_share_one_fake_quantization() -> None:
    text = """g (float[n,2] x) => (float[n,2] y, float[n,2] z) {
      q = QuantizeLinear(x, scale, zero) y = DequantizeLinear(q, scale, zero) z = DequantizeLinear(q, scale, zero)
    }"""
    model = parse(text, scale=np.float32(0.1), zero=np.int8(0))
    net, x = GraphNet(model), torch.randn(3, 2)
    assert [call.op_type for call in net._calls] == ["FakeQuantize", "Identity"]
    for name, array in run_onnxruntime(model, {"x": x}).items():
        np.testing.assert_array_equal(net({"x": x})[name].numpy(), array)


@pytest.mark.parametrize("scale", [0.1, 0.2])
def test_a_pair_is_one_only_where_both_scales_are_equal(scale: float) -> None:
    text = """g (float[n,2] x) => (float[n,2] y) {
      q = QuantizeLinear(x, one, zero) y = DequantizeLinear(q, other, zero)
    }"""
    model = parse(text, one=np.float32(0.1), other=np.float32(scale), zero=np.int8(0))
    net, x = GraphNet(model), torch.randn(3, 2)
    assert (len(net._calls) == 1) is (scale == 0.1)
    np.testing.assert_array_equal(net({"x": x})["y"].numpy(), run_onnxruntime(model, {"x": x})["y"])


def test_a_pair_inside_of_a_branch_is_fused_too() -> None:
    text = """g (float[2] x, bool c) => (float[2] y) {
      y = If(c) <
        then_branch = t () => (float[2] p) { q = QuantizeLinear(x, scale, zero) p = DequantizeLinear(q, scale, zero) },
        else_branch = e () => (float[2] r) { r = Identity(x) }>
    }"""
    net = GraphNet(parse(text, scale=np.float32(0.1), zero=np.int8(0)))
    x = torch.tensor([0.26, 99.0], requires_grad=True)
    torch.autograd.backward(net({"x": x, "c": torch.tensor(True)})["y"].sum())
    assert x.grad is not None
    assert x.grad.tolist() == [1, 0]


def test_a_weight_behind_a_pair_is_trained_straight_through() -> None:
    text = """g (float[n,3] x) => (float[n,2] y) {
      q = QuantizeLinear(w, scale, zero) v = DequantizeLinear(q, scale, zero) y = MatMul(x, v)
    }"""
    weight = np.array([[0.1, -0.2], [0.3, 5.0], [-0.25, 0.0]], np.float32)
    net = GraphNet(parse(text, w=weight, scale=np.float32(0.01), zero=np.int8(0)))
    assert list(net.initializer_names.values()) == ["w"]
    torch.autograd.backward(net({"x": torch.ones(1, 3)})["y"].sum())
    (trained,) = net.parameters()
    assert trained.grad is not None
    assert trained.grad.tolist() == [[1, 1], [1, 0], [1, 1]]


def test_stored_integers_are_turned_back_once() -> None:
    text = "g (float[n,2] x) => (float[n,2] y) { v = DequantizeLinear(w, scale, zero) y = MatMul(x, v) }"
    model = parse(text, w=np.array([[1, -2], [3, 4]], np.int8), scale=np.float32(0.5), zero=np.int8(1))
    net, x = GraphNet(model), torch.randn(3, 2)
    assert [call.op_type for call in net._calls] == ["MatMul"]
    assert_near(net({"x": x})["y"], run_onnxruntime(model, {"x": x})["y"], "onnxruntime")
