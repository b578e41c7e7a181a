"""What was measured of every sample and in every round, stored beside the report: ``measurements/<target>.npz``.

The report has the summary; this file has what the summary was made from, so that a report can be judged by another
policy, or shown sample by sample, without another run. It is a compressed NumPy archive without pickles; the report
holds its SHA-256. Arrays that make no sense for a run are absent:

==========================================  =========================  ================================================
array                                       shape and type             what
==========================================  =========================  ================================================
``baseline_score``, ``compressed_score``    [samples] float32          the metric of one sample (1 or 0 for a share)
``baseline_rows``, ``compressed_rows``      [samples, k] float32       what an aggregate metric is computed from
``label``                                   [samples] int32            true class
``baseline_prediction``, …                  [samples] int32            class with the highest output
``baseline_confidence``, …                  [samples] float32          probability of that class (softmax of logits)
``class_names``                             [classes] text             in the order of their numbers
``slice.<column>``                          [samples] text             what the samples can be told apart by
``picture.<sample>``                        [h, w] or [h, w, 3] uint8  the samples that a page shows, small
``baseline_seconds``, ``compressed_seconds``[rounds] float64           of one call; round i of both ran side by side
==========================================  =========================  ================================================
"""

import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from compress.errors import ConfigError
from compress.report.record import EngineFile
from compress.store import write_atomically

FOLDER: Final = "measurements"
_SLICE: Final = "slice."
_PICTURE: Final = "picture."
_MOST_PIXELS: Final = 1 << 16
_MOST_BYTES: Final = 1 << 32
"""Of all arrays together: what nobody measures would only fill the memory."""
_TYPES: Final[Mapping[str, tuple[type[np.generic], int]]] = {
    "baseline_score": (np.float32, 1),
    "compressed_score": (np.float32, 1),
    "baseline_rows": (np.float32, 2),
    "compressed_rows": (np.float32, 2),
    "label": (np.int32, 1),
    "baseline_prediction": (np.int32, 1),
    "compressed_prediction": (np.int32, 1),
    "baseline_confidence": (np.float32, 1),
    "compressed_confidence": (np.float32, 1),
    "class_names": (np.str_, 1),
    "baseline_seconds": (np.float64, 1),
    "compressed_seconds": (np.float64, 1),
}
_NOT_PER_SAMPLE: Final = frozenset({"class_names", "baseline_seconds", "compressed_seconds"})
_MOST_VALUES: Final = 200
_LONGEST_VALUE: Final = 80
"""Characters."""
_DAMAGED: Final = "the file is damaged: copy it again with its report, or run `compress run` again"

Floats32 = NDArray[np.float32]
Classes = NDArray[np.int32]
Text = NDArray[np.str_]
Pictures = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class RawMeasurements:
    """The arrays of the file (see above); None where there is none, ``slices`` by column, ``pictures`` by sample.

    Raises:
        ValueError: Arrays of samples, or of rounds, that are not of one length.
    """

    baseline_score: Floats32 | None = None
    compressed_score: Floats32 | None = None
    baseline_rows: Floats32 | None = None
    compressed_rows: Floats32 | None = None
    label: Classes | None = None
    baseline_prediction: Classes | None = None
    compressed_prediction: Classes | None = None
    baseline_confidence: Floats32 | None = None
    compressed_confidence: Floats32 | None = None
    class_names: Text | None = None
    baseline_seconds: NDArray[np.float64] | None = None
    compressed_seconds: NDArray[np.float64] | None = None
    slices: Mapping[str, Text] = field(default_factory=dict)
    pictures: Mapping[int, Pictures] = field(default_factory=dict)

    def __post_init__(self) -> None:
        arrays = list(_named_arrays(self))
        for rows in (
            {name: len(array) for name, array in arrays if _is_per_sample(name)},
            {name: len(array) for name, array in arrays if name.endswith("_seconds")},
        ):
            if len(set(rows.values())) > 1:
                raise ValueError(f"arrays of different length: {', '.join(f'{k} {v}' for k, v in rows.items())}")

    @property
    def samples(self) -> int:
        """The number of samples; 0 where nothing was kept of them."""
        return next((len(array) for name, array in _named_arrays(self) if _is_per_sample(name)), 0)

    @property
    def groupings(self) -> dict[str, Text]:
        """The columns that group the samples: up to 200 short values. One with more, or with texts, names samples."""
        return {
            column: values
            for column, values in self.slices.items()
            if max(map(len, values.tolist()), default=0) <= _LONGEST_VALUE and len(np.unique(values)) <= _MOST_VALUES
        }

    @property
    def empty(self) -> bool:
        """Whether there is nothing to store."""
        return next(_named_arrays(self), None) is None


