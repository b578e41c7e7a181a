"""Operators that TensorRT's ONNX parser has, and the types in which it has them.

The tables were filled by asking the parser of TensorRT-RTX 1.7.1 (``OnnxParser.supports_operator``) and by compiling
one graph for each operator and type; ``tests/runtimes/test_tensorrt_corpus.py`` compiles them again.

1. An operator that the parser does not know is refused, and so is one of a foreign domain: the parser reads only its
   name, so ``com.microsoft.Attention`` would be read as ONNX's operator of that name, which is another one.
2. float64 is narrowed to float32 with a warning, inputs and outputs of the engine too: refused.
3. uint8 can only be cast, or passed on as it is; other integer types and bool lack some operators.
4. An int8 constant can only be dequantized.
5. bfloat16 needs compute capability 8.0, float8 needs 8.9.
6. TensorRT-RTX has no float32 matrix product on Turing (7.5), and takes NonZero for a plugin that it does not have.
"""

from collections.abc import Iterator
from typing import Final

import onnx_ir as ir

from compress.runtimes.tensorrt_checks.problem import Place, Problem, name_node, read_type

_D = ir.DataType
UNKNOWN: Final = frozenset(
    {
        *("AffineGrid", "Bernoulli", "BitCast", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor"),
        *("CenterCropPad", "Col2Im", "Compress", "ConcatFromSequence", "ConvInteger", "CumProd", "DFT", "DeformConv"),
        *("Det", "DynamicQuantizeLinear", "ImageDecoder", "MatMulInteger", "MaxRoiPool", "MaxUnpool"),
        *("MelWeightMatrix", "Multinomial", "NegativeLogLikelihoodLoss", "Optional", "OptionalGetElement"),
        *("OptionalHasElement", "QLinearConv", "QLinearMatMul", "RegexFullMatch", "SequenceAt", "SequenceConstruct"),
        *("SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceLength", "SequenceMap"),
        *("SoftmaxCrossEntropyLoss", "SplitToSequence", "StringConcat", "StringNormalizer", "StringSplit", "SwiGLU"),
        *("TfIdfVectorizer", "Unique"),
    }
)
"""ONNX's own operators that the parser does not have."""
INTEGER_FORM: Final = frozenset(
    {
        *("ConvInteger", "DynamicQuantizeLinear", "MatMulInteger", "QGemm", "QLinearAdd", "QLinearAveragePool"),
        *("QLinearConcat", "QLinearConv", "QLinearGlobalAveragePool", "QLinearLeakyRelu", "QLinearMatMul"),
        *("QLinearMul", "QLinearSigmoid", "QLinearSoftmax"),
    }
)
PRODUCTS: Final = frozenset({"Attention", "Einsum", "GRU", "Gemm", "LSTM", "MatMul", "RNN"})
"""Operators that multiply matrices."""
_TAKE_UINT8 = frozenset(
    {"Cast", "Flatten", "Identity", "Shape", "Size", "QuantizeLinear", "DequantizeLinear", "If", "Loop", "Scan"}
)
_TAKE_INT8_CONSTANTS = frozenset({"Cast", "Clip", "DequantizeLinear", "Identity", "Pad", "QuantizeLinear"})
_INTEGERS = frozenset({_D.INT32, _D.INT64})
_LACKING: Final[dict[str, frozenset[ir.DataType]]] = {
    "DepthToSpace": frozenset({_D.BOOL}),
    "Einsum": _INTEGERS,
    "Gemm": _INTEGERS,
    "MatMul": _INTEGERS,
    "PRelu": _INTEGERS,
    "ReduceL2": _INTEGERS,
    "ReduceLogSum": _INTEGERS,
    "ReduceLogSumExp": _INTEGERS,
    "ReduceMax": frozenset({_D.BOOL}),
    "ReduceMin": frozenset({_D.BOOL}),
    "Relu": frozenset({_D.INT32}),
    "Resize": _INTEGERS | {_D.BOOL},
    "SpaceToDepth": frozenset({_D.BOOL}),
}
"""Types of the first operand that an operator lacks, besides those of the rules above."""
_FLOAT8 = frozenset({_D.FLOAT8E4M3FN, _D.FLOAT8E4M3FNUZ, _D.FLOAT8E5M2, _D.FLOAT8E5M2FNUZ})


def check_operator(node: ir.Node, place: Place) -> Iterator[Problem]:
    """Yield what breaks a rule above at one node; types are those of the node's values."""
    name = name_node(node)
    if node.op_type in INTEGER_FORM:
        fix = "write Q/DQ nodes: quantize with the dialect s8s8-symmetric"
        yield Problem(name, f"{node.op_type} is not an operator of TensorRT", fix)
        return
    if node.op_type.endswith("_TRT"):
        # A plugin of TensorRT, which the parser looks up by its name.
        return
    if node.domain not in ("", "ai.onnx"):
        reason = f"{node.domain}.{node.op_type} is not an operator of ONNX: TensorRT reads its name alone"
        yield Problem(name, reason, f"export the model with ONNX's own operators in the place of {node.op_type}", True)
        return
    if node.op_type in UNKNOWN:
        fix = "replace that operator, or keep it out of the exported graph (before or after the engine)"
        yield Problem(name, f"{node.op_type} is not an operator of TensorRT", fix)
        return
    yield from _check_types(node, name, place)
    yield from _check_product(node, name, place)


def _check_types(node: ir.Node, name: str, place: Place) -> Iterator[Problem]:
    types = {kind for value in (*node.inputs, *node.outputs) if (kind := read_type(value)) is not None}
    first = read_type(node.inputs[0]) if node.inputs else None
    if _D.DOUBLE in types:
        yield Problem(name, "works in float64, which TensorRT narrows to float32", "export the model in float32", True)
    if _D.UINT8 in types and node.op_type not in _TAKE_UINT8:
        yield Problem(name, f"TensorRT has no {node.op_type} of uint8", "cast to float32 or int32 before it")
    if _D.BFLOAT16 in types and node.op_type not in ("Shape", "Size") and place.is_older_than(8, 0):
        yield Problem(name, "works in bfloat16, which this GPU does not have", "use float16 or float32")
    if types & _FLOAT8 and place.is_older_than(8, 9):
        yield Problem(name, "works in float8, which this GPU does not have", "quantize to int8")
    if first is not None and first in _LACKING.get(node.op_type, ()):
        fix = "cast to float32 before it" if first is not _D.BOOL else "cast to int32 before it"
        yield Problem(name, f"TensorRT has no {node.op_type} of {first.name.lower()}", fix)
    if node.op_type not in _TAKE_INT8_CONSTANTS and any(_is_int8_constant(value) for value in node.inputs):
        reason = "reads an int8 constant, which TensorRT can only dequantize"
        yield Problem(name, reason, "put a DequantizeLinear behind that constant, or store it as int32")


def _is_int8_constant(value: ir.Value | None) -> bool:
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    return tensor is not None and tensor.dtype is _D.INT8


def _check_product(node: ir.Node, name: str, place: Place) -> Iterator[Problem]:
    if place.product != "tensorrt_rtx":
        return
    kind = read_type(node.outputs[0]) or read_type(node.inputs[0] if node.inputs else None)
    if node.op_type in PRODUCTS and place.capability == (7, 5) and kind is _D.FLOAT:
        reason = f"TensorRT-RTX has no float32 {node.op_type} on Turing"
        yield Problem(name, reason, "put casts to float16 around it")
    if node.op_type == "NonZero":
        reason = "TensorRT-RTX takes NonZero for a plugin that it does not have"
        yield Problem(name, reason, "replace that operator: the number of its results depends on the data")
