"""The array sources: .npz, .npy and idx."""

import gzip
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sample_reading import read_all

from compress.data.samples import Array
from compress.data.sources import Source
from compress.data.sources.idx import IdxSource
from compress.data.sources.npy import NpySource
from compress.data.sources.npz import NpzSource
from compress.errors import DataError

WriteIdx = Callable[..., Path]
Pixels = NDArray[np.uint8]
LABELS = np.array([3, 1, 4, 1, 5, 9])


def test_npz_gives_each_array_by_name_and_finds_the_labels(tmp_path: Path, pixels: Pixels) -> None:
    np.savez(tmp_path / "a.npz", image=pixels, mask=pixels[:, 0] > 7, labels=LABELS)
    source = NpzSource(tmp_path / "a.npz", None)
    samples = read_all(source)
    assert source.labelled
    assert len(source) == 6
    assert set(samples[2].inputs) == {"image", "mask"}
    np.testing.assert_array_equal(samples[2].inputs["image"], pixels[2])
    assert [int(str(sample.label)) for sample in samples] == LABELS.tolist()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_reads_picked_samples_compressed_or_not(save: Callable[..., None], tmp_path: Path, pixels: Pixels) -> None:
    save(tmp_path / "a.npz", x=pixels.astype(">i4"))
    samples = read_all(NpzSource(tmp_path / "a.npz", None), [1, 4, 5])
    found = np.stack([sample.inputs["x"] for sample in samples])
    np.testing.assert_array_equal(found, pixels[[1, 4, 5]])
    assert found.dtype == np.dtype("int32")
    assert samples[0].label is None


def test_npz_labels_can_have_any_name(tmp_path: Path, pixels: Pixels) -> None:
    np.savez(tmp_path / "a.npz", x=pixels, target=LABELS, y=LABELS + 1)
    source = NpzSource(tmp_path / "a.npz", "target")
    assert set(read_all(source)[0].inputs) == {"x", "y"}
    with pytest.raises(DataError, match="no array `tarjet`") as caught:
        NpzSource(tmp_path / "a.npz", "tarjet")
    assert caught.value.hint == "It holds x, target, y."


def test_npz_with_arrays_of_different_length_names_them(tmp_path: Path, pixels: Pixels) -> None:
    np.savez(tmp_path / "a.npz", x=pixels, labels=LABELS[:4])
    with pytest.raises(DataError, match=r"different numbers of samples \(x: 6, labels: 4\)"):
        NpzSource(tmp_path / "a.npz", None)


