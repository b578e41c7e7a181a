"""Bounds are checked against numbers worked out by hand."""

from pathlib import Path

import numpy as np
import pytest
from fake_engines import FakeClock, FakeSession
from qdq_graphs import residual_net
from small_graphs import build_residual

from compress.errors import TargetError
from compress.measure.attribution import LayerRun
from compress.measure.peaks import SETS, SIZE, Rates, measure_bandwidth, measure_rates, rates_of
from compress.measure.roofline import bound_layers, count_work
from compress.report.speed import bound_rows, describe_rates
from compress.runtimes.engine_options import EngineOptions
from compress.runtimes.onnxruntime_variants import open_variant
from compress.runtimes.variants import RanNode
from compress.targets import load_target

RATES = Rates({"int8": 1e9, "float32": 1e8}, ((1000, 1e9), (1_000_000, 2e7)), "a test")
BFLOAT16 = EngineOptions(provider="openvino", precision="bfloat16")


def test_work_is_operations_and_bytes_of_the_compute_layers() -> None:
    work = count_work(build_residual(), batch=2, sizes={})
    assert [layer.name for layer in work] == ["conv0", "conv1", "conv2", "gemm"]
    # conv0: [2, 3, 8, 8] → [2, 8, 8, 8] with a weight [8, 3, 3, 3] and a bias of 8.
    assert work[0].operations == 2 * (2 * 8 * 8 * 8) * 27
    assert work[0].bytes == 4 * (2 * 3 * 64 + 2 * 8 * 64 + 8 * 27 + 8)
    assert {layer.precision for layer in work} == {"float32"}


