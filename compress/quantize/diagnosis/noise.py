"""The noise of every layer, from one pass over a few samples."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compress.data.samples import Batch
from compress.errors import ModelError
from compress.model import Model
from compress.quantize.diagnosis.probe import POWERS, Power, build_probe
from compress.quantize.layers import FloatConstants, Layer, dequantized
from compress.runtimes import open_graph

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Outlier:
    """The channel whose range is the largest.

    Attributes:
        channel: Its number, from 0.
        ratio: Its largest magnitude, as a multiple of the median channel's.
    """

    channel: int
    ratio: float


@dataclass(frozen=True, slots=True)
class Noise:
    """What quantization does at the output of one layer.

    Attributes:
        powers: Sums of squares over all samples, see :data:`compress.quantize.diagnosis.probe.Power`.
        activation_outlier: Of the float output; None where channels are unknown.
        weight_outlier: Of the float weight, along its input channels; None where it has one at most.
    """

    powers: Mapping[Power, float]
    activation_outlier: Outlier | None
    weight_outlier: Outlier | None

    def sqnr_db(self, power: Power) -> float | None:
        """Return 10·log10(signal / error) in dB; None where there is no error or no such power."""
        error = self.powers.get(power, 0.0)
        signal = max(self.powers["signal"], float(np.finfo(np.float64).tiny))
        return 10.0 * (math.log10(signal) - math.log10(error)) if error > 0 else None


def measure_noise(
    model: Model, layers: Sequence[Layer], constants: FloatConstants, batches: Sequence[Batch], threads: int
) -> dict[str, Noise]:
    """Return the noise of every layer of a quantized model, from one pass over some samples.

    Args:
        model: The quantized model.
        layers: Its layers.
        constants: Their float weights and biases.
        batches: Bound to the model's inputs.
        threads: Of the session.

    Raises:
        ModelError: See :func:`compress.quantize.diagnosis.probe.build_probe`; or a sum of squares that is not finite.
    """
    probe = build_probe(model, layers, constants)
    sums = dict.fromkeys(probe.powers, 0.0)
    peaks: dict[str, Floats] = {}
    with open_graph(probe.model, threads=threads, simulate=True) as session:
        for batch in batches:
            found = {name: np.asarray(value, np.float64) for name, value in session.run(batch.inputs).items()}
            for key, name in probe.powers.items():
                sums[key] += float(found[name])
            for layer, name in probe.peaks.items():
                peaks[layer] = np.maximum(peaks.get(layer, 0.0), found[name])
    for (layer_name, _), power in sums.items():
        if not math.isfinite(power):
            raise ModelError(
                f"the values around layer `{layer_name}` are too large: their squares have no finite sum",
                hint="check the weights there: a healthy network has no values of 1e18",
            )
    nodes = {node.name: node for node in model.graph.graph}
    return {
        layer.name: Noise(
            {power: sums[layer.name, power] for power in POWERS if (layer.name, power) in sums},
            find_outlier(peaks[layer.name]) if layer.name in peaks else None,
            find_outlier(_input_peaks(nodes[layer.name], layer, constants)),
        )
        for layer in layers
    }


def _input_peaks(node: ir.Node, layer: Layer, constants: FloatConstants) -> Floats:
    """Return the largest magnitude of a weight in each input channel, [input channels]; empty without a weight.

    Output channels have scales of their own; within one of them a large input channel leaves few steps to the others.
    """
    value = None if layer.weight is None else node.inputs[layer.weight]
    if value is None:
        return np.empty(0)
    found = constants.get((layer.name, layer.weight or 0))
    weight = np.abs(dequantized(value) if found is None else found)
    axis = 0 if node.op_type in ("MatMul", "ConvTranspose") or _is_plain_gemm(node) else 1
    if weight.ndim < 2:
        return np.empty(0)
    return np.asarray(weight.max(axis=tuple(other for other in range(weight.ndim) if other != axis)), np.float64)


def _is_plain_gemm(node: ir.Node) -> bool:
    return node.op_type == "Gemm" and not node.attributes.get_int("transB", 0)


def find_outlier(peaks: Floats) -> Outlier | None:
    """Return the channel that stands out most of magnitudes [channels]; None for fewer than two channels, or zeros."""
    typical = float(np.median(peaks)) if peaks.size else 0.0
    if peaks.size < 2 or not typical:
        return None
    channel = int(peaks.argmax())
    return Outlier(channel, float(peaks[channel]) / typical)
