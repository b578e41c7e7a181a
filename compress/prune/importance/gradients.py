"""Criteria that ask how much the distillation loss would rise: first-order Taylor and diagonal Fisher.

As long as student and teacher are the same graph, the loss against the teacher's outputs is at its minimum and its
gradient zero. What still tells units apart is its curvature. So the loss of a sample is taken against an output *drawn*
from the teacher's own distribution: a class from its shares, or its values with normal noise. Its mean over draws is
the distillation loss, the mean square of its gradients the Fisher information: the curvature of that loss.

Source: Martens, New insights and perspectives on the natural gradient method (2020), section 5; Kunstner, Balles and
Hennig, Limitations of the empirical Fisher approximation (2019), equation 4: labels are drawn from the model.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from compress.data.samples import SampleSet
from compress.data.subset import take
from compress.distill.choice import OutputKind, output_kind
from compress.distill.tensors import Tensors, to_tensors, widen
from compress.errors import ModelError
from compress.model import Model
from compress.prune.groups import Group, Slice
from compress.prune.importance.evidence import Evidence, Scores, SliceScores
from compress.prune.importance.nets import make_net
from compress.torchnet.graph_net import GraphNet
from compress.torchnet.threads import using_threads

Sums = Mapping[tuple[str, int], NDArray[np.float64]]
"""By initializer and axis: products of gradient and weight, summed over the other axes."""

_TINY = 1e-8
_FIRST = 32
"""Samples from which the spread of the outputs is known."""
_CPU = torch.device("cpu")


def taylor(evidence: Evidence) -> Mapping[str, tuple[SliceScores, ...]]:
    """Return E|Σ g·w| over the elements that a unit owns of each weight, the mean over samples.

    Source: Molchanov et al., Importance estimation for neural network pruning (2019), equation 8, with the absolute
    value of Molchanov et al., Pruning convolutional neural networks (2017), equation 8; g belongs to one sample.
    """
    return _judge(evidence, _first_order)


def fisher(evidence: Evidence) -> Mapping[str, tuple[SliceScores, ...]]:
    """Return ½·Σ E[g²]·w² over the elements that a unit owns of each weight: the rise of the loss in second order.

    Source: Theis et al., Faster gaze prediction with dense networks and Fisher pruning (2018), equation 7; LeCun,
    Denker and Solla, Optimal brain damage (1990), equation 5.
    """
    return _judge(evidence, _second_order)


@dataclass(frozen=True, slots=True)
class Drawn:
    """How an output of the teacher is drawn.

    Attributes:
        kind: Of class scores and shares a class is drawn; of other values, a normal number around each.
        spread: Standard deviation of the teacher's values over some samples: that of the noise.
    """

    kind: OutputKind
    spread: float


def draw_loss(outputs: Tensors, targets: Tensors, drawn: Mapping[str, Drawn], generator: torch.Generator) -> Tensor:
    """Return the loss of some samples against outputs drawn from the teacher's distribution, a scalar.

    Args:
        outputs: The student's by name, [batch, …].
        targets: The teacher's.
        drawn: How each output is drawn; those that are not named are left out.
        generator: Of the draws.
    """
    losses = [_output_loss(outputs[name], targets[name], how, generator) for name, how in drawn.items()]
    return torch.stack(losses).sum()


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a slice's weight is: its parameter, and which of its axes is cut."""

    group: str
    part: Slice
    parameter: str


_Order = Callable[[Tensor, int], Tensor]
"""Takes gradient times weight and the axis of the units; returns what is summed over samples, a vector along it."""


def _first_order(product: Tensor, axis: int) -> Tensor:
    return _sum_others(product, axis)


def _second_order(product: Tensor, axis: int) -> Tensor:
    return 0.5 * _sum_others(product.square(), axis)


