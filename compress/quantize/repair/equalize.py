"""Cross-layer equalization: channels of one activation are brought to sizes that one scale suits, exactly."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compress.data.samples import SampleSet
from compress.model import Model
from compress.quantize.calibrate import OpenObserved
from compress.quantize.dialects import Dialect
from compress.quantize.plan import plan_quantization
from compress.quantize.repair.channels import ChannelStatistics, observe_channels
from compress.quantize.repair.groups import ChannelGroup, find_groups, with_shapes
from compress.quantize.repair.scalable import clip_bounds

_Floats = NDArray[np.float64]

EXPONENTS = (0.0, 0.25, 0.5, 0.75, 1.0)
_LEAST_SHARE = 1 / 64
"""A channel is not raised by more than this: what it does on other samples must still fit."""


@dataclass(frozen=True, slots=True)
class ConsumerWeight:
    """A weight as rows [outputs, inputs, taps], and which channel each input is: [outputs, inputs]."""

    rows: _Floats
    channels: NDArray[np.int64]

    def reach(self, channels: int) -> _Floats:
        """Return the largest magnitude with which each channel is read [channels]."""
        found = np.zeros(channels)
        np.maximum.at(found, self.channels, np.abs(self.rows).max(axis=2))
        return found


@dataclass(frozen=True, slots=True)
class Choice:
    """A scale [channels], the exponent that made it, and the share of the expected error that it saves."""

    exponent: float
    scale: _Floats
    gain: float

    @property
    def spread(self) -> float:
        """The largest ratio between two channels' scales."""
        return float(self.scale.max() / self.scale.min())


@dataclass(frozen=True, slots=True)
class Equalized:
    """What was done to one group: the exponent that was chosen and the largest ratio between two of its scales."""

    producer: str
    exponent: float
    spread: float


def equalize(
    model: Model,
    dialect: Dialect,
    samples: SampleSet,
    open_observed: OpenObserved,
    progress: Callable[[int, int], None],
) -> tuple[Model, list[Equalized]]:
    """Return the float model with its channels scaled, each group with the exponent that promises the least error.

    A channel's scale is reach^a / weight^(1 − a): its reach on the samples, its weights in the consumers. a = 1 makes
    all channels of an activation alike, which costs nothing in front of a depthwise convolution; a = ½ is the
    geometric mean of cross-layer equalization. A group that nothing improves stays as it is.

    Channels that a Clip cuts on the samples keep their scale, and no other is raised beyond the Clip: on the samples
    the function stays the same, and where there is no Clip, everywhere.

    Args:
        model: A float model.
        dialect: The one that it will be quantized in.
        samples: Bound to the model's inputs.
        open_observed: How to run a model with its activations as outputs.
        progress: Called with samples done and samples in all.

    Source: Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction (2019), equations 7–11;
    Xiao et al., SmoothQuant (2023), equation 4 (the exponent).
    """
    graph = with_shapes(model)
    plan = plan_quantization(graph.graph, dialect)
    quantized = {str(plan.scale_source(value).name) for value in plan.activations()}
    groups = find_groups(graph.graph)
    groups = [group for group in groups if quantized & {str(value.name) for value in group.values}]
    axes = {name: group.axis for group in groups for name in (*_quantized(group, quantized), *_clipped(group))}
    statistics = observe_channels(model, axes, samples, open_observed, progress)
    done = []
    for group in groups:
        found = choose_scale(group, [statistics[name] for name in _quantized(group, quantized)], statistics, dialect)
        if found is not None:
            apply_scale(group, found.scale)
            done.append(Equalized(str(group.producers[0].name), found.exponent, found.spread))
    return (Model.from_ir(graph, model.history) if done else model), done


def _quantized(group: ChannelGroup, quantized: set[str]) -> list[str]:
    return [name for value in group.values if (name := str(value.name)) in quantized]


def _clipped(group: ChannelGroup) -> list[str]:
    return [str(node.outputs[0].name) for node in group.clips]


def choose_scale(
    group: ChannelGroup,
    seen: list[ChannelStatistics],
    statistics: Mapping[str, ChannelStatistics],
    dialect: Dialect,
) -> Choice | None:
    """Return the scale with the least expected error; None where leaving it is best.

    Args:
        group: To be scaled.
        seen: Statistics of its values that are quantized.
        statistics: By name, of the outputs of its Clips at least.
        dialect: The one that it will be quantized in.
    """
    weights = [consumer_weight(node, _array(node, 1), group.channels) for node in group.consumers]
    reach = _relative_reach(seen)
    needed = np.max([weight.reach(group.channels) for weight in weights], axis=0)
    cuts = [(clip_bounds(node)[1], statistics[str(node.outputs[0].name)].high) for node in group.clips]
    before = _expected_error(np.ones(group.channels), seen, weights, dialect)
    best, chosen = before * (1 - 1e-3), None
    for exponent in EXPONENTS:
        scale = _limit(_raw_scale(reach, needed, exponent), cuts)
        error = _expected_error(scale, seen, weights, dialect)
        if error < best:
            best, chosen = error, Choice(exponent, scale, 1 - error / before)
    return chosen


def _relative_reach(seen: list[ChannelStatistics]) -> _Floats:
    """Return the reach of each channel as a share of its activation's, the mean of all activations of the group."""
    mean: _Floats = np.mean([_shares(each.reach) for each in seen], axis=0)
    return np.maximum(mean, _LEAST_SHARE)


