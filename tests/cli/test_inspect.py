"""``compress inspect``."""

import argparse
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console

from compress.cli import main
from compress.cli.inspect import inspect_model
from compress.cli.inspect_tables import format_count, print_inspection
from compress.errors import TargetError
from compress.model import Model


def tensor(name: str, *shape: int) -> TensorProto:
    return numpy_helper.from_array(np.ones(shape, np.float32), name)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """An ONNX file: Conv [6, 3, 3, 3] on [N, 3, 10, 10], Relu, MatMul over a dynamic axis."""
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "stem.weight"], ["c"]),
            helper.make_node("Relu", ["c"], ["features"]),
            helper.make_node("MatMul", ["words", "head.weight"], ["logits"]),
        ],
        "g",
        [
            helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 10, 10]),
            helper.make_tensor_value_info("words", TensorProto.FLOAT, ["N", "seq", 4]),
        ],
        [
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 6, 8, 8]),
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", "seq", 5]),
        ],
        [tensor("stem.weight", 6, 3, 3, 3), tensor("head.weight", 4, 5)],
    )
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture(autouse=True)
def two_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every dialect quantize what one of these numbers tells apart."""
    numbers = {"u8s8": (2, 2), "u8s8-7bit": (1, 2), "s8s8-symmetric": (0, 2)}

    def count(_: Model, dialect: str) -> tuple[int, int]:
        return numbers[dialect]

    monkeypatch.setattr("compress.quantize.plan.count_quantizable", count)


Inspect = Callable[..., str]


@pytest.fixture
def inspect(model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Inspect:
    """Return a function that runs the command on the model and returns what it prints."""
    monkeypatch.delenv("FORCE_COLOR", raising=False)

    def run(*flags: str) -> str:
        assert main(["inspect", str(model), *flags]) == 0
        printed = capsys.readouterr()
        assert printed.err == ""
        return printed.out

    return run


MACS = 6 * 64 * 27 + 128 * 4 * 5


def test_it_prints_what_the_model_is(inspect: Inspect) -> None:
    printed = inspect()
    assert "model.onnx (onnx, " in printed
    assert "image: float32[batch, 3, 10, 10]" in printed
    assert "logits: float32[batch, seq, 5]" in printed
    assert "opset       17" in printed
    assert f"parameters  {6 * 27 + 20}" in printed
    assert f"MACs        {MACS:,} at batch 1" in printed
    assert "note: Costs assume seq = 128." in printed


def test_it_prints_cost_by_operator_and_by_layer(inspect: Inspect) -> None:
    lines = [line.split() for line in inspect().splitlines()]
    assert ["Conv", "1", "10.4", "k", "80.2", "%", "162", "648", "B", "2.74", "KB"] in lines
    assert ["total", "3", "12.9", "k", "100.0", "%", "182", "728", "B", "10.4", "KB"] in lines
    assert ["stem", "Conv", "1×6×8×8", "10.4", "k", "80.2", "%", "648", "B", "2.74", "KB"] in lines
    assert ["Relu", "Relu", "1×6×8×8", "3.07", "KB"] in lines


def test_it_prints_which_targets_speak_which_dialect_and_what_it_would_quantize(inspect: Inspect) -> None:
    lines = inspect().splitlines()
    [seven_bit] = [line for line in lines if "u8s8-7bit" in line]
    [symmetric] = [line for line in lines if "s8s8-symmetric" in line]
    assert "1 of 2 compute nodes" in seven_bit
    assert "x86-avx2" in seven_bit
    assert "0 of 2 compute nodes" in symmetric
    assert "jetson-orin-nano" in symmetric


def test_json_has_exact_numbers(inspect: Inspect, model: Path) -> None:
    printed = json.loads(inspect("--json"))
    assert printed["schema"] == "compress.inspect/1"
    assert printed["kind"] == "onnx"
    assert printed["bytes"] == model.stat().st_size
    assert printed["inputs"][1] == {"name": "words", "dtype": "float32", "shape": ["batch", "seq", 4]}
    assert printed["totals"]["macs"] == MACS
    assert printed["layers"][0] == {
        "name": "stem",
        "op": "Conv",
        "output_shape": [1, 6, 8, 8],
        "macs": 6 * 64 * 27,
        "parameters": 162,
        "weight_bytes": 648,
        "activation_bytes": 4 * (300 + 384),
    }
    assert [use["quantizable"] for use in printed["dialects"]] == [2, 1, 0]
    assert printed["notes"] == ["Costs assume seq = 128."]


def test_names_of_dimensions_come_from_the_flag_and_from_compress_toml(inspect: Inspect, model: Path) -> None:
    assert "words: float32[batch, steps, 4]" in inspect("--input", "words=batch,steps,4")
    settings = '[model]\ninputs = { words = { shape = ["batch", "tokens", 4] } }\n'
    (model.parent / "compress.toml").write_text(settings)
    assert "words: float32[batch, tokens, 4]" in inspect()


def test_a_model_that_cannot_be_taken_in_is_one_message_and_one_hint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.pt").write_bytes(b"\xff\xd8\xff\xe0")
    assert main(["inspect", str(tmp_path / "model.pt")]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: model.pt is a JPEG image, not a model\nhint: ")
    assert "Traceback" not in printed.err


def test_layers_without_a_shape_are_said_not_to_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = helper.make_graph(
        [helper.make_node("NonZero", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, [2, None])],
    )
    path = tmp_path / "m"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    assert main(["inspect", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "1 of 1 layers have shapes that depend on values" in printed
    assert next(line for line in printed.splitlines() if "?" in line).split()[:3] == ["NonZero", "NonZero", "?"]


def test_a_cpu_of_unknown_kind_speaks_no_dialect(inspect: Inspect, monkeypatch: pytest.MonkeyPatch) -> None:
    from compress import targets

    real = targets.load_target

    def load(name: str) -> targets.Target:
        if name == "cpu":
            raise TargetError("unknown instruction set")
        return real(name)

    monkeypatch.setattr(targets, "load_target", load)
    [line] = [line for line in inspect().splitlines() if line.split()[:1] == ["u8s8"]]
    assert "cpu" not in line.replace("x86", "").split()
    assert "raspberry-pi-5" in line


def test_a_terminal_gets_frames_and_nothing_wider_than_it(model: Path) -> None:
    options = argparse.Namespace(model=model, input=[], factory=None, trust_pickle=False, json=False)
    buffer = io.StringIO()
    print_inspection(inspect_model(options), Console(file=buffer, force_terminal=True, no_color=True, width=100))
    printed = buffer.getvalue()
    assert "─" in printed
    assert "\x1b[1m" in printed
    assert max(len(re.sub(r"\x1b\[\d*m", "", line)) for line in printed.splitlines()) <= 100


def test_piped_output_has_no_escapes_and_no_trimmed_names(inspect: Inspect) -> None:
    printed = inspect()
    assert "\x1b" not in printed
    assert "…" not in printed


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, ""), (7, "7"), (999, "999"), (1000, "1.00 k"), (40_763_008, "40.8 M"), (4_100_000_000, "4.10 G")],
)
def test_counts_have_three_digits(number: int, text: str) -> None:
    assert format_count(number) == text


def test_help_needs_neither_torch_nor_onnx() -> None:
    code = (
        "import sys\n"
        "from compress.cli import main\n"
        "try:\n    main(['inspect', '--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'onnx', 'onnx_ir', 'onnxruntime', 'onnxscript'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--trust-pickle" in done.stdout
