"""Criteria that look at what the next layers read: mean activation, and the error they make without a unit."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor
from torch.nn import functional

from compress.data.subset import take
from compress.distill.tensors import Tensors, to_tensors
from compress.model import Model
from compress.prune.groups import Slice
from compress.prune.importance.evidence import Evidence, Scores, SliceScores
from compress.prune.importance.nets import make_net
from compress.torchnet.threads import using_threads

_BATCH = 4
"""Samples at a time: what every layer reads and gives is held meanwhile."""


@dataclass(frozen=True, slots=True)
class Reader:
    """A layer that reads a group's units: ``y = x · W`` with the units on one axis of W.

    Attributes:
        part: The slice of W.
        node: Conv, Gemm or MatMul.
        x: Name of what it reads, [batch, channels, …] or […, channels].
        y: Name of what it gives.
    """

    part: Slice
    node: ir.Node
    x: str
    y: str


def activation(evidence: Evidence) -> Mapping[str, tuple[SliceScores, ...]]:
    """Return E|x| over samples and places, of the values that each unit hands to each layer that reads it.

    Source: Hu et al., Network trimming (2016), section 3.1, with the mean absolute value in place of the share of
    zeros, as in Molchanov et al., Pruning convolutional neural networks (2017), section 2.2 (mean activation).
    """
    return _judge(evidence, _magnitude)


def reconstruction(evidence: Evidence) -> Mapping[str, tuple[SliceScores, ...]]:
    """Return E‖x_u·W_u‖² / E‖y‖²: the share of each reading layer's output that is lost without the unit.

    It is computed from the second moments of what the layer reads: E‖x_u·W_u‖² = Σ W_uᵀ E[x_u x_uᵀ] W_u.

    Source: Luo, Wu and Lin, ThiNet (2017), equation 6, for one unit at a time; He, Zhang and Sun, Channel pruning
    (2017), equation 1.
    """
    return _judge(evidence, _lost)


def find_readers(model: Model, parts: tuple[Slice, ...]) -> tuple[Reader, ...]:
    """Return the layers that read a group's units one by one along the axis that is cut.

    They are Conv of one group in one or two dimensions, Gemm and MatMul with a matrix of weights on the right.
    """
    found = []
    for part in parts:
        weight = model.graph.graph.initializers.get(part.initializer)
        uses = weight.uses() if weight is not None and part.role == "input" else ()
        for node, index in uses:
            x = node.inputs[0]
            if index == 1 and x is not None and not x.is_initializer() and _reads_along(node, part, weight):
                found.append(Reader(part, node, str(x.name), str(node.outputs[0].name)))
    return tuple(found)


_Measure = Callable[[Reader, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Takes a reader, x, W and y; returns a sum for each unit, and what the sums over all samples are divided by."""


def _judge(evidence: Evidence, measure: _Measure) -> dict[str, tuple[SliceScores, ...]]:
    readers = {group.name: find_readers(evidence.model, group.slices) for group in evidence.groups}
    every = [reader for found in readers.values() for reader in found]
    weights = {reader.part.initializer: _weight(evidence.model, reader) for reader in every}
    sums = [(np.zeros(len(reader.part.positions)), 0.0) for reader in every]
    for values in _observe(evidence, {name for reader in every for name in (reader.x, reader.y)}):
        for index, reader in enumerate(every):
            found = measure(reader, values[reader.x], weights[reader.part.initializer], values[reader.y])
            sums[index] = sums[index][0] + found[0].numpy(), sums[index][1] + float(found[1])
    scores: dict[str, list[SliceScores]] = {name: [] for name, found in readers.items() if found}
    owners = [name for name, found in readers.items() for _ in found]
    for owner, reader, (total, divisor) in zip(owners, every, sums, strict=True):
        scores[owner].append(SliceScores(reader.part, _divide(total, divisor)))
    return {name: tuple(each) for name, each in scores.items()}


def _divide(total: Scores, divisor: float) -> Scores:
    return total / divisor if divisor > 0 else np.zeros_like(total)


def _observe(evidence: Evidence, names: set[str]) -> Iterator[Tensors]:
    with using_threads(evidence.threads), torch.no_grad():
        inputs = set(evidence.model.graph.graph.inputs)
        given = {str(value.name) for value in inputs}
        net, _ = make_net(evidence.model, sorted(names - given))
        for batch in take(evidence.samples, min(evidence.count, len(evidence.samples))).batches(_BATCH):
            feed = to_tensors(batch.inputs, torch.device("cpu"))
            yield {**feed, **net(feed)}


