"""The step ``weight-only``: weights of MatMul and Gemm in 4 or 8 bits, block by block; activations stay float.

For networks that wait for their weights, not for arithmetic: a batch of one, or a memory that float weights do not fit.
ONNX Runtime gets its own ``MatMulNBits``; every other runtime gets a DequantizeLinear with ``block_size`` (opset 21).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from compress.errors import ConditionError, ConfigError, ModelError
from compress.model import JsonValue, Model
from compress.quantize.blocks import Bits, Blocks, Search, pack_codes, quantize_blocks
from compress.steps import StepContext, StepResult, StepSettings
from compress.targets import Target

DOMAIN = "com.microsoft"
_BLOCK_OPSET = 21
_INTEGER_COMPUTE = 4
"""MatMulNBits' ``accuracy_level`` that lets the kernel quantize activations to int8, row by row, as it multiplies."""


class WeightOnlySettings(StepSettings):
    """Settings of the step ``weight-only``.

    Attributes:
        bits: Of a weight.
        block: Weights along the inputs of a layer that share a scale.
        symmetric: Whether the middle of the grid is zero, or each block has a zero point of its own.
        search: ``nearest``, or ``mse``: each block's range is clipped where that lowers its squared error.
        compute: In ONNX Runtime: ``int8`` lets it multiply in integers, ``float32`` makes it multiply in float.
        exclude: Names of nodes that stay as they are; ``*`` and ``?`` stand for any letters and for one.
    """

    bits: Bits = 4
    block: Literal[16, 32, 64, 128] = 32
    symmetric: bool = True
    search: Search = "mse"
    compute: Literal["int8", "float32"] = "int8"
    exclude: tuple[str, ...] = ()

    def also_depends_on(self, target: Target) -> JsonValue:
        """Return the runtime: it decides how the weights are written."""
        return target.runtime


@dataclass(frozen=True, slots=True)
class _Layer:
    """A node with a constant weight; ``transposed`` where it is stored as [N, K] and not as [K, N]."""

    node: ir.Node
    weight: NDArray[np.float32]
    transposed: bool

    @property
    def name(self) -> str:
        """A name for what belongs to the layer: of the node and of its weight, which other nodes may use too."""
        weight = self.node.inputs[1]
        return f"{self.node.name}_{weight.name if weight is not None else ''}"

    def rows(self) -> NDArray[np.float32]:
        """Return the weight as [N, K]."""
        return self.weight if self.transposed else self.weight.T


def quantize_weights(model: Model, settings: WeightOnlySettings, context: StepContext) -> StepResult:
    """Return the model with the weights of its matrix products in few bits.

    Raises:
        ModelError: Nothing to quantize, or the opset cannot be raised to 21 where that is needed.
        ConfigError: Zero points for a target that has none, or a pattern of ``exclude`` that names nothing.
    """
    native = context.target.runtime == "onnxruntime"
    _check_target(settings, context.target)
    graph = model.copy_graph() if native else _raise_opset(model, context.target)
    _check_float(graph)
    layers = _choose(graph.graph, settings, whole_blocks=not native)
    write = _write_matmul_nbits if native else _write_dequantize
    noise, before, after = [], 0, 0
    for number, layer in enumerate(layers):
        rows = np.ascontiguousarray(layer.rows())
        blocks = quantize_blocks(
            rows, settings.bits, settings.block, symmetric=settings.symmetric, search=settings.search
        )
        noise.append((_sqnr(rows, blocks.dequantize()), str(layer.node.name)))
        before += layer.weight.nbytes
        after += write(graph.graph, layer, blocks, settings)
        context.progress("weight-only", number + 1, len(layers))
    if native:
        graph.opset_imports.setdefault(DOMAIN, 1)
    _drop_unused(graph.graph)
    result = Model.from_ir(graph, model.history)
    _check_result(result)
    worst = min(noise)
    metrics: Mapping[str, JsonValue] = {
        "layers": len(layers),
        "weight_bytes_before": before,
        "weight_bytes_after": after,
        "weight_sqnr_db_worst": round(worst[0], 2),
        "worst_layer": worst[1],
    }
    return StepResult(result, metrics)


