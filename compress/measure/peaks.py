"""Peak rates of this machine, measured on the spot: integer and float matrix products, memory bandwidth."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from compress.errors import CompressError
from compress.measure.timings import Clock
from compress.runtimes import Session
from compress.runtimes.engine_options import EngineOptions
from compress.targets import Target

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto

SIZE: Final = 512
"""Rows, columns and depth of the matrix products: large enough that nothing but arithmetic counts, and done within the
time that a busy system leaves a process alone."""
SETS: Final = (1 << 17, 1 << 20, 1 << 23, 1 << 26)
"""Bytes that are copied over and over: in the first-level cache, in the second, in the third or not, in memory."""
_SECONDS_EACH: Final = 0.2
_FEWEST: Final = 5
_COPIED_AT_ONCE: Final = 1 << 22

Open = Callable[[Path, EngineOptions], Session]


@dataclass(frozen=True, slots=True)
class Rates:
    """What a device can do at best.

    Attributes:
        operations_per_second: By precision, 2 for each multiply-accumulate.
        bandwidths: Pairs of a working set in bytes and the bytes a second that move in one no larger, smallest first.
        source: Where the numbers come from, in words.
    """

    operations_per_second: Mapping[str, float]
    bandwidths: tuple[tuple[int, float], ...]
    source: str

    def bytes_per_second(self, space: int) -> float:
        """Return how fast a working set of that many bytes moves at best: what fits into a cache moves at its rate."""
        return next((rate for size, rate in self.bandwidths if space <= size), self.bandwidths[-1][1])


def rates_of(target: Target) -> Rates | None:
    """Return the rates in a target's file, or None where it has no peaks or no bandwidth."""
    if not target.peaks or target.memory is None or target.memory.bandwidth_bytes_per_second is None:
        return None
    peaks: dict[str, float] = {peak.precision: peak.operations_per_second for peak in target.peaks}
    memory = (target.memory.bytes, target.memory.bandwidth_bytes_per_second)
    sources = dict.fromkeys((*(peak.source for peak in target.peaks), target.memory.source))
    return Rates(peaks, (memory,), f"the file of target {target.name}: {' '.join(sources)}")


def measure_rates(
    open_graph: Open,
    variants: Sequence[EngineOptions],
    *,
    folder: Path,
    clock: Clock = time.perf_counter,
) -> Rates:
    """Return this machine's rates: of every precision the best that any way to run an engine reaches.

    Args:
        open_graph: Returns a session of an ONNX file that is run so.
        variants: The ways to run an engine, all with the same number of threads.
        folder: For two small graphs.
        clock: Seconds; tests give their own.
    """
    threads = variants[0].threads
    graphs = {"int8": _integer_product(folder), "float32": _float_product(folder)}
    reached: dict[str, float] = {}
    for options in variants:
        for written, graph in graphs.items():
            precision = options.precision if written == "float32" else written
            rate = _rate_of_product(open_graph, graph, options, clock)
            reached[precision] = max(reached.get(precision, 0.0), rate)
    source = f"matrix products of size {SIZE} and copies of memory on {threads} thread(s), measured here"
    usable = {precision: rate for precision, rate in reached.items() if rate > 0}
    bandwidths = tuple((size, measure_bandwidth(size, threads, clock=clock)) for size in SETS)
    return Rates(usable, bandwidths, source)


def measure_bandwidth(space: int, threads: int, *, clock: Clock = time.perf_counter) -> float:
    """Return how many bytes a second are read and written when half of that space is copied to the other half."""
    half = space // 2
    source, target = np.ones(half, np.uint8), np.zeros(half, np.uint8)
    parts = list(zip(np.array_split(source, threads), np.array_split(target, threads), strict=True))
    times = max(1, _COPIED_AT_ONCE // half)

    def copy(part: tuple[NDArray[np.uint8], NDArray[np.uint8]]) -> None:
        for _ in range(times):
            np.copyto(part[1], part[0])

    # NumPy lets other threads run while it copies.
    with ThreadPoolExecutor(threads) as pool:
        return 2 * half * times / _best_seconds(lambda: list(pool.map(copy, parts)), clock)


def _rate_of_product(open_graph: Open, graph: Path, options: EngineOptions, clock: Clock) -> float:
    """Return operations a second of a product, 0 where that way to run it refuses the graph."""
    dtype = np.uint8 if graph.stem == "int8" else np.float32
    feed: dict[str, NDArray[np.generic]] = {"a": np.ones((SIZE, SIZE), dtype)}
    try:
        with open_graph(graph, options) as session:
            session.run(feed)
            return 2 * SIZE**3 / _best_seconds(lambda: session.run(feed), clock)
    except CompressError:
        return 0.0


def _best_seconds(call: Callable[[], object], clock: Clock) -> float:
    """Return the shortest time of many calls: what slows the machine must not lower a peak."""
    best, start, made = float("inf"), clock(), 0
    while made < _FEWEST or clock() - start < _SECONDS_EACH:
        before = clock()
        call()
        best = min(best, clock() - before)
        made += 1
    return max(best, 1e-9)


def _float_product(folder: Path) -> Path:
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.full((SIZE, SIZE), 0.01, np.float32), "b")
    node = helper.make_node("MatMul", ["a", "b"], ["y"])
    return _write(folder / "float32.onnx", [node], [weight], TensorProto.FLOAT)


def _integer_product(folder: Path) -> Path:
    """Return the graph of a product of uint8 by int8 with quantized operands and result, in Q/DQ form."""
    from onnx import TensorProto, helper, numpy_helper

    constants = {
        "b8": np.ones((SIZE, SIZE), np.int8), "a_scale": np.float32(0.02), "a_zero": np.uint8(128),
        "b_scale": np.float32(0.01), "b_zero": np.int8(0), "y_scale": np.float32(0.5), "y_zero": np.uint8(128),
    }  # fmt: skip
    nodes = [
        helper.make_node("DequantizeLinear", ["a", "a_scale", "a_zero"], ["a32"]),
        helper.make_node("DequantizeLinear", ["b8", "b_scale", "b_zero"], ["b32"]),
        helper.make_node("MatMul", ["a32", "b32"], ["y32"]),
        helper.make_node("QuantizeLinear", ["y32", "y_scale", "y_zero"], ["y"]),
    ]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    return _write(folder / "int8.onnx", nodes, tensors, TensorProto.UINT8)


def _write(path: Path, nodes: "Sequence[NodeProto]", tensors: "Sequence[TensorProto]", dtype: int) -> Path:
    from onnx import helper

    ends = [helper.make_tensor_value_info(name, dtype, [SIZE, SIZE]) for name in ("a", "y")]
    graph = helper.make_graph(nodes, path.stem, ends[:1], ends[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path
