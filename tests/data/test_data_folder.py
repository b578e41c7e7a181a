"""The image folder source."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sample_reading import read_all

from compress.data.sources import folder as folder_module
from compress.data.sources.folder import FolderSource, decode_image
from compress.errors import DataError

WriteImage = Callable[..., Path]
WHITE = (255, 255, 255)


def open_folder(path: Path, table: Path | None = None, classes: dict[str, int] | None = None) -> FolderSource:
    return FolderSource(path, table, classes or {}, WHITE, "image")


def test_sub_folders_are_classes_in_the_order_of_their_names(tmp_path: Path, write_image: WriteImage) -> None:
    for name in ("dog/b.png", "dog/a.png", "cat/z.jpg", "emu/deep/x.bmp"):
        write_image(name)
    samples = read_all(open_folder(tmp_path))
    assert [sample.where for sample in samples] == ["cat/z.jpg", "dog/a.png", "dog/b.png", "emu/deep/x.bmp"]
    assert [int(str(sample.label)) for sample in samples] == [0, 1, 1, 2]
    assert samples[1].inputs["image"].shape == (3, 4, 3)


def test_a_flat_folder_has_no_labels(tmp_path: Path, write_image: WriteImage) -> None:
    write_image("b.png", (0, 255, 0))
    write_image("a.webp")
    source = open_folder(tmp_path)
    assert not source.labelled
    assert [sample.where for sample in read_all(source)] == ["a.webp", "b.png"]
    assert read_all(source)[1].inputs["image"][0, 0].tolist() == [0, 255, 0]


def test_files_count_by_content(tmp_path: Path, write_image: WriteImage) -> None:
    write_image("photo.dat", kind="JPEG")
    write_image("anim.bin", kind="WEBP")
    write_image("pixels", kind="BMP")
    (tmp_path / "README.md").write_text("not an image")
    (tmp_path / ".hidden.png").write_bytes(b"x")
    assert [sample.where for sample in read_all(open_folder(tmp_path))] == ["anim.bin", "photo.dat", "pixels"]


def test_a_file_that_only_claims_to_be_an_image_is_named(tmp_path: Path, write_image: WriteImage) -> None:
    write_image("a.png")
    (tmp_path / "b.jpg").write_text("<html>404</html>")
    with pytest.raises(DataError, match=r"b.jpg is not a PNG, JPEG, BMP or WebP image"):
        read_all(open_folder(tmp_path))


def test_other_formats_are_not_even_tried(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png", format="TIFF")
    with pytest.raises(DataError, match=r"a.png is not a PNG"):
        read_all(open_folder(tmp_path))


def test_a_truncated_image_is_named(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    for kind in ("PNG", "JPEG"):
        buffer = io.BytesIO()
        Image.fromarray(noise).save(buffer, format=kind)
        (tmp_path / "cut").write_bytes(buffer.getvalue()[:2000])
        with pytest.raises(DataError, match="cut cannot be decoded"):
            decode_image(tmp_path / "cut", WHITE)


def test_a_decompression_bomb_is_refused(
    tmp_path: Path, write_image: WriteImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_image("big.png", size=(50, 40))
    monkeypatch.setattr(folder_module, "MAX_PIXELS", 1999)
    with pytest.raises(DataError, match=r"50 x 40 pixels, more than 1,999"):
        decode_image(path, WHITE)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 999)
    with pytest.raises(DataError, match=r"big.png cannot be decoded: Image size"):
        decode_image(path, WHITE)


def test_sixteen_bit_images_are_refused_rather_than_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.full((3, 3), 40_000, np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="more than 8 bits a channel"):
        decode_image(tmp_path / "a.png", WHITE)


def test_transparent_pixels_show_the_background(write_image: WriteImage) -> None:
    path = write_image("a.png", (255, 0, 0, 0))
    assert decode_image(path, (10, 20, 30))[0, 0].tolist() == [10, 20, 30]
    half = write_image("b.png", (200, 0, 100, 128))
    np.testing.assert_allclose(decode_image(half, (0, 0, 0))[0, 0], [100, 0, 50], atol=1)


def test_a_palette_image_with_transparency_is_composited(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "p.png", transparency=0)
    assert decode_image(tmp_path / "p.png", (1, 2, 3)).tolist() == [[[1, 2, 3], [0, 0, 255]]]


def test_grey_images_become_rgb(write_image: WriteImage) -> None:
    assert decode_image(write_image("g.png", (77,)), WHITE).tolist()[0][0] == [77, 77, 77]


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    image = Image.new("RGB", (6, 2))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert decode_image(tmp_path / "turned.jpg", WHITE).shape == (6, 2, 3)


def test_images_beside_class_folders_are_ambiguous(tmp_path: Path, write_image: WriteImage) -> None:
    write_image("cat/a.png")
    write_image("b.png")
    with pytest.raises(DataError, match=r"images beside folders of images \(b.png, cat/\)"):
        open_folder(tmp_path)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no image in"):
        open_folder(tmp_path)


def test_classes_number_the_sub_folders(tmp_path: Path, write_image: WriteImage) -> None:
    write_image("cat/a.png")
    write_image("dog/a.png")
    samples = read_all(open_folder(tmp_path, classes={"cat": 281, "dog": 207}))
    assert [int(str(sample.label)) for sample in samples] == [281, 207]
    with pytest.raises(DataError, match="dog is not one of the recipe's classes") as caught:
        open_folder(tmp_path, classes={"cat": 0, "dogs": 1})
    assert caught.value.hint is not None
    assert "`dogs`" in caught.value.hint


def test_a_table_says_which_files_count_and_what_they_show(tmp_path: Path, write_image: WriteImage) -> None:
    for name in ("p/a.png", "p/q/b.png", "p/c.png"):
        write_image(name)
    table = tmp_path / "t.csv"
    table.write_text("file,label,note\nq/b.png,7,x\na.png,cat,y\n")
    samples = read_all(open_folder(tmp_path / "p", table, {"cat": 3}))
    assert [(sample.where, int(str(sample.label))) for sample in samples] == [("q/b.png", 7), ("a.png", 3)]
    table.write_text("file\nc.png\n")
    assert not open_folder(tmp_path / "p", table).labelled


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name\na.png\n", "no column `file`"),
        ("file,label\nb.png,1\n", r"t.csv:2: no file `b.png`"),
        ("file,label\na.png,1\n../t.csv,1\n", r"t.csv:3: `../t.csv` lies outside"),
        ("file,label\na.png,cow\n", "`cow` is not a class"),
        ("file,label\na.png,1\na.png,\n", "only some lines"),
        ("file,label\n", "no image in"),
        ("file,label\n,1\n", "no file ``"),
    ],
)
def test_a_bad_table_is_refused(content: str, message: str, tmp_path: Path, write_image: WriteImage) -> None:
    write_image("p/a.png")
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        open_folder(tmp_path / "p", tmp_path / "t.csv", {"cat": 0})


def test_other_columns_of_the_table_are_slices_where_they_tell_groups_apart(
    tmp_path: Path, write_image: WriteImage
) -> None:
    for name in "abcd":
        write_image(f"p/{name}.png")
    table = tmp_path / "t.csv"
    table.write_text("file,light,label,site,id\na.png, day ,1,x,1\nb.png,night,1,x,2\nc.png,day,1,x,3\nd.png,,1,x,4\n")
    described = open_folder(tmp_path / "p", table).describe()
    assert described.slices == {}  # three kinds of light for four images
    table.write_text(
        "file,light,label,site,id\na.png, day ,1,x,1\nb.png,night,1,x,2\nc.png,day,1,x,3\nd.png,day,1,x,4\n"
    )
    assert open_folder(tmp_path / "p", table).describe().slices == {"light": ("day", "night", "day", "day")}


def test_folders_below_the_classes_are_slices(tmp_path: Path, write_image: WriteImage) -> None:
    for name in ("cat/day/1.png", "cat/night/2.png", "dog/day/3.png", "dog/night/4.png"):
        write_image(f"p/{name}")
    described = open_folder(tmp_path / "p").describe()
    assert described.class_names == ("cat", "dog")
    assert described.slices == {"folder": ("day", "night", "day", "night")}


def test_classes_without_folders_below_have_no_slices(tmp_path: Path, write_image: WriteImage) -> None:
    for name in ("cat/1.png", "dog/2.png"):
        write_image(f"p/{name}")
    assert open_folder(tmp_path / "p").describe().slices == {}


def test_a_table_that_is_not_text_is_refused(tmp_path: Path, write_image: WriteImage) -> None:
    table = write_image("p/a.png")
    with pytest.raises(DataError, match="is not a CSV table"):
        open_folder(tmp_path / "p", table)


def test_the_same_file_has_the_same_fingerprint_under_another_name(tmp_path: Path, write_image: WriteImage) -> None:
    write_image("one/a.png")
    write_image("two/b.png")
    write_image("two/c.png", (0, 0, 9))
    one = [print_.sample for print_ in open_folder(tmp_path / "one").fingerprints([0])]
    two = [print_.sample for print_ in open_folder(tmp_path / "two").fingerprints([0, 1])]
    assert one[0] == two[0]
    assert two[0] != two[1]
