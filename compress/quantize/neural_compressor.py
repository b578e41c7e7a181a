"""The step ``quantize-neural-compressor``: Intel neural-compressor's static quantizer (PT2E), as a contestant.

The graph is traced through PyTorch (``torchnet``), neural-compressor places its observers in the trace and calibrates
them on the same samples as the native quantizer, and what it made is exported again. Its exporter keeps float weights
behind a QuantizeLinear, which no runtime takes for an integer layer and which make the file larger than before: they
are folded into integers.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compress.batch_norm import fold_batch_norm
from compress.errors import CompressError, ModelError, TargetError
from compress.model import JsonValue, Model
from compress.quantize.dialects import DIALECTS, Dialect
from compress.quantize.layers import remember_unquantized
from compress.quantize.matching import name_layers, without_quantization
from compress.quantize.static import check_float, check_quantized
from compress.quiet import first_reason, quiet
from compress.runtimes.batching import fill_batch, fixed_batch
from compress.steps import StepContext, StepResult, StepSettings

if TYPE_CHECKING:
    from torch import Tensor, nn

_BATCH = 8
_LARGEST = 1 << 20
"""What a dimension that may vary is at most: the trace wants a bound."""
_OLDEST_OPSET = 18
"""That PyTorch's exporter writes."""
_DIALECT = "u8s8"
"""What neural-compressor writes for x86: uint8 activations, full-range int8 weights."""
_HINT = "use --quantizer native"


class IncSettings(StepSettings):
    """The step ``quantize-neural-compressor`` has no settings: neural-compressor's own defaults are compared."""


def quantize_with_neural_compressor(model: Model, _: IncSettings, context: StepContext) -> StepResult:
    """Return the model with Q/DQ as neural-compressor places them.

    Raises:
        ModelError: The model is quantized already, or neural-compressor refuses it; the message has its reason.
        TargetError: It is not installed, or it does not write what the target takes.
    """
    dialect = _check_dialect(context)
    check_float(model.graph)
    model = fold_batch_norm(model)
    with _reasons():
        tools = _import_tools()
        program, done = _quantize(model, context, tools)
    graph = program.model
    fold_weights(graph.graph)
    _restore_interface(graph.graph, model.graph.graph)
    integer = sum(node.op_type == "QuantizeLinear" for node in graph.graph)
    if integer == 0:
        raise ModelError("neural-compressor quantizes nothing of this model", hint=_HINT)
    result, constants = name_layers(Model.from_ir(graph, model.history), model)
    check_quantized(result, dialect)
    remember_unquantized(context.store, result, without_quantization(result, constants))
    metrics: Mapping[str, JsonValue] = {
        "dialect": dialect.name,
        "calibration_samples": done,
        "quantized_activations": integer,
    }
    return StepResult(result, metrics)


def _check_dialect(context: StepContext) -> Dialect:
    if context.target.dialect != _DIALECT:
        raise TargetError(
            "neural-compressor writes uint8 activations and full-range int8 weights, and target "
            f"{context.target.name} takes the dialect {context.target.dialect}",
            hint=_HINT,
        )
    return DIALECTS[context.target.dialect]


def _import_tools() -> Any:
    try:
        from neural_compressor.torch import export, quantization
    except ImportError as error:
        raise TargetError(
            f"neural-compressor cannot be imported: {error}", hint='pip install "edge-compress[inc]", or ' + _HINT
        ) from None
    return export, quantization


def _quantize(model: Model, context: StepContext, tools: Any) -> tuple[Any, int]:
    """Return the exported program, and how many samples its observers saw."""
    import torch

    export, quantization = tools
    fixed = fixed_batch(model)
    size = fixed or min(_BATCH, len(context.calibration))
    done = 0
    net, shapes = _traceable(model), _dynamic_shapes(model)
    prepared = None
    with torch.no_grad():
        for batch in context.calibration.batches(size):
            arrays = fill_batch(batch.inputs, fixed)
            inputs = tuple(torch.from_numpy(np.ascontiguousarray(arrays[spec.name])) for spec in model.inputs)
            if prepared is None:
                example = _at_least_two(inputs, fixed)
                traced = export.export(net, example, dynamic_shapes=(shapes,))
                prepared = quantization.prepare(traced, quantization.get_default_static_config())
            prepared(*inputs)
            done += len(batch)
            context.progress("calibrate", done, len(context.calibration))
        program = torch.onnx.export(
            quantization.convert(prepared),
            example,
            dynamo=True,
            dynamic_shapes=shapes,
            opset_version=max(_OLDEST_OPSET, min(context.target.opset, model.graph.opset_imports.get("", 0))),
            verbose=False,
            external_data=False,
            input_names=[spec.name for spec in model.inputs],
            output_names=[spec.name for spec in model.outputs],
        )
    return program, done