def _magnitude(reader: Reader, x: Tensor, weight: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    channels = x.double().abs().movedim(_channel_axis(reader.node, x), 0).flatten(1)
    found = channels.sum(1)[_positions(reader)].mean(1)
    return found, torch.tensor(float(channels.shape[1]))


def _lost(reader: Reader, x: Tensor, weight: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    kernel, positions = _kernel(reader, weight), _positions(reader)
    rows = kernel[positions].flatten(1, 2).double()
    total = rows.new_zeros(len(rows))
    for sample in torch.split(x, 1):
        # A unit's elements of x: its places on the axis, each with all places of the kernel around it.
        owned = _patches(reader.node, sample, weight)[:, positions].flatten(2)
        moments = torch.einsum("nui,nuj->uij", owned, owned).double()
        total += torch.einsum("uim,uij,ujm->u", rows, moments, rows)
    return total, y.double().square().sum()


def _patches(node: ir.Node, x: Tensor, weight: Tensor) -> Tensor:
    """Return what each output place reads: [places, channels, kernel]."""
    if node.op_type != "Conv":
        return x.flatten(0, -2)[:, :, None] if x.ndim > 1 else x[None, :, None]
    size = list(weight.shape[2:])
    flat = len(size) == 1
    begin, end = _pads(node, x, size)
    padded = functional.pad(x, [pad for pair in zip(begin[::-1], end[::-1], strict=True) for pad in pair])
    strides, dilations = _numbers(node, "strides", size), _numbers(node, "dilations", size)
    if flat:
        padded, size, strides, dilations = padded[:, :, None], [1, *size], [1, *strides], [1, *dilations]
    columns = functional.unfold(padded, tuple(size), dilation=tuple(dilations), stride=tuple(strides))
    return columns.reshape(len(x), x.shape[1], -1, columns.shape[-1]).permute(0, 3, 1, 2).flatten(0, 1)


def _kernel(reader: Reader, weight: Tensor) -> Tensor:
    """Return the weight as [channels, kernel, outputs]."""
    if reader.node.op_type == "Conv":
        return weight.flatten(2).permute(1, 2, 0)
    return weight.movedim(reader.part.axis, 0)[:, None, :]


def _pads(node: ir.Node, x: Tensor, size: list[int]) -> tuple[list[int], list[int]]:
    mode = node.attributes["auto_pad"].as_string() if "auto_pad" in node.attributes else "NOTSET"
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        strides, dilations = _numbers(node, "strides", size), _numbers(node, "dilations", size)
        wide = zip(x.shape[2:], size, strides, dilations, strict=True)
        totals = [max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0) for n, k, s, d in wide]
        small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
        return (small, large) if mode == "SAME_UPPER" else (large, small)
    given = list(node.attributes["pads"].as_ints()) if "pads" in node.attributes else []
    pads = given if given and mode == "NOTSET" else [0] * (2 * len(size))
    return pads[: len(size)], pads[len(size) :]


def _numbers(node: ir.Node, name: str, size: list[int]) -> list[int]:
    return list(node.attributes[name].as_ints()) if name in node.attributes else [1] * len(size)


def _channel_axis(node: ir.Node, x: Tensor) -> int:
    return 1 if node.op_type == "Conv" else x.ndim - 1


def _positions(reader: Reader) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(reader.part.positions))


def _weight(model: Model, reader: Reader) -> Tensor:
    constant = model.graph.graph.initializers[reader.part.initializer].const_value
    assert constant is not None  # noqa: S101 - an initializer of weights has a value
    return torch.from_numpy(constant.numpy().astype(np.float32))


def _reads_along(node: ir.Node, part: Slice, weight: ir.Value | None) -> bool:
    rank = len(weight.shape) if weight is not None and weight.shape is not None else 0
    if node.op_type == "Conv":
        group = node.attributes["group"].as_int() if "group" in node.attributes else 1
        return part.axis == 1 and group == 1 and rank in (3, 4)
    if node.op_type == "Gemm":
        flipped = [node.attributes[name].as_int() if name in node.attributes else 0 for name in ("transA", "transB")]
        return not flipped[0] and part.axis == (1 if flipped[1] else 0)
    return node.op_type == "MatMul" and rank == 2 and part.axis == 0