def _raw_scale(reach: _Floats, needed: _Floats, exponent: float) -> _Floats:
    weight = np.maximum(_shares(needed), _LEAST_SHARE)
    return _shares(reach**exponent / weight ** (1 - exponent))


def _shares(sizes: _Floats) -> _Floats:
    """Return sizes as shares of the largest; zeros where all are zero."""
    largest = float(sizes.max(initial=0.0))
    return np.asarray(sizes / largest if largest > 0 else np.zeros_like(sizes), np.float64)


def _limit(scale: _Floats, cuts: list[tuple[float, _Floats]]) -> _Floats:
    """Return the scale [channels] with which every Clip does on the samples what it did before.

    Args:
        scale: At most 1.
        cuts: Of each Clip, its upper bound and the largest value that leaves it in each channel.
    """
    for cap, high in cuts:
        if np.isfinite(cap):
            scale = np.maximum(scale, np.maximum(high / cap, _LEAST_SHARE))
    cut = [high >= cap * (1 - 1e-6) for cap, high in cuts]
    return np.where(np.any(cut, axis=0), 1.0, scale) if cut else scale


def _expected_error(
    scale: _Floats, seen: list[ChannelStatistics], weights: list[ConsumerWeight], dialect: Dialect
) -> float:
    """Return the expected squared error of the consumers' outputs: uniform noise of activations and of weights.

    Activations: step² / 12 in each channel, times its squared weights. Weights: likewise, times the mean square of what
    they multiply. The step of a weight is that of its output channel.
    """
    error = 0.0
    for each in seen:
        low, high = min(float((each.low / scale).min()), 0.0), max(float((each.high / scale).max()), 0.0)
        reach = 2 * max(-low, high) if dialect.activation.symmetric else high - low
        step = reach / dialect.activation.steps
        for weight in weights:
            scaled = weight.rows * scale[weight.channels][:, :, None]
            weight_step = np.abs(scaled).max(axis=(1, 2)) / dialect.weight.high
            energy = (each.mean_square / scale**2)[weight.channels].sum(axis=1) * weight.rows.shape[2]
            error += (step**2 * float(np.square(scaled).sum()) + float(np.square(weight_step) @ energy)) / 12
    return error


def consumer_weight(node: ir.Node, weight: _Floats, channels: int) -> ConsumerWeight:
    """Return how the outputs of a Conv, Gemm or MatMul read some channels, with a weight in the node's layout."""
    if node.op_type == "Conv":
        outputs, each = weight.shape[:2]
        first = np.arange(outputs) // (outputs // (channels // each)) * each
        return ConsumerWeight(weight.reshape(outputs, each, -1), first[:, None] + np.arange(each))
    transposed = node.op_type == "Gemm" and node.attributes.get_int("transB", 0) == 1
    rows = weight if transposed else weight.T
    return ConsumerWeight(rows[:, :, None], np.broadcast_to(np.arange(channels), rows.shape))


def apply_scale(group: ChannelGroup, scale: _Floats) -> None:
    """Divide the group's values by a scale [channels] and multiply the weights that read them, in place."""
    for node in group.producers:
        axis = _output_axis(node)
        _replace(node, 1, _array(node, 1) / _along(scale, axis, _array(node, 1).ndim))
        if len(node.inputs) > 2 and node.inputs[2] is not None:
            bias = _array(node, 2)
            _replace(node, 2, bias / scale.reshape(bias.shape))
    for node, index in group.constants:
        constant = _array(node, index)
        _replace(node, index, constant / scale.reshape(constant.shape))
    for node in group.consumers:
        _replace(node, 1, _scaled_inputs(node, _array(node, 1), scale))


def _scaled_inputs(node: ir.Node, weight: _Floats, scale: _Floats) -> _Floats:
    if node.op_type == "Conv":
        groups = node.attributes.get_int("group", 1)
        each = np.repeat(scale.reshape(groups, -1), weight.shape[0] // groups, axis=0)
        return weight * each.reshape(*each.shape, *(1,) * (weight.ndim - 2))
    transposed = node.op_type == "Gemm" and node.attributes.get_int("transB", 0) == 1
    return weight * _along(scale, 1 if transposed else 0, 2)


def _output_axis(node: ir.Node) -> int:
    match node.op_type:
        case "Conv" | "LayerNormalization":
            return 0
        case "Gemm":
            return 0 if node.attributes.get_int("transB", 0) else 1
        case _:
            return 1


def _along(scale: _Floats, axis: int, ndim: int) -> _Floats:
    shape = [1] * ndim
    shape[axis] = -1
    return scale.reshape(shape)


def _array(node: ir.Node, index: int) -> _Floats:
    value = node.inputs[index]
    assert value is not None  # noqa: S101 - a group has constant weights only
    assert value.const_value is not None  # noqa: S101
    return value.const_value.numpy().astype(np.float64)


def _replace(node: ir.Node, index: int, array: _Floats) -> None:
    """Give one operand of one node other values; what else reads the constant keeps the old ones."""
    value = node.inputs[index]
    assert value is not None  # noqa: S101
    assert node.graph is not None  # noqa: S101 - it is in one
    shared = len(value.uses()) > 1
    name = f"{value.name}_for_{node.name}_{index}" if shared else str(value.name)
    tensor = ir.tensor(np.ascontiguousarray(array, np.float32), name=name)
    if not shared:
        value.const_value = tensor
        return
    own = ir.Value(name=name, const_value=tensor, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype))
    node.graph.register_initializer(own)
    node.replace_input_with(index, own)
