"""Augmentation: small changes of images that keep what they show."""

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt
from torch import Tensor
from torch.nn import functional

from compress.errors import UsageError
from compress.model import TensorSpec

Augmentation = Callable[[dict[str, Tensor], Tensor], dict[str, Tensor]]
"""Takes inputs by name and random numbers [batch, 8] (float64, uniform in [0, 1)); returns changed inputs.

The numbers depend on seed, step and place in the batch alone, so several processes change a batch as one would.
"""

_NUMBERS = 8


class ImageAugmentation(BaseModel):
    """Changes of image inputs [batch, channels, height, width]; nothing is changed by default.

    Attributes:
        mirror: Mirror every second image from left to right, at random.
        shift: Most pixels by which an image is moved up, down, left and right.
        border: What comes in at the border: the outermost pixels again, or ``fill``.
        fill: Value after the transforms, for ``constant``.
        zoom: Largest share of height and width that is cut away at random sides; what is left is enlarged (bilinear).
        contrast: Largest share by which contrast is raised or lowered, and brightness moved in units of the image's
            standard deviation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mirror: bool = False
    shift: NonNegativeInt = 0
    border: Literal["edge", "constant"] = "edge"
    fill: float = 0.0
    zoom: Annotated[float, Field(ge=0, lt=1)] = 0.0
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @property
    def changes(self) -> bool:
        """Whether anything is changed at all."""
        return self.mirror or self.shift > 0 or self.zoom > 0 or self.contrast > 0

    def for_inputs(self, inputs: Sequence[TensorSpec]) -> Augmentation | None:
        """Return what changes the image inputs of a model, or None where the settings change nothing.

        Raises:
            UsageError: No input is an image.
        """
        images = tuple(spec.name for spec in inputs if is_image(spec))
        if not self.changes:
            return None
        if not images:
            shown = ", ".join(str(spec) for spec in inputs)
            raise UsageError(
                f"nothing to augment: no input is an image [batch, channels, height, width], but {shown}",
                hint="leave out `augment`, or change samples in a `python:` data source",
            )

        def augment(feed: dict[str, Tensor], numbers: Tensor) -> dict[str, Tensor]:
            return {name: self.apply(tensor, numbers) if name in images else tensor for name, tensor in feed.items()}

        return augment

    def apply(self, images: Tensor, numbers: Tensor) -> Tensor:
        """Return images [N, C, H, W] changed as numbers [N, 8] say."""
        numbers = numbers.to(images.device)
        if self.mirror:
            images = torch.where((numbers[:, 0] < 0.5)[:, None, None, None], images.flip(3), images)
        images = self._shift(images, numbers) if self.shift else images
        images = self._enlarge(images, numbers) if self.zoom else images
        return self._relight(images, numbers) if self.contrast else images

    def _shift(self, images: Tensor, numbers: Tensor) -> Tensor:
        most, (height, width) = self.shift, images.shape[2:]
        down, right = ((numbers[:, column] * (2 * most + 1)).long() for column in (1, 2))
        mode = "replicate" if self.border == "edge" else "constant"
        padded = functional.pad(images, (most,) * 4, mode=mode, value=None if mode == "replicate" else self.fill)
        rows = down[:, None] + torch.arange(height, device=images.device)
        columns = right[:, None] + torch.arange(width, device=images.device)
        sample = torch.arange(len(images), device=images.device)
        # Indices on both sides of a slice put the channels last: [N, H, W, C].
        return padded[sample[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)

    def _enlarge(self, images: Tensor, numbers: Tensor) -> Tensor:
        size = 1 - self.zoom * numbers[:, 3]
        # Coordinates run from -1 to 1 over the whole image.
        down, right = ((2 * numbers[:, column] - 1) * (1 - size) for column in (4, 5))
        none = torch.zeros_like(size)
        corners = torch.stack((size, none, right, none, size, down), 1).view(-1, 2, 3).to(images.dtype)
        grid = functional.affine_grid(corners, list(images.shape), align_corners=False)
        return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)

    def _relight(self, images: Tensor, numbers: Tensor) -> Tensor:
        changes = (self.contrast * (2 * numbers[:, 6:8] - 1)).to(images.dtype)[:, :, None, None, None]
        mean = images.mean((1, 2, 3), keepdim=True)
        spread = images.std((1, 2, 3), keepdim=True)
        return mean + (images - mean) * (1 + changes[:, 0]) + spread * changes[:, 1]


def is_image(spec: TensorSpec) -> bool:
    """Return whether an input is a batch of float images, channels first."""
    channels = spec.shape[1] if len(spec.shape) == 4 else None
    return spec.dtype.startswith(("float", "bfloat")) and channels in (1, 3, 4)


def draw_numbers(seed: int, step: int, batch: int, place: tuple[int, int]) -> Tensor:
    """Return a process's rows of the random numbers [batch, 8] of a step; ``place`` is its number and how many."""
    numbers = np.random.default_rng([seed, 2, step]).random((batch, _NUMBERS))
    return torch.from_numpy(numbers[place[0] :: place[1]].copy())
