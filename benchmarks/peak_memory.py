"""What an engine takes at its peak in a process of its own, by the size of its weights.

    python benchmarks/peak_memory.py [--repeat 5]

Each line is one matrix product of so many bytes of float32 weights, loaded and called by ONNX Runtime's own kernels:
the median of the peaks, their range, and how long a measurement takes. The first lines are what the runtime takes by
itself. Last, one engine is measured three times in this process, where allocators keep what it left.
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from compress.board import memory
from compress.model import Model
from compress.report.units import format_bytes, format_seconds
from compress.runtimes import onnxruntime
from compress.runtimes.engine_options import EngineOptions
from compress.runtimes.loading import pack_engine
from compress.runtimes.peak_memory import measure_peak
from compress.runtimes.variants import describe_feed
from compress.targets import load_target

SIDES = (16, 512, 1024, 2048, 4096)
OPTIONS = (EngineOptions(), EngineOptions(arena=False), EngineOptions(offline=True))


def product(side: int) -> Model:
    """Return y = x · w."""
    weights = np.random.default_rng(0).standard_normal((side, side)).astype(np.float32)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", side]) for name in ("x", "y")]
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "product", ends[:1], ends[1:], [numpy_helper.from_array(weights, "w")])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(proto)
    return Model.from_ir(ir.from_proto(proto))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    repeat = parser.parse_args().repeat
    print("| weights | run by | peak | range | a measurement takes |\n|---|---|---|---|---|")
    for side in SIDES:
        model, feed = product(side), {"x": np.zeros((1, side), np.float32)}
        for options in OPTIONS:
            peaks, seconds = [], []
            with tempfile.TemporaryDirectory() as folder:
                engine = onnxruntime.build(model, load_target("cpu"), Path(folder))
                engine = pack_engine(engine, engine.graph, options, describe_feed(feed))
                for _ in range(repeat):
                    start = time.perf_counter()
                    peaks.append(measure_peak(engine, feed))
                    seconds.append(time.perf_counter() - start)
            cells = [format_bytes(4 * side * side), options.describe(), format_bytes(round(median(peaks)))]
            spread = (max(peaks) - min(peaks)) / median(peaks)
            print("|", " | ".join([*cells, f"{100 * spread:.1f} %", format_seconds(median(seconds))]), "|", flush=True)
    print("\none process, 16.8 MB of weights:", ", ".join(map(format_bytes, measure_here(product(2048)))))


def measure_here(model: Model) -> list[int]:
    """Return three readings of one engine in this process."""
    feed = {"x": np.zeros((1, 2048), np.float32)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model.to_bytes())
        return [memory.measure_peak({"model": str(path), "threads": 1}, feed)["bytes"] for _ in range(3)]


if __name__ == "__main__":
    main()
