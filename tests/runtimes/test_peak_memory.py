from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from small_graphs import build, normal

from compress.errors import TargetError
from compress.runtimes import Engine, onnxruntime
from compress.runtimes.engine_options import EngineOptions
from compress.runtimes.loading import pack_engine
from compress.runtimes.peak_memory import measure_peak
from compress.runtimes.variants import describe_feed
from compress.targets import load_target

SIDE = 1536
FEED = {"x": np.zeros((2, SIDE), np.float32)}


def packed(folder: Path, options: EngineOptions) -> Engine:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    model = build(nodes, {"w": normal(SIDE, SIDE)}, ["batch", SIDE], ["y"])
    engine = onnxruntime.build(model, load_target("x86-vnni"), folder)
    return pack_engine(engine, engine.graph, options, describe_feed(FEED))


@pytest.mark.parametrize(
    "options",
    [
        EngineOptions(),
        EngineOptions(threads=2, arena=False, spinning=False),
        EngineOptions(offline=True),
        pytest.param(EngineOptions(provider="openvino"), marks=pytest.mark.openvino),
    ],
    ids=EngineOptions.describe,
)
def test_an_engine_takes_its_weights_at_least_however_it_is_run(folder: Path, options: EngineOptions) -> None:
    assert measure_peak(packed(folder, options), FEED) >= 4 * SIDE * SIDE


def test_the_file_that_loads_it_for_users_is_what_is_measured(folder: Path) -> None:
    engine = packed(folder, EngineOptions())
    less = measure_peak(engine, FEED)
    loader = folder / "load.py"
    loader.write_text(loader.read_text(encoding="utf-8") + "ballast = b'x' * (64 << 20)\n", encoding="utf-8")
    assert measure_peak(engine, FEED) > less + (32 << 20)


def test_an_engine_that_cannot_be_loaded_is_told_with_the_reason(folder: Path) -> None:
    engine = packed(folder, EngineOptions())
    engine.main.write_bytes(b"not a graph")
    with pytest.raises(TargetError, match="cannot be loaded in a process of its own: Invalid"):
        measure_peak(engine, FEED)
    with pytest.raises(TargetError, match=r"process of its own: .*load\.py"):
        measure_peak(replace(engine, folder=folder / "absent"), FEED)
