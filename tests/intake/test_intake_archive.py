"""Zip archives from strangers."""

import zipfile
from pathlib import Path

import pytest

from compress.errors import ModelError
from compress.intake.archive import open_archive, read_names


def write_zip(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_the_common_folder_is_taken_off(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "z", {"model/data.pkl": b"1", "model/data/0": b"2"})
    assert read_names(path) == {"data.pkl", "data/0"}
    assert open_archive(path).read("data/0") == b"2"


def test_without_a_common_folder_names_stay(tmp_path: Path) -> None:
    assert read_names(write_zip(tmp_path / "z", {"version": b"1", "a/b": b"2"})) == {"version", "a/b"}


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/etc/passwd", "a\\..\\evil", "C:evil"])
def test_a_name_that_leaves_the_archive_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match="would land outside the archive"):
        open_archive(write_zip(tmp_path / "z", {name: b"x"}))


def test_a_member_twice_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z", "w") as archive:
        archive.writestr("a/b", b"1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a/b", b"2")
    with pytest.raises(ModelError, match="holds `a/b` twice"):
        open_archive(tmp_path / "z")


def test_a_zip_bomb_is_refused_before_it_unpacks(tmp_path: Path) -> None:
    zeros = bytes(90 * 1024**2)
    path = write_zip(tmp_path / "z", {"a/b": zeros}, zipfile.ZIP_DEFLATED)
    with pytest.raises(ModelError, match=r"would unpack to 94371840 bytes"):
        open_archive(path)


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "z", {"a/b": b"12345678"})
    content = bytearray(path.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="is encrypted"):
        open_archive(path)


def test_a_missing_or_damaged_member_is_named(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "z", {"a/b": b"0123456789"})
    archive = open_archive(path)
    with pytest.raises(ModelError, match=r"lacks `data\.pkl`"):
        archive.read("data.pkl")
    path.write_bytes(path.read_bytes().replace(b"0123456789", b"0123456780"))
    with pytest.raises(ModelError, match="is damaged"):
        archive.read("b")


def test_a_truncated_archive_is_called_so(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "z", {"a/b": b"0" * 1000})
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ModelError, match="cut short or damaged"):
        open_archive(path)
