"""The step ``quantize-onnxruntime``: ONNX Runtime's own ``quantize_static``, told the target's dialect.

A contestant beside the native quantizer: the same samples, the same engine, the same measurement. Its calibration reads
samples batch by batch. With ``minmax`` its memory stays small; its ``percentile`` and ``entropy`` keep every activation
of every sample in memory.
"""

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import onnx

from compress.batch_norm import fold_batch_norm
from compress.data.samples import SampleSet
from compress.errors import ConditionError, ModelError, TargetError
from compress.model import JsonValue, Model
from compress.quantize.dialects import DIALECTS, Dialect
from compress.quantize.layers import remember_unquantized
from compress.quantize.removed import restore_activations
from compress.quantize.static import check_float, check_quantized
from compress.runtimes import Feed
from compress.runtimes.batching import fill_batch, fixed_batch
from compress.steps import StepContext, StepResult, StepSettings

_BATCH = 8
_SEVEN_BITS = 63


class OrtSettings(StepSettings):
    """Settings of the step ``quantize-onnxruntime``.

    Attributes:
        calibration: How a range is chosen; the two that count values hold every activation in memory.
        operators: Operators that are quantized; all that ONNX Runtime can where empty, those with weights alone where
            the target's dialect is symmetric.
    """

    calibration: Literal["minmax", "percentile", "entropy"] = "minmax"
    operators: tuple[str, ...] = ()


def quantize_with_onnxruntime(model: Model, settings: OrtSettings, context: StepContext) -> StepResult:
    """Return the model with Q/DQ as ONNX Runtime places them, BatchNormalization in the weights before it.

    Raises:
        ModelError: The model is quantized already, or ONNX Runtime's quantizer refuses it; the message has its reason.
        TargetError: This ONNX Runtime has no quantizer.
    """
    dialect = DIALECTS[context.target.dialect]
    check_float(model.graph)
    model = fold_batch_norm(model)
    proto = onnx.ModelProto.FromString(model.to_bytes())
    reader = _Reader(context.calibration, fixed_batch(model), context)
    with tempfile.TemporaryDirectory() as folder, _quiet(), _reasons():
        out = Path(folder) / "model.onnx"
        _quantize_static()(proto, out, reader, **quantizer_arguments(dialect, settings))
        result = restore_activations(Model.from_bytes(out.read_bytes(), model.history), model)
        check_quantized(result, dialect)
    remember_unquantized(context.store, result, model.copy_graph())
    integer = sum(node.op_type == "QuantizeLinear" for node in result.graph.graph)
    metrics: Mapping[str, JsonValue] = {
        "dialect": dialect.name,
        "calibration_samples": reader.done,
        "quantized_activations": integer,
    }
    return StepResult(result, metrics)


def quantizer_arguments(dialect: Dialect, settings: OrtSettings) -> dict[str, Any]:
    """Return the arguments of ``quantize_static`` that say what a dialect means.

    Source: ONNX Runtime, ``onnxruntime.quantization.quantize_static``: ``reduce_range`` holds weights to 7 bits.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType

    methods = {
        "minmax": CalibrationMethod.MinMax,
        "percentile": CalibrationMethod.Percentile,
        "entropy": CalibrationMethod.Entropy,
    }
    symmetric = dialect.activation.symmetric
    operators = settings.operators or (sorted(dialect.weighted) if symmetric else ())
    return {
        "quant_format": QuantFormat.QDQ,
        "per_channel": True,
        "reduce_range": dialect.weight.high <= _SEVEN_BITS,
        "activation_type": QuantType.QInt8 if symmetric else QuantType.QUInt8,
        "weight_type": QuantType.QInt8,
        "calibrate_method": methods[settings.calibration],
        "op_types_to_quantize": list(operators) or None,
        "extra_options": {
            "ActivationSymmetric": symmetric,
            "WeightSymmetric": True,
            "QuantizeBias": dialect.quantize_bias,
        },
    }


def _quantize_static() -> Any:
    try:
        from onnxruntime.quantization import quantize_static
    except ImportError as error:
        raise TargetError(
            f"ONNX Runtime's quantizer cannot be imported: {error}",
            hint="pip install --force-reinstall onnxruntime, or use --quantizer native",
        ) from None
    return quantize_static


def even_batch(samples: int) -> int:
    """Return the largest batch up to 8 that divides the samples: calibrators that count fail on an uneven last one."""
    return next(size for size in range(_BATCH, 0, -1) if samples % size == 0)


class _Reader:
    """Gives the quantizer one batch after the other; holds none."""

    def __init__(self, samples: SampleSet, fixed: int | None, context: StepContext) -> None:
        self._batches = samples.batches(fixed or even_batch(len(samples)))
        self._fixed = fixed
        self._total = len(samples)
        self._progress = context.progress
        self.done = 0

    def get_next(self) -> Feed | None:
        """Return the next batch of inputs by name, or None after the last."""
        batch = next(self._batches, None)
        if batch is None:
            return None
        self.done += len(batch)
        self._progress("calibrate", self.done, self._total)
        return fill_batch(batch.inputs, self._fixed)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantizer's advice off the terminal: it prints, and writes to the root logger."""
    handler = logging.NullHandler()
    logging.getLogger().addHandler(handler)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.getLogger().removeHandler(handler)


@contextlib.contextmanager
def _reasons() -> Iterator[None]:
    """Turn what the quantizer raises (whatever its code meets) into one error with a one-line reason."""
    try:
        yield
    except (ValueError, RuntimeError, KeyError, IndexError, AttributeError, TypeError, ConditionError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ModelError(
            f"ONNX Runtime's quantizer does not take this model: {reason}", hint="use --quantizer native"
        ) from None
