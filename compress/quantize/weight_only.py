"""The step ``weight-only``: weights of MatMul and Gemm in 4 or 8 bits, block by block; activations stay float.

For networks that wait for their weights, not for arithmetic: a batch of one, or a memory that float weights do not fit.
ONNX Runtime gets its own ``MatMulNBits``; every other runtime gets a DequantizeLinear with ``block_size``. Blocks came
with opset 21: a target that takes older ones only gets 8 bits with one scale for each row of a weight, and no 4 bits.
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Literal

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from compress.errors import ConditionError, ConfigError, ModelError
from compress.model import JsonValue, Model
from compress.quantize.blocks import Bits, Search, quantize_blocks
from compress.quantize.weight_writers import DOMAIN, Layer, write_dequantize, write_matmul_nbits
from compress.steps import StepContext, StepResult, StepSettings
from compress.targets import Target

_BLOCK_OPSET = 21


class WeightOnlySettings(StepSettings):
    """Settings of the step ``weight-only``.

    Attributes:
        bits: Of a weight.
        block: Weights along the inputs of a layer that share a scale; of no effect where the target has no blocks.
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
        """Return the runtime, and whether it takes blocks: they decide how the weights are written."""
        return [target.runtime, target.opset >= _BLOCK_OPSET]


def quantize_weights(model: Model, settings: WeightOnlySettings, context: StepContext) -> StepResult:
    """Return the model with the weights of its matrix products in few bits.

    Raises:
        ModelError: Nothing to quantize, 4 bits for a target without blocks, or an opset that cannot be raised to 21
            where that is needed.
        ConfigError: Zero points for a target that has none, or a pattern of ``exclude`` that names nothing.
    """
    native = context.target.runtime == "onnxruntime"
    _check_target(settings, context.target)
    in_blocks = native or context.target.opset >= _BLOCK_OPSET
    graph = model.copy_graph() if native or not in_blocks else _raise_opset(model)
    _check_float(graph)
    layers = _choose(graph.graph, settings, whole_blocks=in_blocks and not native)
    noise, before, after = [], 0, 0
    for number, layer in enumerate(layers):
        rows = np.ascontiguousarray(layer.rows())
        size = settings.block if in_blocks else rows.shape[1]
        blocks = quantize_blocks(rows, settings.bits, size, symmetric=settings.symmetric, search=settings.search)
        noise.append((_sqnr(rows, blocks.dequantize()), str(layer.node.name)))
        before += layer.weight.nbytes
        if native:
            after += write_matmul_nbits(graph.graph, layer, blocks, integers=settings.compute == "int8")
        else:
            after += write_dequantize(graph.graph, layer, blocks)
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
    if settings.bits == 4 and target.runtime != "onnxruntime" and target.opset < _BLOCK_OPSET:
        raise ModelError(
            f"4-bit weights need opset {_BLOCK_OPSET}, and target {target.name} takes {target.opset} at most",
            hint="write bits = 8 (recipe int8-weights): one scale for each row of a weight; or use the recipe int8",
        )


def _check_float(graph: ir.Model) -> None:
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear", "MatMulNBits") for node in graph.graph):
        raise ModelError(
            "the model is quantized already: it contains Q/DQ or MatMulNBits",
            hint="give the float model, or compile this one as it is with `--recipe float`",
        )


def _raise_opset(model: Model) -> ir.Model:
    """Return a copy of the graph with at least the opset that has blocks."""
    if model.graph.opset_imports.get("", 0) >= _BLOCK_OPSET:
        return model.copy_graph()
    from onnx import version_converter

    try:
        raised = version_converter.convert_version(onnx.ModelProto.FromString(model.to_bytes()), _BLOCK_OPSET)
    except RuntimeError as error:
        raise ModelError(
            f"weights in blocks need opset {_BLOCK_OPSET}, and the graph cannot be raised to it: {error}",
            hint=f"export the model with opset {_BLOCK_OPSET}",
        ) from None
    return ir.from_proto(raised)


def _choose(graph: ir.Graph, settings: WeightOnlySettings, *, whole_blocks: bool) -> list[Layer]:
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


def _layer(node: ir.Node) -> Layer | None:
    """Return the layer that a node is, or None where its weight is not a constant float matrix used as it is."""
    if node.op_type not in ("MatMul", "Gemm") or node.domain not in ("", "ai.onnx"):
        return None
    value = node.inputs[1]
    tensor = None if value is None else value.const_value
    if tensor is None or len(tensor.shape) != 2 or tensor.dtype is not ir.DataType.FLOAT or node.inputs[0] is None:
        return None
    if node.op_type == "MatMul":
        return Layer(node, tensor.numpy(), transposed=False)
    attributes = node.attributes
    plain = attributes.get_float("alpha", 1.0) == 1.0 and attributes.get_float("beta", 1.0) == 1.0
    if not plain or attributes.get_int("transA", 0) != 0:
        return None
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    transposed = bool(attributes.get_int("transB", 0))
    rows = tensor.shape[0 if transposed else 1]
    if bias is not None and (bias.const_value is None or tuple(bias.const_value.shape) != (rows,)):
        return None
    return Layer(node, tensor.numpy(), transposed=transposed)


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
