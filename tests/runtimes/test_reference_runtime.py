from pathlib import Path

import numpy as np
import pytest
from qdq_graphs import Sketch, residual_net, samples

from compress.errors import DataError, ModelError, TargetError
from compress.model import Model
from compress.runtimes import load_runtime, reference
from compress.runtimes.onnxruntime import open_graph
from compress.targets import Target


def test_it_is_available_everywhere(null_target: Target) -> None:
    found = load_runtime("reference").available(null_target)
    assert (found.build, found.run, list(found.versions)) == (True, True, ["onnx"])


def test_its_session_agrees_with_simulation_in_onnx_runtime(folder: Path, null_target: Target) -> None:
    engine = reference.build(residual_net(), null_target, folder)
    x = samples(2, 2, 8, 8)
    with reference.open(engine, threads=1) as session, open_graph(engine.graph, threads=1, simulate=True) as other:
        np.testing.assert_array_equal(session.run({"x": x})["y"], other.run({"x": x})["y"])
    with pytest.raises(TargetError, match="closed"):
        session.run({"x": x})


def test_a_missing_input_is_named(folder: Path, null_target: Target) -> None:
    engine = reference.build(residual_net(), null_target, folder)
    with reference.open(engine, threads=1) as session, pytest.raises(DataError, match="no value for input `x`"):
        session.run({})


def test_a_graph_that_is_not_valid_is_refused(folder: Path, null_target: Target) -> None:
    s = Sketch(["batch", 3])
    model = Model.from_bytes(s.finish(s.node("Relu", "x"), ["batch", 3]).to_bytes())
    model.graph.graph[0].op_type = "Rellu"
    with pytest.raises(TargetError, match=r"target probe: not a valid ONNX graph: .*Rellu"):
        reference.build(model, null_target, folder)
    assert list(folder.iterdir()) == []


def test_a_damaged_engine_is_refused(folder: Path, null_target: Target) -> None:
    engine = reference.build(residual_net(), null_target, folder)
    engine.main.write_bytes(engine.main.read_bytes()[:100])
    with pytest.raises(ModelError, match=r"model\.onnx: the reference evaluator cannot take it"):
        reference.open(engine, threads=1)