def test_npz_without_inputs_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", y=LABELS)
    with pytest.raises(DataError, match="holds no input array"):
        NpzSource(tmp_path / "a.npz", None)


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.array([{"a": 1}], dtype=object))
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataError, match="pickled Python objects"):
        NpzSource(tmp_path / "a.npz", None)
    with pytest.raises(DataError, match="pickled Python objects"):
        NpySource(tmp_path / "a.npy", None, "x")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array(["a", "b"]), "element type <U1"),
        (np.array([1 + 2j]), "element type complex128"),
        (np.zeros(2, [("a", "f4")]), "element type"),
        (np.float32(3), "a single number"),
        (np.asfortranarray(np.ones((3, 2))), "Fortran order"),
    ],
)
def test_arrays_that_are_no_samples_are_refused(array: Array, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(DataError, match=message):
        NpySource(tmp_path / "a.npy", None, "x")


def test_npy_reads_by_offset_with_labels_beside(tmp_path: Path, pixels: Pixels) -> None:
    np.save(tmp_path / "x.npy", pixels)
    np.save(tmp_path / "l.npy", LABELS)
    source = NpySource(tmp_path / "x.npy", tmp_path / "l.npy", "x")
    samples = read_all(source, [0, 5])
    np.testing.assert_array_equal(samples[1].inputs["x"], pixels[5])
    assert samples[1].label == 9
    assert samples[1].where == "sample 5 of x.npy"
    np.save(tmp_path / "l.npy", LABELS[:5])
    with pytest.raises(DataError, match=r"l.npy has 5 labels, x.npy has 6 samples"):
        NpySource(tmp_path / "x.npy", tmp_path / "l.npy", "x")


def test_a_truncated_npy_is_found_before_anything_is_read(tmp_path: Path, pixels: Pixels) -> None:
    path = tmp_path / "x.npy"
    np.save(path, pixels)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(DataError, match=r"truncated: its header says \[6, 5, 4\] uint8, but 7 bytes are missing"):
        NpySource(path, None, "x")


def test_a_file_that_shrinks_between_passes_is_named(tmp_path: Path, pixels: Pixels) -> None:
    path = tmp_path / "x.npy"
    np.save(path, pixels)
    source = NpySource(path, None, "x")
    short = path.read_bytes()[:-1]
    path.write_bytes(short + b"\0")
    samples = source.read([5])
    path.write_bytes(short)
    with pytest.raises(DataError, match="1 bytes are missing"):
        next(samples)


def test_a_header_that_lies_about_its_shape_is_refused(tmp_path: Path, pixels: Pixels) -> None:
    path = tmp_path / "x.npy"
    np.save(path, pixels)
    good = path.read_bytes()
    path.write_bytes(good.replace(b"(6, 5, 4)", b"(6, 5,-4)"))
    with pytest.raises(DataError, match=r"impossible shape \[6, 5, -4\]"):
        NpySource(path, None, "x")
    path.write_bytes(good.replace(b"(6, 5, 4)", b"(6, 5, a)"))
    with pytest.raises(DataError, match="is not a NumPy array file"):
        NpySource(path, None, "x")


def test_a_damaged_npz_is_named(tmp_path: Path, pixels: Pixels) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.arange(4000).reshape(4, 1000))
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    path.write_bytes(bytes(raw))
    with pytest.raises(DataError, match=r"a.npz is damaged"):
        read_all(NpzSource(path, None))
    path.write_bytes(bytes(raw[: len(raw) // 2]))
    with pytest.raises(DataError, match=r"not a readable .npz archive"):
        NpzSource(path, None)


def test_an_npz_member_that_is_no_array_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", b"hello")
    with pytest.raises(DataError, match=r"array `x` of a\.npz is not a NumPy array file"):
        NpzSource(tmp_path / "a.npz", None)


@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_idx_reads_images_and_labels_plain_or_gzipped(name: str, write_idx: WriteIdx, pixels: Pixels) -> None:
    images, labels = write_idx(name, pixels), write_idx("labels.gz", LABELS.astype(np.uint8))
    source = IdxSource(images, labels, "image")
    samples = read_all(source, [0, 3, 5])
    np.testing.assert_array_equal(np.stack([sample.inputs["image"] for sample in samples]), pixels[[0, 3, 5]])
    assert [int(str(sample.label)) for sample in samples] == [3, 1, 9]
    assert (len(source), source.labelled) == (6, True)


@pytest.mark.parametrize(
    ("code", "dtype"), [(9, "int8"), (0xB, "int16"), (0xC, "int32"), (0xD, "float32"), (0xE, "float64")]
)
def test_idx_knows_every_element_type(code: int, dtype: str, write_idx: WriteIdx) -> None:
    values = np.arange(-3, 3).astype(dtype)
    samples = read_all(IdxSource(write_idx("v", values, code), None, "v"))
    found = np.stack([sample.inputs["v"] for sample in samples])
    np.testing.assert_array_equal(found, values)
    assert found.dtype == np.dtype(dtype)


def test_damaged_idx_files_are_named(write_idx: WriteIdx, pixels: Pixels, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="its header promises 136 bytes, it has 131"):
        IdxSource(write_idx("short", pixels, cut=5), None, "x")
    with pytest.raises(DataError, match="it ends in sample 5 of 6"):
        read_all(IdxSource(write_idx("short.gz", pixels, cut=5), None, "x"))
    with pytest.raises(DataError, match="it ends in its header"):
        IdxSource(write_idx("header.gz", pixels, cut=122), None, "x")
    (tmp_path / "text.gz").write_bytes(gzip.compress(b"hello"))
    with pytest.raises(DataError, match="is not an idx file"):
        IdxSource(tmp_path / "text.gz", None, "x")
    whole = write_idx("cut.gz", np.random.default_rng(0).integers(0, 256, (6, 50, 40)).astype(np.uint8))
    whole.write_bytes(whole.read_bytes()[:-4000])
    with pytest.raises(DataError, match=r"cut.gz is truncated or damaged"):
        read_all(IdxSource(whole, None, "x"))
    whole.write_bytes(whole.read_bytes()[:9])
    with pytest.raises(DataError, match=r"cut.gz is truncated or damaged"):
        IdxSource(whole, None, "x")


def test_idx_labels_of_another_split_are_refused(write_idx: WriteIdx, pixels: Pixels) -> None:
    with pytest.raises(DataError, match="l has 4 labels, x has 6 samples"):
        IdxSource(write_idx("x", pixels), write_idx("l", LABELS[:4].astype(np.uint8)), "x")


def test_equal_samples_have_equal_fingerprints_whatever_the_format(
    tmp_path: Path, write_idx: WriteIdx, pixels: Pixels
) -> None:
    np.save(tmp_path / "x.npy", pixels)
    np.savez_compressed(tmp_path / "x.npz", anything=pixels, labels=LABELS)
    np.save(tmp_path / "l.npy", LABELS.astype(np.int32))
    sources: list[Source] = [
        NpySource(tmp_path / "x.npy", tmp_path / "l.npy", "x"),
        NpzSource(tmp_path / "x.npz", None),
        IdxSource(write_idx("x.gz", pixels), write_idx("l.gz", LABELS.astype(np.uint8)), "image"),
    ]
    prints = [tuple(source.fingerprints(range(6))) for source in sources]
    assert prints[0] == prints[1] == prints[2]
    assert len({print_.sample for print_ in prints[0]}) == 6
    assert all(len(print_.sample) == 16 for print_ in prints[0])


def test_memory_does_not_grow_with_the_number_of_samples(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        values = np.zeros((count, 1000), np.float32)
        np.save(tmp_path / "x.npy", values)
        np.savez_compressed(tmp_path / "x.npz", x=values)
        del values
        tracemalloc.start()
        for source in (NpySource(tmp_path / "x.npy", None, "x"), NpzSource(tmp_path / "x.npz", None)):
            assert sum(1 for _ in source.read(range(count))) == count
        _, high = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return high

    small, large = peak(200), peak(2000)
    # 200 samples are 0.8 MB, 2,000 are 8 MB.
    assert large < small + 200_000
