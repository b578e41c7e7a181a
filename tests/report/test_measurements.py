from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from compress.errors import ConfigError
from compress.report.measurements import RawMeasurements, read_measurements, write_measurements
from compress.report.record import EngineFile


def raw() -> RawMeasurements:
    return RawMeasurements(
        baseline_score=np.array([1, 0, 1], np.float32),
        compressed_score=np.array([1, 1, 0], np.float32),
        label=np.array([0, 1, 2], np.int32),
        class_names=np.array(["boot", "coat"]),
        baseline_seconds=np.array([0.001, 0.002]),
        compressed_seconds=np.array([0.003, 0.004]),
        slices={"camera": np.array(["left", "right", "left"])},
        pictures={2: np.arange(64, dtype=np.uint8).reshape(8, 8), 0: np.full((4, 6, 3), 9, np.uint8)},
    )


@pytest.fixture
def stored(tmp_path: Path) -> EngineFile:
    (tmp_path / "measurements").mkdir()
    return write_measurements(raw(), tmp_path / "measurements" / "cpu.npz", "measurements/cpu.npz")


def test_what_was_written_is_read(stored: EngineFile, tmp_path: Path) -> None:
    found = read_measurements(stored, tmp_path)
    assert found.samples == 3
    assert found.baseline_score is not None
    assert found.baseline_score.dtype == np.float32
    assert found.baseline_score.tolist() == [1, 0, 1]
    assert found.class_names is not None
    assert found.class_names.tolist() == ["boot", "coat"]
    assert found.slices["camera"].tolist() == ["left", "right", "left"]
    assert {place: picture.shape for place, picture in found.pictures.items()} == {2: (8, 8), 0: (4, 6, 3)}
    assert found.pictures[2].ravel().tolist() == list(range(64))
    assert found.compressed_seconds is not None
    assert found.compressed_seconds.tolist() == [0.003, 0.004]
    assert found.baseline_prediction is None


def test_equal_measurements_give_equal_bytes(tmp_path: Path) -> None:
    files = [write_measurements(raw(), tmp_path / name, "same.npz") for name in ("a.npz", "b.npz")]
    assert files[0] == files[1]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (Path.unlink, r"cannot read the measurements .*cpu\.npz: No such file"),
        (cut, r"cpu\.npz is cut short: \d+ of \d+ bytes"),
        (flip, r"cpu\.npz has the SHA-256 [0-9a-f]{64}, the report says [0-9a-f]{64}"),
    ],
)
def test_harm_to_the_file_is_said(
    stored: EngineFile, tmp_path: Path, harm: Callable[[Path], None], message: str
) -> None:
    harm(tmp_path / stored.path)
    with pytest.raises(ConfigError, match=message) as caught:
        read_measurements(stored, tmp_path)
    assert caught.value.hint
    assert "compress run" in caught.value.hint


def test_a_path_outside_the_reports_folder_is_refused(stored: EngineFile, tmp_path: Path) -> None:
    outside = stored.model_copy(update={"path": "../cpu.npz"})
    with pytest.raises(ConfigError, match=r"names the measurements \.\./cpu\.npz, which is outside"):
        read_measurements(outside, tmp_path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"label": np.zeros(3)}, r"array `label` is float64\[3\], not int32 of rank 1"),
        ({"slice.a": np.zeros((2, 2))}, r"array `slice.a` is float64\[2, 2\], not str_ of rank 1"),
        (
            {"label": np.zeros(3, np.int32), "baseline_score": np.zeros(2, np.float32)},
            "arrays of different length: baseline_score 2, label 3",
        ),
        ({"baseline_seconds": np.array([0.001, 0.0])}, r"array `baseline_seconds` has the value 0\.0"),
        ({"compressed_score": np.array([1, np.nan], np.float32)}, "array `compressed_score` has the value nan"),
        ({"baseline_confidence": np.array([1.5], np.float32)}, r"array `baseline_confidence` has the value 1\.5"),
        ({"label": np.array([None])}, "is not an archive of arrays: Object arrays cannot be loaded"),
    ],
)
def test_an_archive_of_something_else_is_refused(
    tmp_path: Path, arrays: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]], message: str
) -> None:
    path = tmp_path / "cpu.npz"
    np.savez_compressed(path, allow_pickle=True, **arrays)
    with pytest.raises(ConfigError, match=message):
        read_measurements(described(path), tmp_path)


def test_an_archive_that_would_fill_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cpu.npz"
    np.savez_compressed(path, label=np.zeros(10_000, np.int32))
    monkeypatch.setattr("compress.report.measurements._MOST_BYTES", 10_000)
    with pytest.raises(ConfigError, match=r"holds 40128 bytes, more than any run measures"):
        read_measurements(described(path), tmp_path)


def test_text_is_no_archive_and_unknown_arrays_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "cpu.npz"
    path.write_text("not an archive")
    with pytest.raises(ConfigError, match="is not an archive of arrays"):
        read_measurements(described(path), tmp_path)
    np.savez_compressed(path, later=np.zeros(2))
    assert read_measurements(described(path), tmp_path).empty


def described(path: Path) -> EngineFile:
    from compress.store import hash_file

    return EngineFile(path=path.name, sha256=hash_file(path), bytes=path.stat().st_size)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("picture.1", np.zeros((8, 8), np.float32)),
        ("picture.1", np.zeros((8, 8, 4), np.uint8)),
        ("picture.1", np.zeros((1000, 1000), np.uint8)),
        ("picture.1", np.zeros((0, 8), np.uint8)),
        ("picture.x", np.zeros((8, 8), np.uint8)),
        ("picture.-1", np.zeros((8, 8), np.uint8)),
    ],
)
def test_what_is_no_small_picture_of_a_sample_is_refused(tmp_path: Path, name: str, array: NDArray[Any]) -> None:
    path = tmp_path / "cpu.npz"
    arrays: dict[str, Any] = {name: array}
    np.savez(path, **arrays)
    data = path.read_bytes()
    stated = EngineFile(path="cpu.npz", sha256=sha256(data).hexdigest(), bytes=len(data))
    with pytest.raises(ConfigError, match="not a small picture of a sample"):
        read_measurements(stated, tmp_path)
