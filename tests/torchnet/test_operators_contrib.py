"""Operators and attributes that ``onnx``'s node tests do not have."""

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from parsed_graphs import parse, run_onnxruntime
from tolerances import assert_near

from compress.model import Model
from compress.torchnet.graph_net import GraphNet
from compress.torchnet.operators import OperatorError


def floats(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def check(model: Model, **feed: np.ndarray[Any, Any]) -> None:
    tensors = {name: torch.from_numpy(array) for name, array in feed.items()}
    outputs = GraphNet(model)(tensors)
    for name, expected in run_onnxruntime(model, tensors).items():
        assert_near(outputs[name], expected, "onnxruntime")


@pytest.mark.parametrize(
    "call",
    [
        "y = com.microsoft.Gelu(x)",
        "y = com.microsoft.QuickGelu <alpha = 1.5> (x)",
        "y = com.microsoft.BiasGelu(x, v)",
        "y = com.microsoft.FastGelu(x)",
        "y = com.microsoft.FastGelu(x, v)",
        "y = com.microsoft.FusedMatMul <transB = 1, alpha = 0.5> (x, m)",
        "y = com.microsoft.SkipLayerNormalization <epsilon = 0.1> (x, skip, v, u)",
        "y, , , s = com.microsoft.SkipLayerNormalization(x, skip, v, u, w)",
        "y, , , s = com.microsoft.SkipSimplifiedLayerNormalization(x, skip, v, w)",
        "y = SimplifiedLayerNormalization <axis = -1, epsilon = 0.01> (x, v)",
    ],
)
def test_an_operator_of_onnxruntime_computes_the_same(call: str) -> None:
    outputs = "(float[n,3,8] y, float[n,3,8] s)" if " s =" in call else "(float[n,3,8] y)"
    model = parse(
        f"g (float[n,3,8] x, float[n,3,8] skip) => {outputs} {{ {call} }}",
        v=floats(8), u=floats(8, seed=1), w=floats(8, seed=2), m=floats(8, 8),
    )  # fmt: skip
    check(model, x=floats(2, 3, 8, seed=3), skip=floats(2, 3, 8, seed=4))


@pytest.mark.parametrize("bias", ["", ", b"])
def test_a_quantized_convolution_computes_what_onnxruntime_does(bias: str) -> None:
    model = parse(
        f"""g (uint8[n,2,5,5] x) => (uint8[n,3,3,3] y) {{
          y = QLinearConv(x, xs, xz, w, ws, wz, ys, yz{bias})
        }}""",
        xs=np.float32(0.02), xz=np.uint8(3), ys=np.float32(0.5), yz=np.uint8(100),
        w=np.random.default_rng(0).integers(-128, 127, (3, 2, 3, 3)).astype(np.int8),
        ws=np.array([0.1, 0.2, 0.3], np.float32), wz=np.zeros(3, np.int8), b=np.array([500, -500, 0], np.int32),
    )  # fmt: skip
    x = torch.randint(0, 255, (2, 2, 5, 5), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    ours, theirs = GraphNet(model)({"x": x})["y"].numpy(), run_onnxruntime(model, {"x": x})["y"]
    # ONNX Runtime multiplies in float32, so that a sum that lies between two integers may go to the other one.
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1
    assert (ours == theirs).mean() > 0.98


def test_integer_products_take_a_zero_point_for_each_column() -> None:
    model = parse(
        "g (uint8[n,4] x) => (int32[n,3] y) { y = MatMulInteger(x, w, a, b) }",
        w=np.arange(12, dtype=np.uint8).reshape(4, 3), a=np.uint8(7), b=np.array([1, 2, 3], np.uint8),
    )  # fmt: skip
    x = torch.arange(8, dtype=torch.uint8).reshape(2, 4)
    expected = (x.int() - 7) @ (torch.arange(12).reshape(4, 3).int() - torch.tensor([1, 2, 3], dtype=torch.int32))
    assert torch.equal(GraphNet(model)({"x": x})["y"], expected)


@pytest.mark.parametrize(
    "attributes",
    ["is_causal = 1", "left_window_size = 2", "left_window_size = 1, right_window_size = 1", "softcap = 1.5"],
)
@pytest.mark.parametrize("lengths", [False, True])
def test_attention_masks_by_position_and_length_as_the_specification_says(attributes: str, lengths: bool) -> None:
    given = ", int64[2] lengths" if lengths else ""
    text = f"""g (float[2,4,5,8] q, float[2,2,5,8] k, float[2,2,5,8] v{given}) => (float[2,4,5,8] y) {{
      y = Attention <{attributes}> (q, k, v{", , , , lengths" if lengths else ""})
    }}"""
    model = parse(text, opset=25)
    feed: dict[str, Any] = {"q": floats(2, 4, 5, 8), "k": floats(2, 2, 5, 8, seed=1), "v": floats(2, 2, 5, 8, seed=2)}
    if lengths:
        feed["lengths"] = np.array([5, 5])
    results: Any = ReferenceEvaluator(ir.to_proto(model.graph)).run(None, feed)
    outputs = GraphNet(model)({name: torch.from_numpy(array) for name, array in feed.items()})
    assert_near(outputs["y"], results[0], "onnxruntime")


@pytest.mark.parametrize("rule", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("call", ["Conv <kernel_shape = [4, 4], PAD, strides = [2, 1]> (x, w)",
                                  "MaxPool <kernel_shape = [4, 4], PAD, strides = [2, 1]> (x)",
                                  "AveragePool <kernel_shape = [2, 3], PAD, strides = [2, 2]> (x)"])  # fmt: skip
def test_padding_by_rule_is_that_of_onnxruntime(call: str, rule: str) -> None:
    call = call.replace("PAD", f'auto_pad = "{rule}"')
    model = parse(f"g (float[n,2,7,6] x) => (float[n,c,h,k] y) {{ y = {call} }}", w=floats(3, 2, 4, 4))
    check(model, x=floats(2, 2, 7, 6))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ('Conv <auto_pad = "SOME"> (x, w)', "Conv `Conv` has auto_pad `SOME`"),
        ("Conv <pads = [0, -1, 0, 0]> (x, w)", r"negative pads \(0, -1, 0, 0\)"),
        ("DequantizeLinear <output_dtype = 11> (x, s)", "quantizes to or from DOUBLE"),
        ("QuantizeLinear <output_dtype = 23> (x, s)", "quantizes to or from FLOAT4E2M1"),
    ],
)
def test_what_cannot_be_computed_is_refused_when_the_net_is_made(call: str, message: str) -> None:
    text = f"g (float[n,2,3,3] x) => (float[n,m,h,k] y) {{ y = {call} }}"
    model = parse(text, opset=23, w=floats(1, 2, 2, 2), s=floats(1))
    with pytest.raises(OperatorError, match=message):
        GraphNet(model)


def test_batch_normalization_over_more_than_channels_is_refused() -> None:
    model = parse(
        "g (float[n,2] x) => (float[n,2] y) { y = BatchNormalization <spatial = 0> (x, a, a, a, a) }",
        opset=7, a=floats(2),
    )  # fmt: skip
    with pytest.raises(OperatorError, match="spatial = 0"):
        GraphNet(model)


def test_layer_normalization_takes_a_scale_that_broadcasts() -> None:
    model = parse(
        "g (float[n,3,4] x) => (float[n,3,4] y) { y = LayerNormalization <axis = 1> (x, s, b) }",
        s=floats(1, 4), b=floats(1, 4),
    )  # fmt: skip
    x = torch.from_numpy(floats(2, 3, 4, seed=1))
    row = torch.from_numpy(floats(1, 4))
    expected = torch.nn.functional.layer_norm(x, (3, 4)) * row + row
    assert_near(GraphNet(model)({"x": x})["y"], expected, "eager")
    text = "g (float[n,3,4] x) => (float[n,3,4] y) { y = RMSNormalization <axis = 1> (x, s) }"
    model = parse(text, opset=23, s=floats(1, 4))
    expected = torch.nn.functional.rms_norm(x, (3, 4), eps=1e-5) * row
    assert_near(GraphNet(model)({"x": x})["y"], expected, "eager")
