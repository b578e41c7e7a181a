"""Transforms: small typed tables of a recipe, applied in order to one sample at a time."""

from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from compress.data.samples import Array
from compress.errors import DataError

Size = Annotated[int, Field(gt=0, le=65_536)]


class _Transform(BaseModel):
    """Settings of one transform.

    Attributes:
        input: The only input that is transformed; None transforms all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    input: str | None = None


class Scale(_Transform):
    """Divide: uint8 0…255 becomes float32 0…1."""

    kind: Literal["scale"]
    divisor: Annotated[float, Field(gt=0)] = 255.0

    def apply(self, array: Array, what: str) -> Array:  # noqa: ARG002
        """Return ``array / divisor`` in float32, of the same shape."""
        return array.astype(np.float32) / np.float32(self.divisor)


class Normalise(_Transform):
    """Subtract the mean and divide by the standard deviation, of each channel.

    Attributes:
        mean: One number a channel, or a single one for all.
        std: Likewise.
        axis: Where the channels are: -1 for [height, width, channels], 0 after ``layout`` to ``chw``.
    """

    kind: Literal["normalise", "normalize"]
    mean: Annotated[tuple[float, ...], Field(min_length=1)]
    std: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)]
    axis: int = -1

    def apply(self, array: Array, what: str) -> Array:
        """Return ``(array - mean) / std``, of the same shape and element type.

        Raises:
            DataError: Integers, or another number of channels.
        """
        if array.dtype.kind != "f":
            raise DataError(f"{what} is {array.dtype} before `normalise`", hint='Put { kind = "scale" } before it.')
        mean, std = (self._along_axis(values, array, what) for values in (self.mean, self.std))
        return np.asarray(np.divide(np.subtract(array, mean), std))

    def _along_axis(self, values: tuple[float, ...], array: Array, what: str) -> Array:
        vector = np.asarray(values, array.dtype)
        if len(values) == 1:
            return np.asarray(vector[0])
        if not -array.ndim <= self.axis < array.ndim or array.shape[self.axis] != len(values):
            raise DataError(
                f"{what} has shape {list(array.shape)}, `normalise` has {len(values)} channels at axis {self.axis}",
                hint="Set its `axis`: -1 while channels are last, 0 once they are first.",
            )
        shape = [1] * array.ndim
        shape[self.axis] = len(values)
        return vector.reshape(shape)


class Resize(_Transform):
    """Scale an image with an antialiasing filter.

    Attributes:
        shorter: Length of the shorter side in pixels; the other follows. Either this or ``size``.
        size: Height and width in pixels, whatever the proportions.
        method: The filter's kernel.
    """

    kind: Literal["resize"]
    shorter: Size | None = None
    size: tuple[Size, Size] | None = None
    method: Literal["bilinear", "bicubic"] = "bilinear"

    @model_validator(mode="after")
    def _one_of_both(self) -> "Resize":
        if (self.shorter is None) == (self.size is None):
            raise ValueError("`resize` needs either `shorter` or `size`")
        return self

    def apply(self, array: Array, what: str) -> Array:
        """Return an image [h, w] or [h, w, 1 or 3], uint8 or float32, in its new size.

        Raises:
            DataError: Not such an image.
        """
        _check_image(array, what, "resize")
        if array.dtype not in (np.uint8, np.float32):
            raise DataError(f"{what} is {array.dtype}, `resize` takes uint8 or float32", hint="Put a `cast` before it.")
        height, width = self._target(array.shape[0], array.shape[1])
        if array.dtype == np.uint8 and array.shape[2:] != (1,):
            return _resample(array, height, width, self.method)
        planes = [_resample(plane, height, width, self.method) for plane in _planes(array)]
        return planes[0] if array.ndim == 2 else np.stack(planes, axis=-1)

    def _target(self, height: int, width: int) -> tuple[int, int]:
        if self.size is not None:
            return self.size
        shorter = self.shorter or 0
        if height <= width:
            return shorter, int(shorter * width / height)
        return int(shorter * height / width), shorter


class CentreCrop(_Transform):
    """Keep the middle of an image; ``size`` is a side of a square, or height and width, in pixels."""

    kind: Literal["centre-crop", "center-crop"]
    size: Size | tuple[Size, Size]

    def apply(self, array: Array, what: str) -> Array:
        """Return the middle of an image [height, width] or [height, width, channels].

        Raises:
            DataError: Not an image, or smaller than the crop.
        """
        _check_image(array, what, "centre-crop")
        height, width = self.size if isinstance(self.size, tuple) else (self.size, self.size)
        if array.shape[0] < height or array.shape[1] < width:
            raise DataError(
                f"{what} has shape {list(array.shape)}, too small for a crop of {height} x {width}",
                hint='Put { kind = "resize", shorter = … } before it.',
            )
        top, left = round((array.shape[0] - height) / 2), round((array.shape[1] - width) / 2)
        return array[top : top + height, left : left + width]


class Layout(_Transform):
    """Move or add the channel axis: ``chw`` makes [h, w, c] [c, h, w], ``add-channel`` makes [h, w] [1, h, w]."""

    kind: Literal["layout"]
    to: Literal["chw", "add-channel"]

    def apply(self, array: Array, what: str) -> Array:
        """Return the same values in the other layout.

        Raises:
            DataError: ``chw`` of something without three axes.
        """
        if self.to == "add-channel":
            return array[np.newaxis]
        if array.ndim != 3:
            raise DataError(
                f"{what} has shape {list(array.shape)}, layout `chw` takes [height, width, channels]",
                hint='A grey image [height, width] takes { kind = "layout", to = "add-channel" }.',
            )
        return array.transpose(2, 0, 1)


class Convert(_Transform):
    """Change the colours: ``grey`` makes [h, w, 3] into [h, w, 1] (ITU-R BT.601 luma), ``rgb`` the reverse."""

    kind: Literal["convert"]
    to: Literal["grey", "gray", "rgb"]

    def apply(self, array: Array, what: str) -> Array:
        """Return a uint8 image in the other colours; one that has them already stays as it is.

        Raises:
            DataError: Not a uint8 image of one or three channels.
        """
        _check_image(array, what, "convert")
        if array.dtype != np.uint8:
            raise DataError(f"{what} is {array.dtype}, `convert` takes uint8", hint="Put it before `scale`.")
        pixels = array if array.ndim == 3 else array[..., np.newaxis]
        if self.to == "rgb":
            return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
        if pixels.shape[2] == 1:
            return pixels
        from PIL import Image

        return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).convert("L"))[..., np.newaxis]


class Cast(_Transform):
    """Change the element type; a value that an integer type cannot hold exactly is an error."""

    kind: Literal["cast"]
    to: Literal["float16", "float32", "float64", "uint8", "int8", "int32", "int64", "bool"]

    def apply(self, array: Array, what: str) -> Array:
        """Return the same values in the other element type.

        Raises:
            DataError: A value changes on its way to an integer or a boolean.
        """
        with np.errstate(all="ignore"):
            cast = array.astype(np.dtype(self.to))
        if cast.dtype.kind != "f" and not np.array_equal(cast, array):
            wrong = array[cast != array].ravel()[0]
            raise DataError(
                f"{what} holds {wrong}, which {self.to} cannot hold", hint="Choose a wider type for `cast`."
            )
        return cast


Transform = Annotated[
    Scale | Normalise | Resize | CentreCrop | Layout | Convert | Cast,
    Field(discriminator="kind"),
]


def apply_transforms(transforms: tuple[Transform, ...], name: str, array: Array, where: str) -> Array:
    """Return one input of one sample after all transforms that concern it, contiguous in memory.

    Raises:
        DataError: A transform does not take this shape or element type; the message names the sample.
    """
    for transform in transforms:
        if transform.input in (None, name):
            array = transform.apply(array, f"input `{name}` of {where}")
    return array if array.ndim == 0 else np.ascontiguousarray(array)


def _check_image(array: Array, what: str, kind: str) -> None:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3)) or 0 in array.shape:
        raise DataError(
            f"{what} has shape {list(array.shape)}, `{kind}` takes [height, width] or [height, width, 1 or 3]",
            hint="Put it before `layout`.",
        )


def _planes(array: Array) -> list[Array]:
    return [array] if array.ndim == 2 else [array[..., channel] for channel in range(array.shape[2])]


def _resample(pixels: Array, height: int, width: int, method: str) -> Array:
    from PIL import Image

    kernel = Image.Resampling.BICUBIC if method == "bicubic" else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize((width, height), kernel))
