"""The image folder source: PNG, JPEG, BMP and WebP files, decoded to uint8 [height, width, 3]."""

import csv
import hashlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compress.data.samples import Array, Description
from compress.data.slices import join_columns
from compress.data.sources import DIGEST_BYTES, Fingerprint, Sample, digest_label
from compress.errors import DataError, suggest

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp"})
MAX_PIXELS = 64_000_000
Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class _Entry:
    path: Path
    label: int | None
    class_name: str | None = None
    slices: tuple[tuple[str, str], ...] = ()


class FolderSource:
    """Images of a folder: with one sub-folder a class, or flat and without labels, or as a table lists them.

    Classes are the names of the sub-folders in order, or the numbers that ``classes`` gives them. Files count by
    content: hidden files and files that neither are nor claim to be an image are left out. Images are turned as their
    EXIF orientation says, what is transparent shows ``background``. Memory is one image.

    Args:
        path: The folder.
        table: A CSV file with the columns ``file`` (below the folder) and, optionally, ``label`` (a class number or
            name); then only these files count, in this order. Its other columns slice the samples.
        classes: Class numbers by name; empty numbers the sub-folders by name.
        background: Red, green and blue (0 to 255).
        input_name: What the input is called.

    Raises:
        DataError: No image, images beside class folders, an unknown class, or a bad table.
    """

    def __init__(
        self, path: Path, table: Path | None, classes: Mapping[str, int], background: Colour, input_name: str
    ) -> None:
        self._path, self._background, self._input = path, background, input_name
        self._entries = _list_table(path, table, classes) if table else _list_folder(path, classes)
        if not self._entries:
            raise DataError(
                f"no image in {table or path}",
                hint="PNG, JPEG, BMP and WebP files count, one sub-folder a class or flat.",
            )
        if len({entry.label is None for entry in self._entries}) > 1:
            raise DataError(f"only some lines of {table} have a label", hint="Give a label to every file or to none.")

    @property
    def labelled(self) -> bool:
        """Whether the images are sorted into classes."""
        return self._entries[0].label is not None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._entries)

    def read(self, indices: Sequence[int]) -> Iterator[Sample]:
        """Yield the images at ascending indices."""
        for index in indices:
            entry = self._entries[index]
            pixels = decode_image(entry.path, self._background)
            yield Sample({self._input: pixels}, _label(entry), entry.path.relative_to(self._path).as_posix())

    def describe(self) -> Description:
        """Return the names of the sub-folders as classes, where their numbers leave no gap, and the slices.

        Slices are the table's columns beside file and label, or the folders below those of the classes. A column that
        is the same everywhere, or another text for most samples (a note, a date), tells no groups apart.
        """
        named = {entry.label: entry.class_name for entry in self._entries if entry.label is not None}
        known = all(named.values()) and sorted(named) == list(range(len(named)))
        names = tuple(named[number] or "" for number in sorted(named)) if known else ()
        columns = [column for column, _ in self._entries[0].slices]
        rows = [[text for _, text in entry.slices] for entry in self._entries]
        found = join_columns(columns, rows)
        most = max(2, len(rows) // 2)
        return Description(names, {name: texts for name, texts in found.items() if 1 < len(set(texts)) <= most})

    def fingerprints(self, indices: Sequence[int]) -> Iterator[Fingerprint]:
        """Yield the digests of the image files at ascending indices, without decoding them."""
        for index in indices:
            entry = self._entries[index]
            content = hashlib.blake2b(entry.path.read_bytes(), digest_size=DIGEST_BYTES).digest()
            yield Fingerprint(content, digest_label(_label(entry)))


def decode_image(path: Path, background: Colour) -> Array:
    """Return an image file as uint8 [height, width, 3].

    Raises:
        DataError: Not one of ``FORMATS``, damaged, more than ``MAX_PIXELS``, or more than 8 bits a channel.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # Pillow only warns about the first stage of a decompression bomb, and about damaged EXIF data.
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS) as image:
                _check_size(image, path)
                return np.asarray(_flatten(ImageOps.exif_transpose(image), background))
    except UnidentifiedImageError as error:
        raise DataError(f"{path} is not a PNG, JPEG, BMP or WebP image", hint="Remove or convert the file.") from error
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be decoded: {error}", hint="Remove the file or save it again.") from error


def _check_size(image: "Image", path: Path) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise DataError(
            f"{path} has {image.width} x {image.height} pixels, more than {MAX_PIXELS:,}", hint="Scale it down first."
        )
    if image.mode.startswith(("I", "F")):
        raise DataError(
            f"{path} has more than 8 bits a channel (mode {image.mode})",
            hint="Convert it to 8 bits, or give the arrays as .npy.",
        )


def _flatten(image: "Image", background: Colour) -> "Image":
    from PIL import Image

    if image.has_transparency_data:
        layers = image.convert("RGBA")
        canvas = Image.new("RGBA", image.size, (*background, 255))
        return Image.alpha_composite(canvas, layers).convert("RGB")
    return image.convert("RGB")


def _label(entry: _Entry) -> Array | None:
    return None if entry.label is None else np.asarray(entry.label, np.int64)


def _list_folder(folder: Path, classes: Mapping[str, int]) -> tuple[_Entry, ...]:
    flat = [path for path in sorted(folder.iterdir()) if _is_image(path)]
    by_class = {
        child: images
        for child in sorted(folder.iterdir())
        if child.is_dir() and not child.name.startswith(".") and (images := _images_below(child))
    }
    if flat and by_class:
        raise DataError(
            f"{folder} has images beside folders of images ({flat[0].name}, {next(iter(by_class)).name}/)",
            hint="One sub-folder a class, or a flat folder without labels.",
        )
    numbers = classes or {child.name: number for number, child in enumerate(by_class)}
    for child in by_class:
        if child.name not in numbers:
            raise DataError(f"{child} is not one of the recipe's classes", hint=suggest(child.name, numbers))
    labelled = (
        _Entry(path, numbers[child.name], child.name, (("folder", path.parent.relative_to(child).as_posix()),))
        for child, images in by_class.items()
        for path in images
    )
    return (*(_Entry(path, None) for path in flat), *labelled)


def _images_below(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if _is_image(path)]


def _is_image(path: Path) -> bool:
    if path.name.startswith(".") or not path.is_file():
        return False
    if path.suffix.lower() in SUFFIXES:
        return True
    with path.open("rb") as file:
        start = file.read(12)
    return start.startswith((b"\x89PNG\r\n", b"\xff\xd8\xff", b"BM")) or (start[:4] + start[8:]) == b"RIFFWEBP"


def _list_table(folder: Path, table: Path, classes: Mapping[str, int]) -> tuple[_Entry, ...]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} is not a CSV table: {error}", hint="UTF-8, first line `file,label`.") from error
    if rows and "file" not in rows[0]:
        raise DataError(f"{table} has no column `file`", hint="The first line names the columns: `file,label`.")
    return tuple(_row_entry(folder, table, line, row, classes) for line, row in enumerate(rows, start=2))


def _row_entry(folder: Path, table: Path, line: int, row: Mapping[str, str], classes: Mapping[str, int]) -> _Entry:
    path = folder / (row["file"] or "")
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(
            f"{table}:{line}: `{row['file']}` lies outside of {folder}", hint="Name files below the folder."
        )
    if not path.is_file():
        raise DataError(f"{table}:{line}: no file `{row['file']}` in {folder}", hint="Paths start at the image folder.")
    slices = tuple((name, value or "") for name, value in row.items() if name and name not in ("file", "label"))
    text = (row.get("label") or "").strip()
    if not text:
        return _Entry(path, None, slices=slices)
    if not text.isdecimal() and text not in classes:
        raise DataError(f"{table}:{line}: `{text}` is not a class", hint=suggest(text, classes))
    return _Entry(path, classes[text] if text in classes else int(text), slices=slices)
