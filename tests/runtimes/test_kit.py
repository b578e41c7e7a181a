import hashlib
import json
import os
from pathlib import Path

import pytest
from qdq_graphs import Sketch, residual_net

from compress.board.dla import list_arguments
from compress.board.trtexec import build_arguments, compute_arguments, measure_arguments
from compress.errors import TargetError
from compress.model import Model
from compress.runtimes.build_settings import BuildSettings, SizeRange
from compress.runtimes.kit import write_kit
from compress.targets import Target, load_target


def test_a_kit_holds_these_files_and_no_others(folder: Path) -> None:
    kit = write_kit(residual_net(), load_target("jetson"), folder)
    names = {"model.onnx", "kit.json", "board.pyz", "run.sh", "README.md"}
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
    ranges = {"min": [1, 2, 8, 8], "opt": [1, 2, 8, 8], "max": [16, 2, 8, 8]}
    assert facts["inputs"] == [{"name": "x", "dtype": "float32", "shape": [None, 2, 8, 8], "ranges": ranges}]
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


def wide_net() -> Model:
    s = Sketch(["batch", 3, "width"])
    return s.finish(s.node("Relu", "x"), ["batch", 3, "width"])


def test_ranges_of_dynamic_axes_reach_the_board(folder: Path) -> None:
    ranges = {"width": SizeRange(min=2, opt=8, max=32), "batch": SizeRange(min=1, opt=2, max=4)}
    write_kit(wide_net(), load_target("jetson"), folder, BuildSettings(ranges))
    facts = json.loads((folder / "kit.json").read_text(encoding="utf-8"))
    assert facts["max_batch"] == 4
    assert facts["inputs"] == [
        {
            "name": "x",
            "dtype": "float32",
            "shape": [None, 3, 8],
            "ranges": {"min": [1, 3, 2], "opt": [2, 3, 8], "max": [4, 3, 32]},
        }
    ]
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "--minShapes=x:1x3x2 --optShapes=x:2x3x8 --maxShapes=x:4x3x32" in text
    assert "--shapes=x:1x3x8" in text


def test_a_timing_cache_is_in_the_kit_and_is_read_and_written_by_trtexec(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "orin.cache"
    cache.write_bytes(b"kernels")
    kit = write_kit(residual_net(), load_target("jetson"), folder, BuildSettings(timing_cache=cache))
    facts = json.loads((folder / "kit.json").read_text(encoding="utf-8"))
    assert facts["timing_cache"] == hashlib.sha256(b"kernels").hexdigest()
    assert (folder / "timing.cache").read_bytes() == b"kernels"
    assert folder / "timing.cache" in kit.files
    assert "--timingCacheFile=timing.cache" in (folder / "README.md").read_text(encoding="utf-8")


def test_a_kit_for_the_dla_lets_the_gpu_do_what_it_does_not_take(folder: Path) -> None:
    write_kit(residual_net(), load_target("jetson-agx-orin"), folder, BuildSettings(dla=True))
    facts = json.loads((folder / "kit.json").read_text(encoding="utf-8"))
    assert facts["dla"] == {"float32": ["Relu_4", "Relu_9", "Relu_17", "Flatten_21"], "int8": True}
    assert facts["max_batch"] == 1
    build = build_arguments(facts)
    assert build.index("--allowGPUFallback") == build.index("--useDLACore=0") + 1
    assert "--int8" in build
    assert build[-3:] == ["--minShapes=x:1x2x8x8", "--optShapes=x:1x2x8x8", "--maxShapes=x:1x2x8x8"]
    assert "--useDLACore=0" in measure_arguments(facts)
    assert "--useDLACore=0" in compute_arguments(facts, {"x": [1, 2, 8, 8]}, {"x": "x.bin"}, "y.json")


def test_a_layer_name_that_trtexec_cannot_read_is_not_pinned() -> None:
    dla = {"float32": ["block,1", "it's", "a:b", "c d"], "int8": False}
    assert list_arguments(dla, weak=True)[-1] == "--layerOutputTypes=a:b:fp32,c d:fp32"
    assert list_arguments({"float32": ["a,b"], "int8": False}, weak=True)[-1] == "--fp16"


def test_the_original_is_measured_without_the_dla(folder: Path) -> None:
    write_kit(residual_net(), load_target("jetson-agx-orin"), folder, BuildSettings(dla=True))
    facts = json.loads((folder / "kit.json").read_text(encoding="utf-8"))
    original = build_arguments(facts, graph="original.onnx", engine="original.engine")
    assert "--useDLACore=0" not in original
    assert "--stronglyTyped" in original
    assert "--useDLACore=0" not in measure_arguments(facts, engine="original.engine")


def test_a_dynamic_axis_without_a_range_is_refused_before_anything_is_written(folder: Path) -> None:
    with pytest.raises(TargetError, match=r"target jetson-orin-nano: input `x`: axis 2 \(`width`\) is dynamic"):
        write_kit(wide_net(), load_target("jetson"), folder)
    assert list(folder.iterdir()) == []
