import json
from pathlib import Path

from small_project import Compress

REFERENCE = Path("reference/board.toml")


def test_the_layer_at_fault_is_first_in_the_table_and_in_words(compress: Compress, project: Path) -> None:
    before = {path.name for path in project.iterdir()}
    done = compress("diagnose", "lossy.onnx", "--target", REFERENCE)
    assert done.code == 0, done.err
    assert done.out.split("\n")[1].split()[0] == "Gemm_1"
    assert "The input of Gemm_1 (Gemm) costs most there" in done.out
    assert {path.name for path in project.iterdir()} == before


def test_every_layer_is_in_the_json(compress: Compress, project: Path) -> None:
    flags = ("--target", REFERENCE, "--samples", "4", "--time-budget", "20s", "--json")
    found = json.loads(compress("diagnose", "lossy.onnx", *flags).out)
    assert found["schema"] == "compress.diagnosis/1"
    layers = {layer["name"]: layer for layer in found["layers"]}
    assert list(layers) == ["Gemm", "Gemm_1"]
    assert layers["Gemm_1"]["blame"] == "input"
    assert layers["Gemm_1"]["alone_sqnr_db"] < layers["Gemm"]["alone_sqnr_db"]
    assert layers["Gemm_1"]["gain_db"] > 10
    assert layers["Gemm"]["activation_outlier"]["channel"] == 10


def test_a_float_recipe_leaves_nothing_to_diagnose(compress: Compress, project: Path) -> None:
    done = compress("diagnose", "model.onnx", "--target", REFERENCE, "--recipe", "float")
    assert (done.code, done.out) == (0, "no layer of this model is INT8 for this target\n")


def test_mistakes_are_named_with_exit_code_2(compress: Compress, project: Path) -> None:
    done = compress("diagnose", "model.onnx", "--target", REFERENCE, "--samples", "0")
    assert done.code == 2
    assert "--samples 0" in done.err
    done = compress("diagnose", "missing.onnx", "--target", REFERENCE)
    assert done.code == 2
    assert "missing.onnx does not exist" in done.err
