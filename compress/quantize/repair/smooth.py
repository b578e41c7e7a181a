"""Scale migration behind a LayerNormalization that residuals read too: matrix products get a copy with other gains."""

from collections.abc import Callable

import onnx_ir as ir

from compress.data.samples import SampleSet
from compress.model import Model
from compress.quantize.calibrate import OpenObserved
from compress.quantize.dialects import Dialect
from compress.quantize.plan import plan_quantization
from compress.quantize.repair.channels import observe_channels
from compress.quantize.repair.equalize import Equalized, apply_scale, choose_scale
from compress.quantize.repair.groups import ChannelGroup, with_shapes
from compress.quantize.repair.scalable import CONSUMERS, PRODUCERS, NotScalableError, is_standard

LEAST_GAIN = 0.25
"""Share of the expected error that a copy must save: it costs one pass over the activation."""


def smooth(
    model: Model,
    dialect: Dialect,
    samples: SampleSet,
    open_observed: OpenObserved,
    progress: Callable[[int, int], None],
) -> tuple[Model, list[Equalized]]:
    """Return the float model with copies of LayerNormalizations whose channels suit one scale; say what was done.

    1. A LayerNormalization whose output only matrix products read needs no copy: equalization scales it.
    2. Where a residual reads it too, the products read a copy with gain / s and bias / s, and their weights are
       multiplied by s: the function stays the same.
    3. The exponent of s is searched for each by the expected error; where it saves less than ``LEAST_GAIN``, nothing is
       done.

    Args:
        model: A float model.
        dialect: The one that it will be quantized in.
        samples: Bound to the model's inputs.
        open_observed: How to run a model with its activations as outputs.
        progress: Called with samples done and samples in all.

    Source: Xiao et al., SmoothQuant (2023), section 4, equations 3 and 4.
    """
    graph = with_shapes(model)
    plan = plan_quantization(graph.graph, dialect)
    integer = {node for node, index in plan.edges if index == 0}
    found = [group for node in graph.graph if (group := _shared_norm(node, integer)) is not None]
    axes = {str(group.values[0].name): group.axis for group in found}
    statistics = observe_channels(model, axes, samples, open_observed, progress)
    done = []
    for group in found:
        choice = choose_scale(group, [statistics[str(group.values[0].name)]], {}, dialect)
        if choice is None or choice.gain < LEAST_GAIN:
            continue
        split = _copy_norm(graph.graph, group)
        apply_scale(split, choice.scale)
        done.append(Equalized(str(split.producers[0].name), choice.exponent, choice.spread))
    return (Model.from_ir(graph, model.history) if done else model), done


def _shared_norm(node: ir.Node, integer: set[ir.Node]) -> ChannelGroup | None:
    """Return a LayerNormalization with the products that read it; None for one that nothing else reads."""
    if node.op_type != "LayerNormalization" or not is_standard(node):
        return None
    output = node.outputs[0]
    try:
        axis, channels = PRODUCERS[node.op_type](node)
        uses = [use.node for use in output.uses() if use.idx == 0 and use.node in integer]
        consumers = [user for user in dict.fromkeys(uses) if CONSUMERS[user.op_type](user) == (axis, channels)]
    except NotScalableError:
        return None
    if not consumers or (len(consumers) == len(output.uses()) and not output.is_graph_output()):
        return None
    return ChannelGroup(axis, channels, [output], [node], [], consumers)


def _copy_norm(graph: ir.Graph, group: ChannelGroup) -> ChannelGroup:
    """Let the consumers of a group read a copy of its LayerNormalization; return the group of the copy."""
    node, output = group.producers[0], group.values[0]
    value = ir.Value(name=f"{output.name}_smoothed", type=output.type, shape=output.shape)
    copy = ir.Node(
        node.domain,
        node.op_type,
        node.inputs,
        list(node.attributes.values()),
        outputs=[value],
        name=f"{node.name}_smoothed",
    )
    graph.insert_after(node, copy)
    for consumer in group.consumers:
        consumer.replace_input_with(0, value)
    return ChannelGroup(group.axis, group.channels, [value], [copy], [], group.consumers)
