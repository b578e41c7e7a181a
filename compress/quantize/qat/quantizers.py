"""Fake quantization with scales that are learned: one module for each kind of site."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from compress.quantize.qat.sites import ActivationSite, WeightSite
from compress.torchnet.fake_quantize import fake_quantize, spread

_BIAS_CODES = 2.0**30


class LearnedScale(nn.Module):
    """A positive scale, [] or [channels]: start · exp(log_scale).

    A step of the optimizer then changes every scale by the same share, whatever its size, and none becomes negative.

    Source: Jain et al., Trained Quantization Thresholds (2020), section 3.2: thresholds in the log domain; the gradient
    of the scale itself is LSQ's (Esser et al., 2020, equation 3).
    """

    def __init__(self, start: Tensor, *, power_of_two: bool, ceiling: float = math.inf) -> None:
        """Make the scale.

        Args:
            start: Where it starts; float32, positive.
            power_of_two: Whether only powers of two are used; what is learned is rounded to the nearest.
            ceiling: Largest scale that is used.
        """
        super().__init__()
        self.start: Tensor
        self.floor: Tensor
        self.register_buffer("start", start.clone())
        self.register_buffer("floor", torch.zeros_like(start))
        self.log_scale = nn.Parameter(torch.zeros_like(start))
        self._power_of_two = power_of_two
        self._ceiling = 2.0 ** math.floor(math.log2(ceiling)) if power_of_two and math.isfinite(ceiling) else ceiling

    def forward(self) -> Tensor:
        """Return the scale that is used: within floor and ceiling exactly, a power of two where one is wanted."""
        scale = self.start * self.log_scale.exp()
        used = scale.detach()
        if self._power_of_two:
            used = torch.exp2(used.log2().round())
        used = torch.maximum(used, self.floor).clamp(max=self._ceiling)
        # Straight through: at an end the gradient still says whether to come back.
        return used + (scale - scale.detach()) if scale.requires_grad else used

    def project(self, floor: Tensor | None = None) -> None:
        """Bring what is learned back within floor and ceiling, so that it does not wander off where nothing changes.

        Args:
            floor: A new floor, of the scale's shape; powers of two are rounded up to it.
        """
        with torch.no_grad():
            if floor is not None:
                self.floor.copy_(torch.exp2(floor.log2().ceil()) if self._power_of_two else floor)
            self.log_scale.clamp_((self.floor / self.start).log(), (self._ceiling / self.start).log())


class ActivationQuantizer(nn.Module):
    """Fake quantization of one activation, with one scale and one zero point."""

    def __init__(self, site: ActivationSite, scale: float, zero_point: int, *, power_of_two: bool) -> None:
        super().__init__()
        self.scale = LearnedScale(torch.tensor(scale), power_of_two=power_of_two, ceiling=site.largest_scale)
        self.low, self.high = site.low, site.high
        self.start_zero = zero_point
        # In shares of the grid, so that one learning rate suits scales and zero points.
        self.shift = nn.Parameter(torch.zeros(())) if site.moves_zero else None

    def forward(self, x: Tensor) -> Tensor:
        """Return x [...] as Q and DQ let it through."""
        return fake_quantize(x, self.scale(), self._zero(), self.low, self.high)

    def zero_point(self) -> int:
        """Return the zero point that is used, within the grid: zero is exact."""
        return round(float(self._zero().detach()))

    def project(self) -> None:
        """Bring scale and zero point back to where they are allowed."""
        self.scale.project()
        if self.shift is not None:
            steps = self.high - self.low
            with torch.no_grad():
                self.shift.clamp_((self.low - self.start_zero) / steps, (self.high - self.start_zero) / steps)

    def _zero(self) -> Tensor:
        if self.shift is None:
            return self.scale.start.new_tensor(float(self.start_zero))
        return self.start_zero + (self.high - self.low) * self.shift


class WeightQuantizer(nn.Module):
    """Fake quantization of one weight, with one scale for each channel.

    What is learned are weights in units of about one integer step of their channel: weights folded with a normalisation
    differ a thousandfold between channels, and an optimizer moves all by the same number. The unit is a power of two,
    so nothing is lost on the way there and back.
    """

    def __init__(self, site: WeightSite, scale: Tensor, *, power_of_two: bool) -> None:
        super().__init__()
        self.scale = LearnedScale(scale, power_of_two=power_of_two)
        self.low, self.high, self.axis = site.low, site.high, site.axis
        self.unit: Tensor
        self.register_buffer("unit", torch.exp2(scale.log2().round()))

    def forward(self, learned: Tensor) -> Tensor:
        """Return the weight [O, …] as its integers stand for it, from what is learned [O, …]."""
        weight = learned * spread(self.unit, learned, self.axis)
        return fake_quantize(weight, self.scale(), None, self.low, self.high, self.axis)

    def learned_from(self, weight: Tensor) -> Tensor:
        """Return what is learned [O, …] for a weight [O, …]."""
        return weight / spread(self.unit, weight, self.axis)

    def codes(self, learned: Tensor) -> NDArray[np.int8]:
        """Return the integers that are stored."""
        with torch.no_grad():
            weight = learned * spread(self.unit, learned, self.axis)
            steps = torch.div(weight, spread(self.scale(), weight, self.axis)).round_()
            return steps.clamp_(self.low, self.high).to("cpu", torch.int8).numpy()


class BiasQuantizer:
    """Rounds a bias to what int32 codes stand for; their scale is that of the input times those of the weight."""

    def __init__(self, inputs: ActivationQuantizer, weight: WeightQuantizer) -> None:
        self._inputs, self._weight = inputs, weight

    def __call__(self, bias: Tensor) -> Tensor:
        """Return the bias [O], rounded; the gradient goes straight through to it and not to the scales."""
        scale = self.scale()
        rounded: Tensor = (bias.detach() / scale).round_().mul_(scale)
        return rounded + (bias - bias.detach()) if bias.requires_grad else rounded

    def scale(self) -> Tensor:
        """Return the scale of the codes [O]."""
        scale: Tensor = self._weight.scale() * self._inputs.scale()
        return scale.detach()

    def project(self, bias: Tensor) -> None:
        """Raise the scales of the weight where the codes of the bias would not leave room in an int32 sum."""
        floor = bias.detach().abs() / (self._inputs.scale().detach() * _BIAS_CODES)
        self._weight.scale.project(floor)
