import json
from dataclasses import replace
from pathlib import Path

import pytest
from small_project import Compress

from compress.contestants import Graph
from compress.engines import Shipped
from compress.errors import ModelError
from compress.runtimes.engine_options import EngineOptions

REFERENCE = Path("reference/board.toml")
FAST = ("--latency-seconds", "0.2", "--json")


def test_another_quantizer_takes_the_place_of_the_native_one(compress: Compress, project: Path) -> None:
    done = compress("run", "model.onnx", "--target", REFERENCE, "--quantizer", "onnxruntime", "--max-drop", "5", *FAST)
    report = json.loads(done.out)
    assert [step["step"] for step in report["steps"]] == ["quantize-onnxruntime"]
    assert report["targets"][0]["engine"]["nodes"] == {"int8": 2}
    assert report["targets"][0]["accuracy"]["drop"] < 0.02


@pytest.mark.inc
def test_best_tries_every_quantizer_and_keeps_the_best(compress: Compress, project: Path) -> None:
    flags = ("--quantizer", "best", "--recipe", "int8", "--max-drop", "5", *FAST)
    target = json.loads(compress("run", "model.onnx", "--target", REFERENCE, *flags).out)["targets"][0]
    attempts = target["attempts"]
    assert [attempt["steps"] for attempt in attempts] == [
        ["quantize"], ["quantize-onnxruntime"], ["quantize-neural-compressor"],
    ]  # fmt: skip
    (kept,) = (attempt for attempt in attempts if attempt["kept"])
    assert kept["drop"] == target["accuracy"]["drop"]


@pytest.mark.inc
def test_training_follows_only_where_no_quantizer_is_within_the_budget(
    compress: Compress, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "two.toml").write_text('attempts = [["quantize"], ["quantize", "qat"]]\n')
    flags = ("--target", REFERENCE, "--quantizer", "best", "--recipe", "two.toml", *FAST)
    enough = json.loads(compress("run", "model.onnx", *flags, "--max-drop", "5").out)
    assert len(enough["targets"][0]["attempts"]) == 3

    def refuse(*_: object) -> None:
        raise ModelError("cannot be trained", hint="")

    monkeypatch.setattr("compress.quantize.qat.step.train_quantized", refuse)
    missed = compress("run", "lossy.onnx", *flags, "--max-drop", "0")
    notes = json.loads(missed.out)["targets"][0]["engine"]["notes"]
    assert any("Attempt 4 of recipe two came to nothing" in note for note in notes)


@pytest.mark.inc
def test_a_contestant_that_fails_leaves_the_others_in_the_contest(
    compress: Compress, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ModelError("ONNX Runtime's quantizer does not take this model", hint="")

    monkeypatch.setattr("compress.quantize.onnxruntime_static.quantize_with_onnxruntime", refuse)
    (project / "two.toml").write_text('attempts = [["quantize"], ["quantize", "qat"]]\n')
    flags = ("--quantizer", "best", "--recipe", "two.toml", "--max-drop", "5", *FAST)
    done = compress("run", "model.onnx", "--target", REFERENCE, *flags)
    target = json.loads(done.out)["targets"][0]
    assert target["verdict"]["status"] == "pass"
    assert "Attempt 2 of recipe two came to nothing" in " ".join(target["engine"]["notes"])
    assert "Attempt 3" not in " ".join(target["engine"]["notes"])


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--quantizer", "onxruntime"), "Did you mean `onnxruntime`?"),
        (("--quantizer", "best", "--recipe", "float"), "use --recipe int8"),
    ],
)
def test_a_quantizer_that_makes_no_sense_is_told(
    compress: Compress, project: Path, flags: tuple[str, ...], words: str
) -> None:
    done = compress("run", "model.onnx", "--target", REFERENCE, *flags)
    assert done.code == 2
    assert words in done.err


def test_an_original_that_is_shipped_has_no_int8_layers(
    compress: Compress, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ship(original: bool) -> list[str]:
        graph: Graph = "original" if original else "compressed"
        monkeypatch.setattr(
            "compress.attempts.choose_engine",
            lambda engines, *_: replace(engines, shipped=Shipped(graph, EngineOptions())),
        )
        done = compress("run", "model.onnx", "--target", REFERENCE, "--recipe", "int8", "--max-drop", "5", *FAST)
        return [layer["name"] for layer in json.loads(done.out)["targets"][0]["layers"]]

    assert ship(original=False) == ["Gemm", "Gemm_1"]
    assert ship(original=True) == []
