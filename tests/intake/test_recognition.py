"""Files are judged by their bytes."""

import io
import json
import pickle
import struct
import zipfile
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image

from compress.errors import ModelError
from compress.intake.recognition import recognise


def refused(path: Path, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        recognise(path)
    assert caught.value.exit_code == 2
    assert caught.value.hint


def test_a_jpeg_called_model_pt_is_called_a_jpeg(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "model.pt", "JPEG")
    refused(tmp_path / "model.pt", r"model\.pt is a JPEG image, not a model")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\x89PNG\r\n\x1a\n", "a PNG image"),
        (b"\x1c\x00\x00\x00TFL3", "a TensorFlow Lite model"),
        (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer"),
        (b"hello\nworld\n", "a text file"),
        (b"\x00\x01\x02\xff" * 9, "of an unknown format"),
        (b"\x08\x0a\x12\x07pytorch\xff", "an ONNX file that is cut short or damaged$"),
        (pickle.dumps({"a": 1}), "is a bare pickle"),
        (b"\x80\x04" + b"junk", "is a bare pickle"),
    ],
)
def test_what_is_no_model_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    refused(path, message)


def test_missing_files_and_folders_are_told_apart(tmp_path: Path) -> None:
    refused(tmp_path / "absent.pt", "does not exist")
    refused(tmp_path, "is a folder")


def test_a_device_is_no_model() -> None:
    refused(Path("/dev/null"), "is not a regular file")


def test_an_unreadable_file_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m"
    path.write_bytes(b"x")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    refused(path, "cannot be read: Permission denied")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (["word/document.xml"], "no model in it"),
        (["serialized_exported_program.json", "version"], "torch 2.6 or older"),
        (["a/archive_format", "a/data/aotinductor/model/x.so"], "without an exported program"),
    ],
)
def test_archives_without_a_usable_model_are_told_apart(tmp_path: Path, members: list[str], message: str) -> None:
    path = tmp_path / "m.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        for name in members:
            archive.writestr(name, b"pt2")
    refused(path, message)


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    torch.save({"w": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000])
    refused(path, "cut short or damaged")


def test_files_of_torch_save_are_recognised_in_both_formats(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(1)}, tmp_path / "new.onnx")
    torch.save({"w": torch.zeros(1)}, tmp_path / "old.jpg", _use_new_zipfile_serialization=False)
    assert recognise(tmp_path / "new.onnx") == "torch-zip"
    assert recognise(tmp_path / "old.jpg") == "torch-legacy"


def test_safetensors_are_recognised_by_their_header(tmp_path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    path = tmp_path / "m.bin"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    assert recognise(path) == "safetensors"


def test_onnx_is_recognised_by_parsing_it(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value], [out])
    onnx.save(helper.make_model(graph), tmp_path / "m.pt")
    assert recognise(tmp_path / "m.pt") == "onnx"


def test_a_file_beyond_the_limit_of_protobuf_is_not_read_as_onnx(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compress.intake.recognition._PROTOBUF_LIMIT", 4)
    path = tmp_path / "m"
    path.write_bytes(io.BytesIO(b"\x7f\xff\x00\x01\x02").getvalue())
    refused(path, "of an unknown format")
