"""Quantization: integers in and out, or a Q/DQ pair as one fake quantization that can be trained."""

from collections.abc import Mapping

import onnx_ir as ir
import torch
from torch import Tensor

from compress.torchnet.fake_quantize import fake_quantize, spread
from compress.torchnet.operators import Factory, Kernel, Node, OperatorError

_DATA = ir.DataType

STORED: Mapping[ir.DataType, tuple[int, int, torch.dtype]] = {
    _DATA.UINT8: (0, 255, torch.uint8),
    _DATA.INT8: (-128, 127, torch.int8),
    _DATA.UINT16: (0, 65_535, torch.uint16),
    _DATA.INT16: (-32_768, 32_767, torch.int16),
    _DATA.UINT4: (0, 15, torch.uint8),
    _DATA.INT4: (-8, 7, torch.int8),
    _DATA.UINT2: (0, 3, torch.uint8),
    _DATA.INT2: (-2, 1, torch.int8),
}
"""Smallest and largest stored integer, and what they are stored in here."""

_FLOAT8: Mapping[ir.DataType, torch.dtype] = {
    _DATA.FLOAT8E4M3FN: torch.float8_e4m3fn,
    _DATA.FLOAT8E4M3FNUZ: torch.float8_e4m3fnuz,
    _DATA.FLOAT8E5M2: torch.float8_e5m2,
    _DATA.FLOAT8E5M2FNUZ: torch.float8_e5m2fnuz,
}

_FLOATS: Mapping[ir.DataType, torch.dtype] = {
    _DATA.FLOAT: torch.float32,
    _DATA.FLOAT16: torch.float16,
    _DATA.BFLOAT16: torch.bfloat16,
}


def _quantize_linear(node: Node) -> Kernel:
    """Takes x [...], scale, zero point → integers [...] = saturate(round(x / scale) + zero point)."""
    axis, block = node.attributes.integer("axis", 1), node.attributes.integer("block_size", 0)
    saturate = bool(node.attributes.integer("saturate", 1))
    node.attributes.skip("precision")
    stated = node.attributes.integer("output_dtype", 0)
    default = _DATA(stated) if stated else _DATA.UINT8
    kind = node.type_of(2) or default
    if kind in _FLOAT8:
        return _float8_quantizer(_FLOAT8[kind], axis, block, saturate=saturate)
    low, high, storage = stored_range(node, 2, default)

    def quantize(x: Tensor, scale: Tensor, zero_point: Tensor | None = None) -> Tensor:
        steps = torch.round(x.float() / spread(scale.float(), x, axis, block))
        if zero_point is not None:
            steps = steps + spread(zero_point.float(), x, axis, block)
        return steps.clamp_(low, high).to(storage)

    return quantize


def _float8_quantizer(storage: torch.dtype, axis: int, block: int, *, saturate: bool) -> Kernel:
    largest = torch.finfo(storage).max

    def quantize(x: Tensor, scale: Tensor, _zero_point: Tensor | None = None) -> Tensor:
        steps = x.float() / spread(scale.float(), x, axis, block)
        return (steps.clamp(-largest, largest) if saturate else steps).to(storage)

    return quantize


def _dequantize_linear(node: Node) -> Kernel:
    """Integers [...], scale, zero point → (x - zero point) * scale [...], in the type of the scale."""
    axis, block = node.attributes.integer("axis", 1), node.attributes.integer("block_size", 0)
    stated = node.attributes.integer("output_dtype", 0)
    if stated and _DATA(stated) not in _FLOATS:
        raise _unknown_type(node, _DATA(stated))
    target = _FLOATS[_DATA(stated)] if stated else None

    def dequantize(x: Tensor, scale: Tensor, zero_point: Tensor | None = None) -> Tensor:
        if zero_point is None or zero_point.is_floating_point():
            steps = x.float()
        else:
            steps = (x.to(torch.int32) - spread(zero_point.to(torch.int32), x, axis, block)).float()
        return (steps * spread(scale.float(), x, axis, block)).to(target or scale.dtype)

    return dequantize


def _fake_quantize(node: Node) -> Kernel:
    """A Q/DQ pair: x [...], scale, zero point → x on the grid [...], trained with straight-through gradients."""
    axis, block = node.attributes.integer("axis"), node.attributes.integer("block_size")
    low, high = node.attributes.integer("qmin"), node.attributes.integer("qmax")

    def quantize(x: Tensor, scale: Tensor, zero_point: Tensor | None = None) -> Tensor:
        return fake_quantize(x, scale, zero_point, low, high, axis, block_size=block)

    return quantize


def _dynamic_quantize_linear(_node: Node) -> Kernel:
    """Takes x [...] → uint8 [...], scale [], zero point []: the range of x, widened to 0."""

    def quantize(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        low, high = torch.aminmax(x.float())
        low, high = low.clamp(max=0), high.clamp(min=0)
        scale = (high - low) / 255
        zero = torch.round((-low / scale).clamp(0, 255)).nan_to_num(0)
        steps = torch.round(x / scale).nan_to_num(0) + zero
        return steps.clamp(0, 255).to(torch.uint8), scale, zero.to(torch.uint8)

    return quantize


def stored_range(node: Node, index: int, default: ir.DataType = _DATA.UINT8) -> tuple[int, int, torch.dtype]:
    """Return smallest and largest stored integer, and their type here, by the type of the zero point at an input.

    Raises:
        OperatorError: The type is not one of integers of at most 16 bits.
    """
    kind = node.type_of(index) or default
    if kind not in STORED:
        raise _unknown_type(node, kind)
    return STORED[kind]


def _unknown_type(node: Node, kind: ir.DataType) -> OperatorError:
    return OperatorError(
        f"{node.op_type} `{node.name}` quantizes to or from {kind.name}, which is not understood here",
        hint="training and distillation need it; quantization without training works (leave those steps out)",
    )


OPERATORS: dict[str, Factory] = {
    "DequantizeLinear": _dequantize_linear,
    "DynamicQuantizeLinear": _dynamic_quantize_linear,
    "QuantizeLinear": _quantize_linear,
    "com.microsoft::DequantizeLinear": _dequantize_linear,
    "com.microsoft::QuantizeLinear": _quantize_linear,
    "edge-compress::FakeQuantize": _fake_quantize,
}