def test_float_layers_move_half_the_bytes_in_bfloat16() -> None:
    full, half = (count_work(build_residual(), batch=1, sizes={}, floats=kind) for kind in ("float32", "bfloat16"))
    assert [layer.bytes for layer in half] == [layer.bytes // 2 for layer in full]
    assert {layer.precision for layer in half} == {"bfloat16"}


def test_integer_layers_move_a_byte_for_each_activation() -> None:
    work = count_work(residual_net(dtype="uint8", zero_point=128), batch=1, sizes={})
    assert {layer.precision for layer in work} == {"int8"}
    # Conv_3: [1, 2, 8, 8] → [1, 8, 8, 8], each activation one byte; weights and scales as they are stored.
    inside, stored = (2 + 8) * 64, 208
    assert work[0].bytes == inside + stored


def test_a_layer_is_bounded_by_arithmetic_or_by_the_cache_it_fits_into() -> None:
    work = count_work(build_residual(), batch=2, sizes={})
    found = bound_layers(work, RATES)
    assert found is not None
    bound, roofline = found
    conv0, conv1, conv2, gemm = roofline.layers
    assert conv0.limited_by == "compute"
    assert conv0.bound_seconds == pytest.approx(work[0].operations / 1e8)
    # The last layer's few bytes fit into the fast level, the third convolution's do not.
    assert gemm.bound_seconds == pytest.approx(max(work[3].operations / 1e8, work[3].bytes / 1e9))
    assert conv2.limited_by == "memory"
    assert conv2.bound_seconds == pytest.approx(work[2].bytes / 2e7)
    assert bound.seconds == pytest.approx(sum(layer.bound_seconds for layer in (conv0, conv1, conv2, gemm)))
    assert bound.share_of_bound is None


def test_layers_that_lose_most_time_are_named_first() -> None:
    model = build_residual()
    work = count_work(model, batch=1, sizes={})
    nodes = [node for node in model.graph.graph if node.op_type in ("Conv", "Gemm")]
    runs = [
        LayerRun(node, RanNode(node.name or "", "Conv", "", 1e-3 * (1 + index))) for index, node in enumerate(nodes)
    ]
    found = bound_layers(work, RATES, runs[:3], seconds=0.1)
    assert found is not None
    bound, roofline = found
    assert bound.share_of_bound == pytest.approx(bound.seconds / 0.1)
    assert bound_rows(roofline)[0][0] == "conv2"
    assert roofline.layers[3].seconds is None
    assert "this one reaches 1 % of that bound" in roofline.finding
    assert "held back most by `conv2` (3.00 ms where" in roofline.finding
    assert describe_rates(roofline).startswith("Rates: int8 1 GOPS, float32 0 GOPS; memory: 1.00 KB at 1.0 GB/s, ")


def test_an_engine_at_the_bound_does_not_pass_it() -> None:
    found = bound_layers(count_work(build_residual(), batch=1, sizes={}), RATES, seconds=1e-9)
    assert found is not None
    assert found[0].share_of_bound == 1.0


def test_without_work_or_a_peak_there_is_no_bound() -> None:
    work = count_work(build_residual(), batch=1, sizes={})
    assert bound_layers((), RATES) is None
    assert bound_layers(work, Rates({"int8": 1e9}, ((1, 1.0),), "a test")) is None


def test_a_target_file_gives_rates_where_it_has_peaks_and_bandwidth() -> None:
    board = rates_of(load_target("raspberry-pi-5"))
    assert board is not None
    assert board.operations_per_second == {"float32": 153.6e9, "int8": 614.4e9}
    assert board.bytes_per_second(1) == 17.1e9
    assert rates_of(load_target("raspberry-pi-4")) is None
    assert rates_of(load_target("x86-vnni")) is None


def test_the_peak_of_a_precision_is_the_best_that_any_provider_reaches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compress.measure.peaks.measure_bandwidth", lambda space, threads, clock: 1e9)
    clock = FakeClock()
    seconds = {("int8", "cpu"): 0.02, ("int8", "openvino"): 0.01, ("float32", "cpu"): 0.03}

    def open_graph(graph: Path, options: EngineOptions) -> FakeSession:
        if options == BFLOAT16 and graph.stem == "int8":
            raise TargetError("refused")
        took = 0.04 if options.precision == "bfloat16" else seconds.get((graph.stem, options.provider), 0.05)

        def compute(a: np.ndarray) -> dict[str, np.ndarray]:
            clock.now += took
            return {"y": a}

        session = FakeSession(compute)
        return _RenamedInput(session)  # type: ignore[return-value]

    ways = (EngineOptions(), EngineOptions(provider="openvino"), BFLOAT16)
    rates = measure_rates(open_graph, ways, folder=tmp_path, clock=clock)
    work = 2 * SIZE**3
    assert rates.operations_per_second["int8"] == pytest.approx(work / 0.01, rel=0.01)
    assert rates.operations_per_second["float32"] == pytest.approx(work / 0.03, rel=0.01)
    assert rates.operations_per_second["bfloat16"] == pytest.approx(work / 0.04, rel=0.01)
    assert rates.bandwidths == tuple((size, 1e9) for size in SETS)


class _RenamedInput:
    """A session whose input is called ``a``."""

    def __init__(self, session: FakeSession) -> None:
        self.session = session

    def run(self, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return self.session.run({"x": feed["a"]})

    def __enter__(self) -> "_RenamedInput":
        return self

    def __exit__(self, *_: object) -> None: ...


def test_real_products_run_in_integers_and_in_float(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compress.measure.peaks._SECONDS_EACH", 0.01)
    rates = measure_rates(
        lambda graph, options: open_variant(graph, options, tmp_path), (EngineOptions(),), folder=tmp_path
    )
    assert set(rates.operations_per_second) == {"int8", "float32"}
    assert all(1e8 < rate < 1e14 for rate in rates.operations_per_second.values())
    assert all(1e7 < rate < 1e13 for _, rate in rates.bandwidths)
    assert rates.bytes_per_second(1 << 40) == rates.bandwidths[-1][1]


@pytest.mark.parametrize("threads", [1, 2])
def test_bandwidth_counts_what_is_read_and_what_is_written(threads: int) -> None:
    ticks = iter(np.arange(0.0, 100.0, 0.5))
    found = measure_bandwidth(1 << 22, threads, clock=lambda: float(next(ticks)))
    # Half of 4 MiB is copied twice in a call of half a second.
    assert found == pytest.approx(2 * (1 << 21) * 2 / 0.5)
