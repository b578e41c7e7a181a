"""Bias correction: what quantization shifts the mean of a channel by is taken back, in the bias."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compress.data.samples import Array, SampleSet
from compress.model import Model
from compress.quantize.calibrate import OpenObserved, batch_size
from compress.quantize.dialects import Grid
from compress.quantize.padding import drop_padding, find_mask
from compress.quantize.plan import Plan
from compress.quantize.repair.channels import observe_channels
from compress.quantize.repair.equalize import consumer_weight
from compress.quantize.repair.open_graph import OpenGraph
from compress.quantize.repair.rounding import is_roundable, round_layer
from compress.quantize.repair.scalable import constant_of
from compress.quantize.repair.walk import OpenPiece, Walk
from compress.runtimes.batching import fill_batch, fixed_batch

_Floats = NDArray[np.float64]
_INT32_MAX = 2**31 - 1

_NO_TENSOR = "Sequence"
"""In the names of all operators that make or read sequences."""

SAMPLES = 256
"""Samples that are looked at, at most: the mean of a channel is known by then."""


@dataclass(frozen=True, slots=True)
class BiasPlace:
    """A layer and the constant that shifts its output.

    Attributes:
        node: Name of the Conv, Gemm or MatMul.
        output: Name of its output in the float graph.
        axis: Of the channels in the output.
        holder: Name of the node that reads the constant: the layer itself, or the Add behind a MatMul.
        index: Position of the constant there.
    """

    node: str
    output: str
    axis: int
    holder: str
    index: int


def add_missing_biases(graph: ir.Graph, plan: Plan) -> None:
    """Give every convolution and Gemm of the plan that has no bias one of zeros, in place."""
    for use in plan.weights:
        node = use.node
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm"):
            continue
        if len(node.inputs) > 2 and node.inputs[2] is not None:
            continue
        weight = node.inputs[1]
        assert weight is not None  # noqa: S101 - the plan names constants
        assert weight.const_value is not None  # noqa: S101
        zeros = np.zeros(weight.const_value.shape.numpy()[use.axis], np.float32)
        name = f"{node.name}_bias"
        value = ir.Value(
            name=name,
            const_value=ir.tensor(zeros, name=name),
            shape=ir.Shape(zeros.shape),
            type=ir.TensorType(ir.DataType.FLOAT),
        )
        graph.register_initializer(value)
        node.resize_inputs(3)
        node.replace_input_with(2, value)


def find_biases(plan: Plan) -> list[BiasPlace]:
    """Return the layers of a plan that have a bias, in graph order.

    None, where the graph has sequences or optionals: these cannot be held between two pieces of it.
    """
    graph = plan.nodes[0].graph if plan.nodes else None
    if graph is None or any(_NO_TENSOR in node.op_type or node.op_type.startswith("Optional") for node in graph):
        return []
    places = []
    for use in plan.weights:
        node, output = use.node, use.node.outputs[0]
        if node.op_type == "MatMul":
            place = _added_bias(node)
            if place is not None:
                places.append(BiasPlace(str(node.name), str(output.name), -1, str(place[0].name), place[1]))
        elif len(node.inputs) > 2 and node.inputs[2] is not None and node.inputs[2].const_value is not None:
            places.append(BiasPlace(str(node.name), str(output.name), 1, str(node.name), 2))
    return places


def _added_bias(node: ir.Node) -> tuple[ir.Node, int] | None:
    """Return the Add, and the position of its constant [outputs], that alone reads the output of a MatMul."""
    uses = node.outputs[0].uses()
    if len(uses) != 1 or node.outputs[0].is_graph_output():
        return None
    follower, index = next(iter(uses))
    other = follower.inputs[1 - index] if follower.op_type == "Add" else None
    weight = node.inputs[1]
    if other is None or other.const_value is None or weight is None or weight.const_value is None:
        return None
    shape = other.const_value.shape.numpy()
    return (
        (follower, 1 - index) if shape and shape[-1] == other.const_value.size == weight.const_value.shape[-1] else None
    )


def correct_biases(
    quantized: Model,
    model: Model,
    places: Sequence[BiasPlace],
    samples: SampleSet,
    *,
    open_observed: OpenObserved,
    open_piece: OpenPiece,
    progress: Callable[[int, int], None],
    rounding: Grid | None = None,
) -> Model:
    """Return the quantized model with biases such that every layer's channels have the float model's mean.

    Layer by layer in graph order: each is measured behind layers that are corrected already, in the runtime's integer
    kernels, before its own activation function.

    Args:
        quantized: With Q/DQ.
        model: The float model that it was made from, with nodes and values of the same names.
        places: The layers, in graph order.
        samples: Bound to the model's inputs.
        open_observed: How to run the float model with its activations as outputs.
        open_piece: How to run a piece of the quantized graph.
        progress: Called with layers done and layers in all.
        rounding: Grid of the weights, where these are to be rounded again, with compensation, on the way.

    Source: Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction (2019), section 4.2 and
    appendix D (the empirical form).
    """
    feeds, wanted = _float_means(model, places, samples, open_observed)
    graph = OpenGraph.read(quantized)
    walk = Walk(graph, open_piece, feeds)
    weights = {str(node.name): constant for node in model.graph.graph if (constant := constant_of(node, 1)) is not None}
    for done, place in enumerate(places):
        walk.advance(place.node)
        if rounding is not None and is_roundable(graph.node(place.node), weights[place.node].shape):
            read = map(drop_padding, walk.inputs(place.node), map(find_mask, feeds))
            round_layer(read, graph, place.node, weights[place.node], rounding)
        shifts = [
            target[place.node] - _mean(drop_padding(output, find_mask(feed)), place.axis)
            for output, target, feed in zip(walk.outputs(place.node), wanted, feeds, strict=False)
        ]
        _shift(graph, place, np.mean(shifts, axis=0))
        progress(done + 1, len(places))
    return Model.from_bytes(graph.to_bytes(), quantized.history)


def correct_for_weights(
    quantized: Model,
    model: Model,
    places: Sequence[BiasPlace],
    samples: SampleSet,
    *,
    open_observed: OpenObserved,
    progress: Callable[[int, int], None],
) -> Model:
    """Return the quantized model with biases that take back what rounding the weights alone does to the means.

    A layer's mean shifts by (W - W_q)·E[x], E[x] the mean of each input channel in the float model: one pass over the
    samples, and the quantized graph is never run. Padding counts as if it were not there.

    Source: Nagel et al. (2019), section 4.2, equation 17; E[x] is measured where they derive it from a
    BatchNormalization, which is folded into the weights here.
    """
    nodes = {str(node.name): node for node in model.graph.graph}
    inputs = {place.node: nodes[place.node].inputs[0] for place in places}
    axes = {str(value.name): place.axis for place in places if (value := inputs[place.node]) is not None}
    statistics = observe_channels(model, axes, samples, open_observed, progress)
    graph = OpenGraph.read(quantized)
    for place in places:
        node, value = nodes[place.node], inputs[place.node]
        weight = None if node.inputs[1] is None else node.inputs[1].const_value
        dequantize = graph.producer(graph.node(place.node).input[1])
        if value is None or weight is None or dequantize is None or node.op_type == "ConvTranspose":
            continue
        difference = weight.numpy().astype(np.float64) - graph.dequantized(dequantize)
        _shift(graph, place, mean_response(node, difference, statistics[str(value.name)].mean))
    return Model.from_bytes(graph.to_bytes(), quantized.history)


def mean_response(node: ir.Node, weight: _Floats, mean: _Floats) -> _Floats:
    """Return what a weight makes of channels with some means: [outputs] for means [channels]."""
    read = consumer_weight(node, weight, len(mean))
    response: _Floats = (read.rows.sum(axis=2) * mean[read.channels]).sum(axis=1)
    return response


def _float_means(
    model: Model, places: Sequence[BiasPlace], samples: SampleSet, open_observed: OpenObserved
) -> tuple[list[Mapping[str, Array]], list[dict[str, _Floats]]]:
    """Return the inputs of all batches, and the mean of every channel of every layer in each."""
    feeds: list[Mapping[str, Array]] = []
    means = []
    seen = 0
    wanted = [place.output for place in places]
    with open_observed(model, wanted) as session:
        for batch in samples.batches(batch_size(model, samples, session, wanted)):
            if seen >= SAMPLES:
                break
            seen += len(batch)
            feed = fill_batch(batch.inputs, fixed_batch(model))
            found = session.run(feed)
            feeds.append(feed)
            mask = find_mask(feed)
            means.append({place.node: _mean(drop_padding(found[place.output], mask), place.axis) for place in places})
    return feeds, means


def _mean(array: Array, axis: int) -> _Floats:
    """Return the mean of each channel."""
    others = tuple(i for i in range(array.ndim) if i != axis % array.ndim)
    mean: _Floats = np.asarray(array, np.float32).mean(axis=others).astype(np.float64)
    return mean


def _shift(graph: OpenGraph, place: BiasPlace, shift: _Floats) -> None:
    """Add a shift [channels] to a bias: to its int32 codes, or to the float constant."""
    name = graph.node(place.holder).input[place.index]
    dequantize = graph.producer(name)
    if dequantize is None:
        constant = graph.constant(name).astype(np.float64)
        graph.change(name, (constant + shift.reshape(constant.shape)).astype(np.float32))
        return
    stored, scale = (graph.constant(dequantize.input[index]).astype(np.float64) for index in (0, 1))
    codes = np.clip(stored + np.rint(shift / scale), -_INT32_MAX, _INT32_MAX)
    graph.change(dequantize.input[0], codes.astype(np.int32))
