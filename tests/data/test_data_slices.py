from pathlib import Path

import numpy as np
import pytest

from compress.data.recipes import SampleSettings, load_samples
from compress.data.samples import describe_samples
from compress.data.slices import read_slices
from compress.errors import DataError


def test_each_column_of_the_table_slices_the_samples(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("\ufeffcamera,light\nleft, day\nright,night\n", encoding="utf-8")
    assert read_slices(table, 2) == {"camera": ("left", "right"), "light": ("day", "night")}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"t\.csv: line 1 does not name every column"),
        ("a,,b\n", r"line 1 does not name every column"),
        ("a,a\n", r"line 1 does not name every column, each once"),
        ("a,b\n1,2\n1\n", r"t\.csv:3 has 1 cells for 2 columns"),
        ("a\n1\n", r"has 1 lines below the names, the source has 2 samples"),
        ("a\n1\n2\n3\n", r"has 3 lines below the names, the source has 2 samples"),
        ("a\n\xff\n", r"is not a CSV table"),
    ],
)
def test_a_bad_table_is_refused_with_its_place(tmp_path: Path, content: str, message: str) -> None:
    table = tmp_path / "t.csv"
    table.write_bytes(content.encode("latin-1"))
    with pytest.raises(DataError, match=message) as caught:
        read_slices(table, 2)
    assert caught.value.hint


def test_a_table_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read the slices"):
        read_slices(tmp_path / "absent.csv", 2)


def test_slices_follow_the_selection_of_samples(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(6, dtype=np.float32).reshape(6, 1))
    (tmp_path / "t.csv").write_text("part\n" + "\n".join("abcdef") + "\n")
    chosen = SampleSettings(source="x.npy", slices="t.csv", count=3, seed=1)
    samples = load_samples(chosen, base=tmp_path)
    kept = np.concatenate([batch.inputs["x"] for batch in samples.batches(2)])[:, 0]
    assert describe_samples(samples).slices == {"part": tuple("abcdef"[int(value)] for value in kept)}


def test_a_folder_of_images_takes_its_slices_from_its_own_table(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(DataError, match="`slices` means nothing for the source `photos`"):
        load_samples(SampleSettings(source="photos", slices="t.csv"), base=tmp_path)
