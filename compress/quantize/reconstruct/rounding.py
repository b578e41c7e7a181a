"""Weights whose rounding, up or down, is what is learned."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from compress.quantize.qat.quantizers import WeightQuantizer
from compress.quantize.qat.sites import WeightSite
from compress.torchnet.fake_quantize import spread

_STRETCH = 1.1, -0.1
"""The sigmoid is stretched to here and cut to [0, 1], so that it gets to its ends."""
_MARGIN = 0.01
"""Of a start: not quite an end, where there would be no gradient."""


class RoundedWeight(WeightQuantizer):
    """A weight between the integers below and above it; in the end it is one of the two.

    Scales stay, and so do weights that are integers already: zeros that pruning made. Codes start as they are stored,
    since what they are learned from is rounded to them.

    Source: Nagel et al., Up or Down? Adaptive Rounding for Post-Training Quantization (2020), section 3.3.
    """

    def __init__(self, site: WeightSite, scale: Tensor, *, power_of_two: bool) -> None:
        super().__init__(site, scale, power_of_two=power_of_two)
        self.hard = False
        self.below: Tensor
        self.register_buffer("below", torch.zeros(()))
        self.exact: Tensor
        self.register_buffer("exact", torch.zeros((), dtype=torch.bool))
        self.rounding = nn.Parameter(torch.zeros(()))

    def learned_from(self, weight: Tensor) -> Tensor:
        """Take a weight [O, …] as the start."""
        with torch.no_grad():
            steps = (weight / spread(self.scale(), weight, self.axis)).clamp(self.low, self.high)
            self.below = steps.floor().clamp(max=self.high - 1)
            self.exact = steps == self.below
            above = (steps - self.below).clamp(_MARGIN, 1 - _MARGIN)
            high, low = _STRETCH
            self.rounding = nn.Parameter(-((high - low) / (above - low) - 1).log())
        return super().learned_from(weight)

    def forward(self, learned: Tensor) -> Tensor:  # noqa: ARG002 - the start; the rounding is what is learned
        """Return the weight [O, …] between its two integers, or, where ``hard``, at one of them."""
        up = self.up()
        codes = self.below + ((up > 0.5).to(up.dtype) if self.hard else up)
        weight: Tensor = codes * spread(self.scale(), codes, self.axis)
        return weight

    def up(self) -> Tensor:
        """Return how much of the way up each weight is, 0 to 1, [O, …]."""
        high, low = _STRETCH
        return (self.rounding.sigmoid() * (high - low) + low).clamp(0, 1).masked_fill(self.exact, 0.0)

    def indecision(self, sharpness: float) -> Tensor:
        """Return the mean over the weights of what is 1 half way and 0 at the ends, the steeper the less sharp."""
        return (1 - (2 * self.up() - 1).abs().pow(sharpness)).mean()

    def codes(self, learned: Tensor) -> NDArray[np.int8]:  # noqa: ARG002 - as above
        """Return the integers that are stored."""
        with torch.no_grad():
            found = self.below + (self.up() > 0.5).to(self.below.dtype)
            return found.to("cpu", torch.int8).numpy()