def _judge(evidence: Evidence, order: _Order) -> dict[str, tuple[SliceScores, ...]]:
    with using_threads(evidence.threads):
        net, inner = make_net(evidence.model)
        teacher, _ = make_net(evidence.teacher)
        places = _find_places(evidence.groups, inner)
        parameters = {place.parameter: inner.get_parameter(place.parameter) for place in places}
        totals = [np.zeros(len(place.part.positions)) for place in places]
        count = 0
        for gradients in _sample_gradients(evidence, net, teacher, parameters):
            count += 1
            products = {name: (gradients[name] * parameters[name]).detach() for name in gradients}
            for index, place in enumerate(places):
                totals[index] += _by_unit(products[place.parameter], place.part, order)
    found: dict[str, list[SliceScores]] = {}
    for total, place in zip(totals, places, strict=True):
        found.setdefault(place.group, []).append(SliceScores(place.part, total / count))
    return {name: tuple(scores) for name, scores in found.items()}


def _by_unit(product: Tensor, part: Slice, order: _Order) -> Scores:
    positions = torch.from_numpy(np.ascontiguousarray(part.positions))
    return np.asarray(order(product, part.axis).double()[positions].sum(1).abs().numpy())


def _sum_others(product: Tensor, axis: int) -> Tensor:
    others = [other for other in range(product.ndim) if other != axis]
    return product.sum(others) if others else product


def _find_places(groups: tuple[Group, ...], net: GraphNet) -> list[_Place]:
    parameters = {initializer: key for key, initializer in net.initializer_names.items()}
    return [
        _Place(group.name, part, parameters[part.initializer])
        for group in groups
        for part in group.slices
        if part.initializer in parameters
    ]


def _sample_gradients(
    evidence: Evidence, net: nn.Module, teacher: nn.Module, parameters: Mapping[str, Tensor]
) -> Iterator[dict[str, Tensor]]:
    """Yield the gradients of each sample's loss, one sample at a time; a parameter that it does not reach has none."""
    samples = take(evidence.samples, min(evidence.count, len(evidence.samples)))
    drawn = _describe_outputs(evidence.teacher, teacher, samples)
    generator = torch.Generator().manual_seed(evidence.seed)
    for batch in samples.batches(1):
        feed = to_tensors(batch.inputs, _CPU)
        with torch.no_grad():
            targets = widen(teacher(feed))
        loss = draw_loss(widen(net(feed)), targets, drawn, generator)
        found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        yield {
            name: torch.zeros_like(parameters[name]) if gradient is None else gradient
            for name, gradient in zip(parameters, found, strict=True)
        }


@torch.no_grad()
def _describe_outputs(model: Model, teacher: nn.Module, samples: SampleSet) -> dict[str, Drawn]:
    """Return how each float output of the teacher is drawn.

    Raises:
        ModelError: It has none.
    """
    kinds = {spec.name: output_kind(model, spec) for spec in model.outputs if "float" in spec.dtype}
    if not kinds:
        shown = ", ".join(str(spec) for spec in model.outputs)
        raise ModelError(
            f"no output has a gradient: {shown}", hint='choose an importance that needs none: importance = "l2"'
        )
    first = widen(teacher(to_tensors(next(iter(samples.batches(_FIRST))).inputs, _CPU)))
    return {name: Drawn(kind, float(first[name].std(correction=0)) or 1.0) for name, kind in kinds.items()}


def _output_loss(found: Tensor, wanted: Tensor, drawn: Drawn, generator: torch.Generator) -> Tensor:
    if drawn.kind in ("logits", "shares"):
        shares = wanted.clamp(min=0) if drawn.kind == "shares" else wanted.softmax(-1)
        classes: Tensor = torch.multinomial(shares, 1, generator=generator)[:, 0]
        logs = found.clamp(min=_TINY).log() if drawn.kind == "shares" else functional.log_softmax(found, -1)
        return functional.nll_loss(logs, classes, reduction="sum")
    values = wanted + drawn.spread * torch.randn(wanted.shape, generator=generator)
    error: Tensor = (found - values) / drawn.spread
    return 0.5 * error.square().sum()