def write_measurements(raw: RawMeasurements, path: Path, name: str) -> EngineFile:
    """Write the arrays as a compressed archive, whole or not at all; equal arrays give equal bytes.

    Args:
        raw: What to store.
        path: Where it is written now.
        name: Its path beside the report, for the report.

    Returns:
        What the report says of the file.
    """
    buffer = io.BytesIO()
    arrays: dict[str, Any] = dict(_named_arrays(raw))
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    data = buffer.getvalue()
    write_atomically(path, data)
    return EngineFile(path=name, sha256=sha256(data).hexdigest(), bytes=len(data))


def read_measurements(file: EngineFile, folder: Path) -> RawMeasurements:
    """Return the arrays of the file that a report names.

    Args:
        file: What the report says of it.
        folder: Where the report lies.

    Raises:
        ConfigError: The file is not there, outside the report's folder, cut short, changed since the report was
            written, or not such an archive; the message has its path.
    """
    path = folder / file.path
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(
            f"the report names the measurements {file.path}, which is outside its folder {folder}",
            hint="do not trust this report: `compress run` writes paths below the report only",
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"cannot read the measurements {path}: {error.strerror}",
            hint=f"copy the folder `{FOLDER}` together with report.json, or run `compress run` again",
        ) from error
    if len(data) < file.bytes:
        raise ConfigError(f"{path} is cut short: {len(data)} of {file.bytes} bytes", hint=_DAMAGED)
    digest = sha256(data).hexdigest()
    if digest != file.sha256:
        raise ConfigError(f"{path} has the SHA-256 {digest}, the report says {file.sha256}", hint=_DAMAGED)
    return _parse(data, path)


def _parse(data: bytes, path: Path) -> RawMeasurements:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > _MOST_BYTES:
            raise ConfigError(f"{path} holds {size} bytes, more than any run measures", hint="do not trust it")
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, KeyError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise ConfigError(f"{path} is not an archive of arrays: {error}", hint=_DAMAGED) from error
    slices, pictures = {}, {}
    for name, array in arrays.items():
        if name.startswith(_PICTURE):
            pictures[_read_place(name, array, path)] = array
            continue
        kind, rank = _TYPES.get(name, (np.str_, 1) if name.startswith(_SLICE) else (None, 0))
        if kind is None:
            continue  # a later version may store more
        if not np.issubdtype(array.dtype, kind) or array.ndim != rank:
            what = f"{array.dtype}{list(array.shape)}"
            raise ConfigError(f"{path}: array `{name}` is {what}, not {kind.__name__} of rank {rank}", hint=_DAMAGED)
        if array.dtype.kind == "f":
            _require_possible(name, array, path)
        if name.startswith(_SLICE):
            slices[name.removeprefix(_SLICE)] = array
    try:
        return RawMeasurements(**{name: arrays.get(name) for name in _TYPES}, slices=slices, pictures=pictures)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}", hint=_DAMAGED) from error


def _require_possible(name: str, array: NDArray[Any], path: Path) -> None:
    """Refuse numbers that no run can have measured."""
    wrong = ~np.isfinite(array)
    if name.endswith("_seconds"):
        wrong |= array <= 0
    elif name.endswith("_confidence"):
        wrong |= (array < 0) | (array > 1)
    if wrong.any():
        raise ConfigError(f"{path}: array `{name}` has the value {array[wrong][0]}", hint=_DAMAGED)


def _named_arrays(raw: RawMeasurements) -> Iterator[tuple[str, NDArray[Any]]]:
    for one in fields(raw):
        if one.name not in ("slices", "pictures") and (array := getattr(raw, one.name)) is not None:
            yield one.name, array
    for column, values in raw.slices.items():
        yield f"{_SLICE}{column}", values
    for place, picture in raw.pictures.items():
        yield f"{_PICTURE}{place}", picture


def _is_per_sample(name: str) -> bool:
    return name not in _NOT_PER_SAMPLE and not name.startswith(_PICTURE)


def _read_place(name: str, array: NDArray[Any], path: Path) -> int:
    """Return which sample a picture is of.

    Raises:
        ConfigError: It is no picture.
    """
    place = name.removeprefix(_PICTURE)
    shaped = array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)
    if not (place.isdecimal() and array.dtype == np.uint8 and shaped and 0 < array.size <= _MOST_PIXELS):
        what = f"{array.dtype}{list(array.shape)}"
        raise ConfigError(f"{path}: array `{name}` is {what}, not a small picture of a sample", hint=_DAMAGED)
    return int(place)
