from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto
from qdq_graphs import Sketch, residual_net, samples

from compress.errors import DataError
from compress.runtimes import load_runtime, null
from compress.targets import Target


def test_it_is_available_everywhere(null_target: Target) -> None:
    found = load_runtime("null").available(null_target)
    assert (found.build, found.run) == (True, True)


def test_without_a_recording_a_session_returns_zeros_of_the_right_shape(folder: Path, null_target: Target) -> None:
    engine = null.build(residual_net(), null_target, folder)
    with null.open(engine, threads=1) as session:
        found = session.run({"x": samples(7, 2, 8, 8)})
    assert found["y"].shape == (7, 5)
    assert found["y"].dtype == np.float32
    assert not found["y"].any()


def test_a_dynamic_size_of_the_output_follows_the_input(folder: Path, null_target: Target) -> None:
    s = Sketch(["batch", "length"])
    engine = null.build(s.finish(s.node("Relu", "x"), ["batch", "length"]), null_target, folder)
    with null.open(engine, threads=1) as session:
        assert session.run({"x": samples(2, 9)})["y"].shape == (2, 9)


def test_a_size_that_no_input_has_is_one(folder: Path, null_target: Target) -> None:
    s = Sketch(["batch", 4])
    found = s.finish(s.node("NonZero", "x"), [2, "found"], dtype=TensorProto.INT64)
    engine = null.build(found, null_target, folder)
    with null.open(engine, threads=1) as session:
        assert session.run({"x": samples(2, 4)})["y"].shape == (2, 1)


def test_recorded_outputs_are_replayed_in_order_and_again(folder: Path, null_target: Target) -> None:
    engine = null.build(residual_net(), null_target, folder)
    rows = np.arange(15, dtype=np.float32).reshape(3, 5)
    null.record(engine, {"y": rows})
    with null.open(engine, threads=1) as session:
        first, second = (session.run({"x": samples(2, 2, 8, 8)})["y"] for _ in range(2))
    np.testing.assert_array_equal(first, rows[:2])
    np.testing.assert_array_equal(second, rows[[2, 0]])


def test_a_missing_input_is_named(folder: Path, null_target: Target) -> None:
    engine = null.build(residual_net(), null_target, folder)
    with null.open(engine, threads=1) as session, pytest.raises(DataError, match="no value for input `x`") as caught:
        session.run({})
    assert caught.value.hint == "the graph's inputs are x"
