"""The settings of a sample set: what a recipe in ``calibration/`` or a table in ``compress.toml`` may say."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from compress.data.transforms import Transform

Channel = Annotated[int, Field(ge=0, le=255)]


class SampleSettings(BaseModel):
    """Where samples lie, which of them count, and what is done to each.

    Attributes:
        source: A file or folder (relative to the file that says so), ``cache:NAME/…`` (fetched by
            ``examples/fetch.py``), or ``python:package.module:callable``.
        labels: For ``.npy`` and idx the file of labels, for ``.npz`` the array's name (``labels``, ``label`` and ``y``
            are found without).
        files: For an image folder: a CSV table ``file,label`` of the images that count; further columns are slices.
        slices: For other sources: a CSV table with a line for each sample of the source, every column a way to slice.
        input: Name of the only input, where the source does not name it.
        name: What reports call the set; by default the recipe's or the file's name.
        classes: Class names in the order of their numbers, or a table of numbers by name.
        background: Red, green and blue behind transparent pixels.
        transform: What is done to each sample, in order.
        count: How many samples to take; all by default.
        select: ``random`` takes ``count`` of them by ``seed``, ``first`` the first. Either way they stay in the
            source's order, so that a compressed file is read once from start to end.
        seed: Of the selection.
        sha256: SHA-256 (hexadecimal) by file, checked before anything is read. Of a folder: that of its sorted lines
            ``<sha256>  <path below the folder>``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Annotated[str, Field(min_length=1)]
    labels: str | None = None
    files: str | None = None
    slices: str | None = None
    input: str | None = None
    name: str | None = None
    description: str = ""
    license: str = ""
    attribution: str = ""
    classes: tuple[str, ...] | dict[str, Annotated[int, Field(ge=0)]] = ()
    background: tuple[Channel, Channel, Channel] = (255, 255, 255)
    transform: tuple[Transform, ...] = ()
    count: Annotated[int, Field(gt=0)] | None = None
    select: Literal["random", "first"] = "random"
    seed: Annotated[int, Field(ge=0)] = 0
    sha256: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]] = {}

    def class_numbers(self) -> dict[str, int]:
        """Return class numbers by class name; empty where the settings name no class."""
        if isinstance(self.classes, dict):
            return self.classes
        return {name: number for number, name in enumerate(self.classes)}

    def class_names(self) -> tuple[str, ...]:
        """Return the class names in the order of their numbers; empty where they are not known, or leave gaps."""
        numbers = self.class_numbers()
        named = {number: name for name, number in numbers.items()}
        return tuple(named[number] for number in sorted(named)) if sorted(named) == list(range(len(numbers))) else ()
