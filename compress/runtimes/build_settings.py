"""What a project says about building engines, apart from the device."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from compress.model import JsonValue
from compress.store import hash_file

Size = Annotated[int, Field(gt=0)]


class SizeRange(BaseModel):
    """The sizes of a dynamic axis: the smallest, the one that kernels are chosen for, the largest.

    Written as a table, as a list in that order, or as one number for an axis that always has that size.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    min: Size
    opt: Size
    max: Size

    @model_validator(mode="before")
    @classmethod
    def _read_short_forms(cls, value: object) -> object:
        if isinstance(value, int) and not isinstance(value, bool):
            return {"min": value, "opt": value, "max": value}
        if isinstance(value, Sequence) and not isinstance(value, str):
            if len(value) != 3:
                raise ValueError("a list must have three sizes: smallest, usual, largest")
            return dict(zip(("min", "opt", "max"), value, strict=True))
        return value

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if not self.min <= self.opt <= self.max:
            raise ValueError("the sizes must grow: smallest, usual, largest")
        return self


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """How engines are built.

    Attributes:
        ranges: Sizes of dynamic axes by the axes' names.
        timing_cache: The timing cache that TensorRT starts from; None: it starts from nothing and keeps nothing.
        dla: Whether layers that the deep learning accelerator takes run there, the others on the GPU.
    """

    ranges: Mapping[str, SizeRange] = field(default_factory=dict)
    timing_cache: Path | None = None
    dla: bool = False

    def describe(self) -> JsonValue:
        """Return the settings as a table; files by their digests."""
        ranges: dict[str, JsonValue] = {name: dict(sizes) for name, sizes in sorted(self.ranges.items())}
        cache: dict[str, JsonValue] = {}
        if self.timing_cache is not None:
            cache["timing_cache"] = {"name": self.timing_cache.name, "sha256": hash_file(self.timing_cache)}
        return {"ranges": ranges, "dla": self.dla, **cache}


DEFAULT = BuildSettings()