def _check_target(settings: WeightOnlySettings, target: Target) -> None:
    if target.dialect == "s8s8-symmetric" and not settings.symmetric:
        raise ConfigError(
            f"[weight-only] symmetric = false: {target.runtime} takes no zero points (target {target.name})",
            hint="write symmetric = true",
        )


def _check_float(graph: ir.Model) -> None:
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear", "MatMulNBits") for node in graph.graph):
        raise ModelError(
            "the model is quantized already: it contains Q/DQ or MatMulNBits",
            hint="give the float model, or compile this one as it is with `--recipe float`",
        )


def _raise_opset(model: Model, target: Target) -> ir.Model:
    """Return a copy of the graph with at least the opset that has blocks."""
    if model.graph.opset_imports.get("", 0) >= _BLOCK_OPSET:
        return model.copy_graph()
    if target.opset < _BLOCK_OPSET:
        raise ModelError(
            f"weights in blocks need opset {_BLOCK_OPSET}, and target {target.name} takes {target.opset} at most",
            hint="use the recipe int8 for that target",
        )
    from onnx import version_converter

    try:
        raised = version_converter.convert_version(onnx.ModelProto.FromString(model.to_bytes()), _BLOCK_OPSET)
    except RuntimeError as error:
        raise ModelError(
            f"weights in blocks need opset {_BLOCK_OPSET}, and the graph cannot be raised to it: {error}",
            hint=f"export the model with opset {_BLOCK_OPSET}",
        ) from None
    return ir.from_proto(raised)


def _choose(graph: ir.Graph, settings: WeightOnlySettings, *, whole_blocks: bool) -> list[_Layer]:
    found = [layer for node in graph if (layer := _layer(node)) is not None]
    names = [str(layer.node.name) for layer in found]
    for pattern in settings.exclude:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ConfigError(
                f"[weight-only] exclude: `{pattern}` names no MatMul or Gemm with constant weights",
                hint=f"they are called {', '.join(names[:8])}" if names else None,
            )
    chosen = [layer for layer in found if not _excluded(str(layer.node.name), settings)]
    if whole_blocks:
        chosen = [layer for layer in chosen if layer.rows().shape[1] % settings.block == 0]
    if not chosen:
        raise ModelError(
            f"nothing to quantize: no MatMul or Gemm with constant weights in blocks of {settings.block} is left",
            hint="run `compress inspect MODEL` to see its operators; convolutions need the recipe int8",
        )
    return chosen


def _excluded(name: str, settings: WeightOnlySettings) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in settings.exclude)


def _layer(node: ir.Node) -> _Layer | None:
    """Return the layer that a node is, or None where its weight is not a constant float matrix used as it is."""
    if node.op_type not in ("MatMul", "Gemm") or node.domain not in ("", "ai.onnx"):
        return None
    value = node.inputs[1]
    tensor = None if value is None else value.const_value
    if tensor is None or len(tensor.shape) != 2 or tensor.dtype is not ir.DataType.FLOAT or node.inputs[0] is None:
        return None
    if node.op_type == "MatMul":
        return _Layer(node, tensor.numpy(), transposed=False)
    attributes = node.attributes
    plain = attributes.get_float("alpha", 1.0) == 1.0 and attributes.get_float("beta", 1.0) == 1.0
    if not plain or attributes.get_int("transA", 0) != 0:
        return None
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    transposed = bool(attributes.get_int("transB", 0))
    rows = tensor.shape[0 if transposed else 1]
    if bias is not None and (bias.const_value is None or tuple(bias.const_value.shape) != (rows,)):
        return None
    return _Layer(node, tensor.numpy(), transposed=transposed)


