"""Recipes: names, files, checks, selection, and the sample set they give."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sample_reading import join

from compress.data import recipes
from compress.data.recipes import SampleSettings, list_recipes, load_samples, read_recipe
from compress.data.samples import SampleSet
from compress.errors import CompressError, ConfigError, DataError

WriteIdx = Callable[..., Path]
WriteImage = Callable[..., Path]
Pixels = NDArray[np.uint8]


def save_npz(folder: Path, count: int = 20, name: str = "a.npz") -> Path:
    x = np.arange(count, dtype=np.float32)[:, None] + [0, 0.5]
    np.savez(folder / name, x=x.astype(np.float32), y=np.arange(count) % 3)
    return folder / name


def open_set(folder: Path, **keys: object) -> SampleSet:
    return load_samples(SampleSettings.model_validate({"source": "a.npz", **keys}), base=folder)


def first_values(samples: SampleSet) -> list[float]:
    return [float(value) for value in join(samples).inputs["x"][:, 0]]


def test_a_bare_path_is_enough(tmp_path: Path) -> None:
    save_npz(tmp_path)
    samples = load_samples("a.npz", base=tmp_path)
    assert (samples.name, len(samples), samples.labelled, samples.synthetic) == ("a.npz", 20, True, False)
    assert [str(spec) for spec in samples.specs] == ["x: float32[batch, 2]"]


def test_an_image_folder_is_a_bare_path_too(tmp_path: Path, write_image: WriteImage) -> None:
    write_image("photos/cat/a.png")
    samples = load_samples("photos", base=tmp_path)
    assert [str(spec) for spec in samples.specs] == ["image: uint8[batch, 3, 4, 3]"]


@settings(deadline=None, max_examples=20, derandomize=True)
@given(st.integers(1, 30), st.integers(1, 30))
def test_batches_hold_the_same_samples_whatever_their_size(
    tmp_path_factory: pytest.TempPathFactory, size: int, count: int
) -> None:
    folder = tmp_path_factory.mktemp("set")
    save_npz(folder, count)
    samples = load_samples("a.npz", base=folder)
    batches = list(samples.batches(size))
    assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    assert sum(len(batch) for batch in batches) == count
    assert first_values(samples) == list(range(count))


def test_a_random_selection_is_seeded_and_keeps_the_order(tmp_path: Path) -> None:
    save_npz(tmp_path)
    chosen = first_values(open_set(tmp_path, count=7, seed=3))
    assert chosen == first_values(open_set(tmp_path, count=7, seed=3))
    assert chosen == sorted(set(chosen))
    assert len(chosen) == 7
    assert chosen != first_values(open_set(tmp_path, count=7, seed=4))
    assert first_values(open_set(tmp_path, count=7, select="first")) == list(range(7))


def test_asking_for_more_than_there_is_says_how_many_there_are(tmp_path: Path) -> None:
    save_npz(tmp_path)
    with pytest.raises(DataError, match=r"`a.npz` has 20 samples, the recipe asks for 21"):
        open_set(tmp_path, count=21)


def test_the_digest_covers_samples_labels_selection_and_transforms(tmp_path: Path) -> None:
    save_npz(tmp_path)
    same = open_set(tmp_path).digest()
    assert same == open_set(tmp_path, name="other").digest()
    assert len(same) == 64
    others = [
        open_set(tmp_path, transform=[{"kind": "cast", "to": "float64"}]),
        open_set(tmp_path, count=19),
        open_set(tmp_path, labels="x"),
    ]
    save_npz(tmp_path, 21)
    assert len({same, *(other.digest() for other in others), open_set(tmp_path).digest()}) == 5


def test_sample_digests_are_of_the_source_not_of_the_transforms(tmp_path: Path) -> None:
    save_npz(tmp_path)
    plain = open_set(tmp_path)
    cast = open_set(tmp_path, transform=[{"kind": "cast", "to": "float64"}])
    assert plain.sample_digests() == cast.sample_digests()
    assert len(plain.sample_digests()) == 20


def test_a_recipe_file_is_relative_to_itself(tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    save_npz(tmp_path / "recipes")
    (tmp_path / "recipes" / "mine.toml").write_text('source = "a.npz"\ncount = 3\n')
    samples = load_samples("recipes/mine.toml", base=tmp_path)
    assert (samples.name, len(samples)) == ("mine", 3)


def test_a_shipped_recipe_goes_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop").mkdir()
    save_npz(tmp_path / "shop")
    (tmp_path / "shop" / "test.toml").write_text('source = "a.npz"\n')
    monkeypatch.setattr(recipes, "data_folder", lambda _: tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert list_recipes() == ("shop/test",)
    assert load_samples("shop/test", base=elsewhere).name == "shop/test"
    with pytest.raises(DataError, match=r"`shop/tset` is neither a path") as caught:
        load_samples("shop/tset", base=elsewhere)
    assert caught.value.hint == "Did you mean `shop/test`? Known: shop/test."
    with pytest.raises(DataError, match=r"no recipe .*missing.toml"):
        load_samples("missing.toml", base=elsewhere)
    with pytest.raises(DataError, match="`` is neither"):
        load_samples("", base=elsewhere)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("source = 'a'\ncuont = 3\n", "cuont"),
        ("source = 'a'\ncount = 0\n", "count"),
        ("count = 3\n", "source"),
        ("source = 'a'\ntransform = [{ kind = 'rotate' }]\n", "rotate"),
        ("source = 'a'\nsha256 = { a = 'abc' }\n", "sha256"),
        ("source = \n", "not valid TOML"),
    ],
)
def test_a_wrong_recipe_names_file_and_key(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        read_recipe(path)
    assert "r.toml" in caught.value.message
    assert message in caught.value.message


def test_checksums_of_files_and_folders_are_checked(tmp_path: Path, write_image: WriteImage) -> None:
    path = save_npz(tmp_path)
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(open_set(tmp_path, sha256={"a.npz": right})) == 20
    with pytest.raises(DataError, match=rf"`a.npz` has the SHA-256 {right}, the recipe says 000"):
        open_set(tmp_path, sha256={"a.npz": "0" * 64})
    image = write_image("p/q/b.png")
    line = f"{hashlib.sha256(image.read_bytes()).hexdigest()}  q/b.png\n"
    right = hashlib.sha256(line.encode()).hexdigest()
    assert len(open_set(tmp_path, source="p", sha256={"p": right})) == 1
    write_image("p/q/c.png")
    with pytest.raises(DataError, match="`p` has the SHA-256"):
        open_set(tmp_path, source="p", sha256={"p": right})


def test_the_cache_folder_serves_fetched_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop").mkdir()
    save_npz(tmp_path / "shop")
    monkeypatch.setenv("COMPRESS_CACHE", str(tmp_path))
    assert len(load_samples("cache:shop/a.npz", base=Path("/"))) == 20
    with pytest.raises(DataError, match=r"`cache:toys/b.npz` is not in the cache folder") as caught:
        load_samples("cache:toys/b.npz", base=Path("/"))
    assert "python examples/fetch.py toys" in str(caught.value.hint)
    with pytest.raises(DataError, match="leaves the cache folder"):
        load_samples("cache:../x", base=Path("/"))


def test_the_cache_folder_is_below_home_by_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from compress.data.cache import cache_folder

    monkeypatch.delenv("COMPRESS_CACHE", raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert cache_folder() == tmp_path / ".cache" / "edge-compress"


def test_idx_and_npy_take_their_labels_from_a_second_file(tmp_path: Path, write_idx: WriteIdx, pixels: Pixels) -> None:
    write_idx("i.gz", pixels)
    write_idx("l.gz", np.arange(6, dtype=np.uint8))
    np.save(tmp_path / "i.npy", pixels)
    np.save(tmp_path / "l.npy", np.arange(6))
    sets = [open_set(tmp_path, source="i.gz", labels="l.gz"), open_set(tmp_path, source="i.npy", labels="l.npy")]
    batches = [join(samples) for samples in sets]
    np.testing.assert_array_equal(batches[0].inputs["image"], batches[1].inputs["x"])
    assert all(batch.labels is not None and batch.labels.tolist() == [0, 1, 2, 3, 4, 5] for batch in batches)
    assert sets[0].digest() == sets[1].digest()
    with pytest.raises(DataError, match=r"no file or folder `m.npy`"):
        open_set(tmp_path, source="i.npy", labels="m.npy")


@pytest.mark.parametrize(
    ("source", "key", "value"),
    [("a.npz", "files", "t.csv"), ("a.npz", "input", "z"), ("p", "labels", "l.npy"), ("a.npy", "files", "t.csv")],
)
def test_a_setting_that_the_source_does_not_know_is_refused(
    source: str, key: str, value: str, tmp_path: Path, write_image: WriteImage
) -> None:
    save_npz(tmp_path)
    np.save(tmp_path / "a.npy", np.zeros(3))
    write_image("p/a.png")
    with pytest.raises(DataError, match=f"`{key}` means nothing for the source `{source}`"):
        open_set(tmp_path, source=source, **{key: value})


def test_an_unknown_format_lists_the_known(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"\xff\xd8\xff\xe0 a photo renamed")
    with pytest.raises(DataError, match=r"`a.npz` is of no known format") as caught:
        open_set(tmp_path)
    assert "idx (plain or gzipped)" in str(caught.value.hint)


def test_an_empty_set_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((0, 3)))
    with pytest.raises(DataError, match=r"`a.npz` has no samples"):
        open_set(tmp_path)


def test_labels_beyond_the_classes_are_named(tmp_path: Path) -> None:
    save_npz(tmp_path)
    assert len(join(open_set(tmp_path, classes=["a", "b", "c"]))) == 20
    with pytest.raises(DataError, match=r"sample 2 of a.npz of `a.npz` has the label 2, but the set has 2 classes"):
        join(open_set(tmp_path, classes=["a", "b"]))
    assert len(join(open_set(tmp_path, classes={"a": 0, "z": 2}))) == 20


def test_samples_of_different_shapes_are_named(tmp_path: Path, write_image: WriteImage) -> None:
    write_image("p/a.png", size=(4, 3))
    write_image("p/b.png", size=(3, 4))
    samples = open_set(tmp_path, source="p")
    message = r"input `image` of b.png of `p` is uint8\[4, 3, 3\], the first sample is uint8\[3, 4, 3\]"
    with pytest.raises(DataError, match=message) as caught:
        join(samples)
    assert "resize" in str(caught.value.hint)
    same = open_set(tmp_path, source="p", transform=[{"kind": "resize", "size": [2, 2]}])
    assert join(same).inputs["image"].shape == (2, 2, 2, 3)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ("[({'x': [1.]}, 0), ({'z': [1.]}, 0)]", "has the inputs ['z'], the first sample has ['x']"),
        ("[({'x': [1.]}, 0), ({'x': [1.], 'z': [1.]}, 0)]", "has the inputs ['x', 'z']"),
        ("[([1.], 0), ([1.], None)]", "item 1 of python:uneven:items of `python:uneven:items` has no label"),
        ("[([1.], 0), ([1.], [1, 2])]", "have several shapes: [2], []"),
        ("[([1.], 0), ([1], 0)]", "is int64[1], the first sample is float64[1]"),
    ],
)
def test_uneven_samples_are_named(items: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    (tmp_path / "uneven.py").write_text(f"def items():\n    return {items}\n")
    with pytest.raises(DataError) as caught:
        join(load_samples("python:uneven:items", base=tmp_path))
    assert message in caught.value.message


def test_every_error_has_the_exit_code_for_bad_input(tmp_path: Path) -> None:
    with pytest.raises(CompressError) as caught:
        load_samples("nothing", base=tmp_path)
    assert caught.value.exit_code == 2


def test_settings_survive_json(tmp_path: Path) -> None:
    keys = {"source": "a", "transform": [{"kind": "centre-crop", "size": [3, 4]}], "classes": {"a": 1}}
    one = SampleSettings.model_validate(keys)
    assert SampleSettings.model_validate(json.loads(one.model_dump_json())) == one
