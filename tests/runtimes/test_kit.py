import hashlib
import json
import os
from pathlib import Path

import pytest
from qdq_graphs import Sketch, residual_net

from compress.errors import TargetError
from compress.runtimes.kit import write_kit
from compress.targets import Target, load_target


def test_a_kit_holds_these_files_and_no_others(folder: Path) -> None:
    kit = write_kit(residual_net(), load_target("jetson"), folder)
    names = {"model.onnx", "kit.json", "board.py", "run.sh", "README.md"}
    assert {path.name for path in folder.iterdir()} == names == {path.name for path in kit.files}
    assert kit.graph == folder / "model.onnx"
    assert os.access(kit.script, os.X_OK)


def test_equal_graphs_give_equal_kits(tmp_path: Path) -> None:
    contents = []
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        kit = write_kit(residual_net(), load_target("jetson"), folder)
        contents.append({path.name: path.read_bytes() for path in kit.files})
    assert contents[0] == contents[1]


def test_kit_json_says_what_the_board_needs(folder: Path) -> None:
    write_kit(residual_net(), load_target("jetson"), folder)
    facts = json.loads((folder / "kit.json").read_text(encoding="utf-8"))
    assert facts["inputs"] == [{"name": "x", "dtype": "float32", "shape": [None, 2, 8, 8]}]
    assert facts["model_sha256"] == hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    assert facts["workspace_mib"] == 2048
    assert facts["compute_capability"] == "8.7"


def test_the_readme_has_the_commands_that_the_script_runs(folder: Path) -> None:
    write_kit(residual_net(), load_target("jetson"), folder)
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "trtexec --onnx=model.onnx --saveEngine=model.engine --skipInference --stronglyTyped" in text
    assert "--maxShapes=x:16x2x8x8" in text
    assert "JetPack 6 (TensorRT 10.3)" in text
    assert "$" not in text.replace("$(", "")


@pytest.mark.parametrize(
    ("name", "needed"), [("jetson-thor", "JetPack 7"), ("l4", "an NVIDIA driver, TensorRT 10.3 or later")]
)
def test_the_readme_names_what_that_device_needs(folder: Path, name: str, needed: str) -> None:
    write_kit(residual_net(), load_target(name), folder)
    assert needed in (folder / "README.md").read_text(encoding="utf-8")


def test_without_known_memory_the_workspace_is_not_limited(folder: Path) -> None:
    target = Target(name="probe", description="", runtime="tensorrt", compute_capability="8.7", precisions=("int8",))
    write_kit(residual_net(), target, folder)
    assert json.loads((folder / "kit.json").read_text(encoding="utf-8"))["workspace_mib"] is None
    assert "memPoolSize" not in (folder / "README.md").read_text(encoding="utf-8")


def test_a_dynamic_axis_besides_the_batch_is_refused_before_anything_is_written(folder: Path) -> None:
    s = Sketch(["batch", 3, "width"])
    model = s.finish(s.node("Relu", "x"), ["batch", 3, "width"])
    with pytest.raises(TargetError, match=r"input `x`: axis 2 \(`width`\) is dynamic"):
        write_kit(model, load_target("jetson"), folder)
    assert list(folder.iterdir()) == []
