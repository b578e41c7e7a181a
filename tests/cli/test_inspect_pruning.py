"""What ``compress inspect`` says about pruning."""

import json
from pathlib import Path

import pytest
from onnx import helper
from small_graphs import build, build_residual, normal
from small_project import Compress

from compress.cli.inspect_pruning import Reason, find_pruning


@pytest.fixture
def residual(tmp_path: Path) -> Path:
    path = tmp_path / "residual.onnx"
    path.write_bytes(build_residual().to_bytes())
    return path


def test_groups_are_listed_with_what_they_own(compress: Compress, residual: Path) -> None:
    done = compress("inspect", residual)
    lines = [line.split() for line in done.out.splitlines()]
    # w0 216, b0 8, w1 72, b1 (of two layers) 8, w2 64, wf 40, bf 5 elements: all but bf have an axis of the 8 channels.
    assert ["Conv", "convolution", "8", "1", "×", "8", "98.8", "%"] in lines
    assert "What pruning could cut (98.8 % of the parameters are in a group)" in done.out
    assert "is the model's output" in done.out
    assert "wf, axis 0" in done.out


def test_json_has_groups_reasons_and_fractions(compress: Compress, residual: Path) -> None:
    found = json.loads(compress("inspect", residual, "--json").out)["pruning"]
    assert found["problem"] is None
    assert found["covered"] == pytest.approx(408 / 413)
    [group] = found["groups"]
    assert group["share"] == pytest.approx(408 / 413)
    assert {**group, "share": 0} == {
        "name": "Conv", "family": "convolution", "units": 8, "blocks": 1, "multiple": 8, "share": 0
    }  # fmt: skip
    assert [reason["example"] for reason in found["protected"]] == ["w0", "wf"]


def test_a_model_with_nothing_to_prune_says_so_and_why(compress: Compress, tmp_path: Path) -> None:
    model = build([helper.make_node("Gemm", ["x", "w"], ["y"], "only")], {"w": normal(4, 3)}, ["batch", 4], ["y"])
    (tmp_path / "m.onnx").write_bytes(model.to_bytes())
    done = compress("inspect", tmp_path / "m.onnx")
    assert "What pruning could cut: nothing" in done.out
    assert "is the model's output" in done.out
    found = find_pruning(model)
    assert (found.groups, found.covered) == ((), 0.0)
    assert Reason("is the model's output", 1, "w", 1) in found.reasons


def test_a_graph_that_does_not_run_is_still_inspected(monkeypatch: pytest.MonkeyPatch) -> None:
    from compress.errors import PruneError

    def fail(_: object) -> None:
        raise PruneError("the graph cannot be analysed for pruning: it does not run")

    monkeypatch.setattr("compress.prune.prepare.prepare", fail)
    found = find_pruning(build_residual())
    assert found.problem == "Pruning: the graph cannot be analysed for pruning: it does not run."
    assert found.groups == ()