def _write_matmul_nbits(graph: ir.Graph, layer: _Layer, blocks: Blocks, settings: WeightOnlySettings) -> int:
    """Put a MatMulNBits in the place of a node; return the bytes of what it reads.

    Source: ONNX Runtime, contrib operator MatMulNBits: B [N, blocks, block·bits/8], scales [N, blocks], zero points
        packed along the blocks; without them the middle of the grid.
    """
    node, bits = layer.node, settings.bits
    name = layer.name
    operands: list[ir.Value | None] = [node.inputs[0]]
    stored = [
        _initializer(graph, f"{name}_blocks", pack_codes(blocks.codes, bits)),
        _initializer(graph, f"{name}_scales", blocks.scale),
    ]
    operands += stored
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if not settings.symmetric:
        stored.append(_initializer(graph, f"{name}_zero_points", pack_codes(blocks.zero_point, bits)))
        operands.append(stored[-1])
    elif bias is not None:
        operands.append(None)
    if bias is not None:
        operands += [None, bias]
    numbers = {"K": blocks.columns, "N": len(blocks.codes), "bits": bits, "block_size": settings.block}
    numbers["accuracy_level"] = _INTEGER_COMPUTE if settings.compute == "int8" else 1
    output = node.outputs[0]
    made = ir.Node(
        DOMAIN,
        "MatMulNBits",
        operands,
        [ir.AttrInt64(key, number) for key, number in numbers.items()],
        outputs=[ir.Value(name=output.name, shape=output.shape, type=output.type)],
        name=node.name,
    )
    ir.convenience.replace_nodes_and_values(graph, node, [node], [made], [output], made.outputs)
    return sum(value.const_value.nbytes for value in stored if value.const_value is not None)


def _write_dequantize(graph: ir.Graph, layer: _Layer, blocks: Blocks, settings: WeightOnlySettings) -> int:
    """Let a node read its weight through a DequantizeLinear with blocks; return the bytes of what that reads."""
    import ml_dtypes

    node, middle = layer.node, 2 ** (settings.bits - 1)
    integer = ml_dtypes.int4 if settings.bits == 4 else np.int8
    axis = 1 if layer.transposed else 0

    def lay(rows: NDArray[np.generic]) -> NDArray[np.generic]:
        return rows if layer.transposed else np.ascontiguousarray(rows.T)

    codes = (blocks.codes - middle).reshape(len(blocks.codes), -1)
    name = layer.name
    stored = [
        _initializer(graph, f"{name}_blocks", lay(codes).astype(integer)),
        _initializer(graph, f"{name}_scales", lay(blocks.scale)),
    ]
    if not settings.symmetric:
        stored.append(_initializer(graph, f"{name}_zero_points", lay(blocks.zero_point - middle).astype(integer)))
    attributes = [ir.AttrInt64("axis", axis), ir.AttrInt64("block_size", settings.block)]
    result = ir.Value(
        name=f"{name}_dequantized", shape=ir.Shape(layer.weight.shape), type=ir.TensorType(ir.DataType.FLOAT)
    )
    made = ir.Node("", "DequantizeLinear", stored, attributes, outputs=[result], name=f"{name}_dequantize")
    graph.insert_before(node, made)
    node.replace_input_with(1, result)
    return sum(value.const_value.nbytes for value in stored if value.const_value is not None)


_Writer = Callable[[ir.Graph, _Layer, Blocks, WeightOnlySettings], int]


def _initializer(graph: ir.Graph, name: str, array: NDArray[np.generic]) -> ir.Value:
    tensor = ir.tensor(array, name=name)
    value = ir.Value(name=name, const_value=tensor, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype))
    graph.register_initializer(value)
    return value


def _drop_unused(graph: ir.Graph) -> None:
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output() and not value.is_graph_input():
            del graph.initializers[name]


def _sqnr(exact: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return 10·log10(Σ x² / Σ (x − y)²) in dB; the smallest float stands for an error, or a signal, of nothing."""
    tiny = float(np.finfo(np.float64).tiny)
    wide = exact.astype(np.float64)
    difference = wide - other
    signal, noise = float(np.vdot(wide, wide)), float(np.vdot(difference, difference))
    return float(10 * np.log10(max(signal, tiny) / max(noise, tiny)))


def _check_result(model: Model) -> None:
    try:
        onnx.checker.check_model(onnx.ModelProto.FromString(model.to_bytes()))
    except onnx.checker.ValidationError as error:
        raise ConditionError(f"graph with weights in blocks is not valid ONNX: {error}") from error
