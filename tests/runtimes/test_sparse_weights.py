import json
import sys
from pathlib import Path

import fake_tensorrt
import fake_trtexec
import pytest
from qdq_graphs import residual_net, sparse_net
from small_graphs import build_residual

from compress import machine
from compress.board import kit as board_kit
from compress.board import trtexec
from compress.runtimes import tensorrt, tensorrt_rtx
from compress.runtimes.kit import write_kit
from compress.runtimes.sparse_weights import describe_sparsity, find_sparse
from compress.runtimes.tensorrt_builder import build_plan
from compress.targets import load_target

FLAG = fake_tensorrt.BuilderFlag.SPARSE_WEIGHTS
NOTE = "1 weight follows 2:4: sparse kernels are allowed, and the compiler takes them where it finds them faster."


def flags() -> list[fake_tensorrt.BuilderFlag]:
    assert fake_tensorrt.Builder.last is not None
    return fake_tensorrt.Builder.last[1].flags


@pytest.mark.parametrize(("target", "count"), [("jetson", 1), ("rtx-ada", 1), ("rtx-turing", 0), ("t4", 0)])
def test_sparse_weights_count_only_where_the_target_has_the_cores(target: str, count: int) -> None:
    assert len(find_sparse(sparse_net(), load_target(target))) == count
    assert find_sparse(residual_net(), load_target(target)) == ()
    assert find_sparse(build_residual(), load_target(target)) == ()


def test_the_report_says_how_many_weights_there_are() -> None:
    (matrix,) = find_sparse(sparse_net(), load_target("jetson"))
    assert describe_sparsity(()) == ()
    assert describe_sparsity([matrix]) == (NOTE,)
    assert describe_sparsity([matrix, matrix])[0].startswith("2 weights follow 2:4:")


@pytest.mark.parametrize(("model", "expected"), [(sparse_net(), [FLAG]), (residual_net(), [])])
def test_tensorrt_is_told_on_the_device(
    model: object, expected: list[object], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt.as_module())
    monkeypatch.setattr(machine, "board_name", lambda: "NVIDIA Jetson Orin Nano Developer Kit")
    engine = tensorrt.build(model, load_target("jetson"), folder)  # type: ignore[arg-type]
    assert flags() == expected
    assert (NOTE in engine.notes) == bool(expected)


def test_the_kit_tells_trtexec_and_the_report_what_it_made_of_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "board_name", lambda: None)
    monkeypatch.setattr(tensorrt_rtx, "find_module", lambda: None)
    engine = tensorrt.build(sparse_net(), load_target("jetson"), folder)
    assert NOTE in engine.notes
    assert "--sparsity=enable" in (folder / "README.md").read_text(encoding="utf-8")
    fake_trtexec.install(tmp_path / "bin", sys.executable)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.chdir(folder)
    assert board_kit.main([]) == 0
    report = json.loads((folder / "board-report.json").read_text(encoding="utf-8"))
    assert "TensorRT picked sparse kernels for 1 of 3 eligible layers" in report["notes"]


def test_a_kit_of_a_dense_model_does_not(folder: Path) -> None:
    write_kit(residual_net(), load_target("jetson"), folder)
    facts = json.loads((folder / "kit.json").read_text(encoding="utf-8"))
    assert facts["sparse"] is False
    assert not any("sparsity" in argument for argument in trtexec.build_arguments(facts))


def test_the_kits_python_build_sets_the_flag(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_kit(sparse_net(), load_target("jetson"), folder)
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt.as_module())
    monkeypatch.setattr(trtexec, "find_trtexec", lambda: None)
    monkeypatch.chdir(folder)
    assert board_kit.main([]) == 0
    assert flags() == [FLAG]


def test_where_tensorrt_picks_no_sparse_kernel_the_note_says_none_of_them() -> None:
    eligible = "[I] [TRT] (Sparsity) Layers eligible for sparse math: Conv_0, Conv_1\n"
    picked = "[I] [TRT] (Sparsity) TRT inference plan picked sparse implementation for layers:\n"
    assert trtexec.describe_sparsity(eligible + picked) == ["TensorRT picked sparse kernels for 0 of 2 eligible layers"]
    assert trtexec.describe_sparsity(eligible) == []


@pytest.mark.rtx
def test_tensorrt_rtx_takes_the_flag_and_compiles_as_without_it(folder: Path) -> None:
    """The day this fails TensorRT-RTX has kernels for 2:4, and its engines are worth timing."""
    import tensorrt_rtx_bindings as trt

    engine = tensorrt_rtx.build(sparse_net(), load_target("rtx-ada"), folder)
    assert NOTE in engine.notes
    sizes = [
        build_plan(trt, engine.graph, capabilities=("8.9",), sparse=sparse).weights_bytes for sparse in (False, True)
    ]
    assert sizes[0] == sizes[1]