def _traceable(model: Model) -> "nn.Module":
    """Return a module of the graph that takes and gives tensors in the graph's order."""
    from torch import nn

    from compress.torchnet.graph_net import GraphNet

    class Positional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = GraphNet(model)

        def forward(self, *inputs: "Tensor") -> "tuple[Tensor, ...]":
            found = self.net(dict(zip(self.net.inputs, inputs, strict=True)))
            return tuple(found[name] for name in self.net.outputs)

    return Positional().eval()


def _dynamic_shapes(model: Model) -> tuple[dict[int, Any], ...]:
    """Return for each input the axes that vary; axes of one name are one dimension."""
    import torch

    names = dict.fromkeys(size for spec in model.inputs for size in spec.shape if isinstance(size, str))
    known = {name: torch.export.Dim(f"d{number}", min=1, max=_LARGEST) for number, name in enumerate(names)}
    return tuple(
        {axis: known[size] for axis, size in enumerate(spec.shape) if isinstance(size, str)} for spec in model.inputs
    )


def _at_least_two(inputs: "tuple[Tensor, ...]", fixed: int | None) -> "tuple[Tensor, ...]":
    """Return inputs to trace with: a trace takes an axis of one element for one that never varies."""
    import torch

    if fixed is not None or any(len(tensor) > 1 for tensor in inputs):
        return inputs
    return tuple(torch.cat([tensor, tensor]) for tensor in inputs)


def fold_weights(graph: ir.Graph) -> None:
    """Put integers in the place of every QuantizeLinear of a constant, and of a Clip behind it, in place."""
    for node in list(graph):
        constants = [ir.convenience.get_const_tensor(value) for value in node.inputs if value is not None]
        if len(constants) != 3 or any(constant is None for constant in constants):
            continue
        arrays = [constant.numpy() for constant in constants if constant is not None]
        if node.op_type == "QuantizeLinear":
            weight, scale, zero = arrays
            _replace(graph, node, _quantize_weight(weight, scale, zero, node.attributes.get_int("axis", 1)))
        elif node.op_type == "Clip" and arrays[0].dtype.kind in "iu":
            _replace(graph, node, np.clip(*arrays))
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del graph.initializers[name]


def _quantize_weight(weight: NDArray[Any], scale: NDArray[Any], zero: NDArray[Any], axis: int) -> NDArray[Any]:
    """Return the codes that QuantizeLinear gives for a weight, with one scale [] or one for each channel [channels]."""
    shape = [-1 if scale.ndim and place == axis % max(weight.ndim, 1) else 1 for place in range(weight.ndim)]
    limits = np.iinfo(zero.dtype)
    steps = np.rint(weight / scale.reshape(shape)) + zero.reshape(shape)
    codes: NDArray[Any] = np.clip(steps, limits.min, limits.max).astype(zero.dtype)
    return codes


def _replace(graph: ir.Graph, node: ir.Node, codes: NDArray[Any]) -> None:
    """Put a constant in the place of a node."""
    folded = ir.Value(
        name=f"{node.outputs[0].name}_codes",
        const_value=ir.tensor(codes),
        shape=ir.Shape(codes.shape),
        type=ir.TensorType(ir.DataType.from_numpy(codes.dtype)),
    )
    graph.register_initializer(folded)
    node.outputs[0].replace_all_uses_with(folded)
    graph.remove(node, safe=True)


def _restore_interface(graph: ir.Graph, original: ir.Graph) -> None:
    """Give inputs and outputs their shapes back; what is in between loses those that name the trace's dimensions."""
    for node in graph:
        for value in node.outputs:
            if value.shape is not None and not value.shape.is_static():
                value.shape = None
    pairs = (*zip(graph.inputs, original.inputs, strict=True), *zip(graph.outputs, original.outputs, strict=True))
    for value, known in pairs:
        value.shape = known.shape


@contextmanager
def _reasons() -> Iterator[None]:
    """Turn what neural-compressor and the exporter raise into one error with a one-line reason; keep them quiet."""
    try:
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except CompressError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever its code, PyTorch's tracer or the exporter meet
        raise ModelError(
            f"neural-compressor does not take this model: {type(error).__name__}: {first_reason(error)}", hint=_HINT
        ) from None
