"""Learning the rounding of one block."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from compress.model import Model
from compress.quantize.dialects import Dialect
from compress.quantize.qat.student import QuantizedNet
from compress.quantize.reconstruct.rounding import RoundedWeight
from compress.quantize.reconstruct.settings import ReconstructSettings
from compress.quantize.reconstruct.values import Values

_SHARPNESS = 20.0, 2.0
"""Of the price of indecision: flat in the middle first, then steep."""
_BIAS_RATE = 0.05
"""Of the learning rate, in units of a bias's mean size."""
_HALF = 0.5


@dataclass(frozen=True, slots=True)
class Learned:
    """A block after learning.

    Attributes:
        piece: The block as a model.
        before: Error on held-out samples with the integers that there were: a share of the signal's power.
        after: With those that were learned.
        changed: Weights that were rounded the other way.
    """

    piece: Model
    before: float
    after: float
    changed: int


def learn_block(
    piece: Model,
    original: Model,
    dialect: Dialect,
    values: tuple[Values, Values],
    settings: ReconstructSettings,
    *,
    shared: frozenset[str],
    seed: int,
    deadline: float = math.inf,
) -> Learned:
    """Return a block whose rounding, and what the settings say beside it, was learned from what it should give.

    Args:
        piece: The block, with Q/DQ.
        original: The float model, with nodes of the same names.
        dialect: Of the block.
        values: To learn from, and to judge by.
        settings: Of the step.
        shared: Names of scales that others use too: they stay.
        seed: Of the order of the samples.
        deadline: When learning ends, done or not, by ``time.perf_counter``.
    """
    net = QuantizedNet(piece, original, dialect, weights=RoundedWeight)
    rounded = [module for module in net.quantizers if isinstance(module, RoundedWeight)]
    start = [module.up().detach() > _HALF for module in rounded]
    training, judged = values
    before = _judge(net, rounded, judged)
    optimizer = torch.optim.Adam(_groups(net, rounded, settings, shared))
    with torch.no_grad():
        scale = 1.0 / max(float(training.error(net(training.inputs))), torch.finfo(torch.float32).tiny)
    for step, rows in enumerate(_batches(len(training), settings, seed)):
        if time.perf_counter() > deadline:
            break
        batch = training.pick(rows)
        optimizer.zero_grad()
        loss = batch.error(net(batch.inputs)) * scale
        sharpness = _sharpness(step, settings)
        if sharpness is not None:
            price = torch.stack([module.indecision(sharpness) for module in rounded]).mean()
            loss = loss + settings.rounding_weight * price
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        net.project()
    after = _judge(net, rounded, judged)
    flips = [int(((module.up() > _HALF) != was).sum()) for module, was in zip(rounded, start, strict=True)]
    return Learned(net.write_back(piece), before, after, sum(flips))


def _judge(net: QuantizedNet, rounded: list[RoundedWeight], values: Values) -> float:
    """Return the error with every weight at one of its integers."""
    for module in rounded:
        module.hard = True
    with torch.no_grad():
        error = float(values.error(net(values.inputs)))
    for module in rounded:
        module.hard = False
    return error


def _groups(
    net: QuantizedNet, rounded: list[RoundedWeight], settings: ReconstructSettings, shared: frozenset[str]
) -> list[dict[str, object]]:
    """Return what learns, with its rates; everything else is frozen."""
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    rounding = [module.rounding for module in rounded]
    for parameter in rounding:
        parameter.requires_grad_()
    groups: list[dict[str, object]] = [{"params": rounding, "lr": settings.learning_rate}]
    if settings.learn_ranges:
        ranges: list[nn.Parameter] = []
        for site in net.sites.activations:
            if site.scale not in shared:
                ranges += net.range_of(site.scale)
        for parameter in ranges:
            parameter.requires_grad_()
        groups.append({"params": ranges, "lr": settings.range_learning_rate})
    if settings.learn_biases:
        for bias in net.parts().others:
            size = float(bias.detach().abs().mean())
            groups.append({"params": [bias.requires_grad_()], "lr": settings.learning_rate * _BIAS_RATE * size})
    return [group for group in groups if group["params"]]


def _batches(count: int, settings: ReconstructSettings, seed: int) -> Iterator[NDArray[np.int64]]:
    """Yield the rows of each step's batch, in another order each time that all were seen."""
    random = np.random.default_rng(seed)
    size = min(settings.batch, count)
    order = np.zeros(0, np.int64)
    for _ in range(settings.steps):
        if len(order) < size:
            order = random.permutation(count)
        yield order[:size]
        order = order[size:]


def _sharpness(step: int, settings: ReconstructSettings) -> float | None:
    """Return the exponent of a step, None in the warm-up."""
    share = step / settings.steps
    if share < settings.warmup_share:
        return None
    start, end = _SHARPNESS
    done = (share - settings.warmup_share) / (1 - settings.warmup_share)
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * done))
