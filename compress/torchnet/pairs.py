"""Q/DQ pairs become one node, so that gradients pass: integers have none."""

import onnx_ir as ir

from compress.torchnet.operators.quantization import STORED
from compress.torchnet.scopes import bodies

DOMAIN = "edge-compress"


def fuse_pairs(graph: ir.Graph) -> None:
    """Replace each QuantizeLinear → DequantizeLinear with the same scale and zero point, in place, by FakeQuantize.

    A second DequantizeLinear of the same integers becomes an Identity of the first. Names of values stay. The
    QuantizeLinear stays where somebody else reads its integers.
    """
    first_of: dict[ir.Node, ir.Node] = {}
    for node in tuple(graph):
        for _, body in bodies(node):
            fuse_pairs(body)
        quantize = _quantizer_of(node, graph)
        if quantize is None:
            continue
        if quantize in first_of:
            _become(node, "Identity", "", {})
            node.resize_inputs(1)
            node.replace_input_with(0, first_of[quantize].outputs[0])
        else:
            low, high, _ = STORED[_stored_type(quantize)]
            shape = {name: _integer(quantize, name, default) for name, default in _SHAPE}
            _become(node, "FakeQuantize", DOMAIN, {**shape, "qmin": low, "qmax": high})
            node.replace_input_with(0, quantize.inputs[0])
            first_of[quantize] = node
    for quantize in first_of:
        if not quantize.outputs[0].uses() and not quantize.outputs[0].is_graph_output():
            graph.remove(quantize, safe=True)


_SHAPE = (("axis", 1), ("block_size", 0))


def _quantizer_of(dequantize: ir.Node, graph: ir.Graph) -> ir.Node | None:
    """Return the QuantizeLinear whose integers a node turns back, if they are a pair that can be trained."""
    stored = dequantize.inputs[0] if dequantize.op_type == "DequantizeLinear" else None
    quantize = None if stored is None else stored.producer()
    if (
        quantize is not None
        and quantize.graph is graph
        and quantize.op_type == "QuantizeLinear"
        and _stored_type(quantize) in STORED
        and all(_same(_operand(quantize, index), _operand(dequantize, index)) for index in (1, 2))
        and all(_integer(quantize, *known) == _integer(dequantize, *known) for known in _SHAPE)
        and _integer(dequantize, "output_dtype", 0) in (0, ir.DataType.FLOAT)
    ):
        return quantize
    return None


def _become(node: ir.Node, op_type: str, domain: str, attributes: dict[str, int]) -> None:
    node.op_type, node.domain = op_type, domain
    node.attributes.clear()
    for name, number in attributes.items():
        node.attributes.add(ir.AttrInt64(name, number))


def _operand(node: ir.Node, index: int) -> ir.Value | None:
    return node.inputs[index] if index < len(node.inputs) else None


def _same(one: ir.Value | None, other: ir.Value | None) -> bool:
    """Return whether two operands are one value, or two initializers that an exporter wrote twice."""
    if one is other:
        return True
    if one is None or other is None or one.const_value is None or other.const_value is None:
        return False
    left, right = one.const_value, other.const_value
    return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()


def _stored_type(quantize: ir.Node) -> ir.DataType:
    zero_point = _operand(quantize, 2)
    if zero_point is not None:
        known = zero_point.dtype if zero_point.const_value is None else zero_point.const_value.dtype
        return known or ir.DataType.UNDEFINED
    return ir.DataType(_integer(quantize, "output_dtype", 0) or ir.DataType.UINT8)


def _integer(node: ir.Node, name: str, default: int) -> int:
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_int()
