"""``vpmaddubsw`` adds two products of uint8 and int8 in 16 bits: full-range weights overflow it, 7-bit ones never."""

from pathlib import Path

import numpy as np
import pytest
from fake_engines import FakeSamples
from onnx import helper
from small_graphs import build

from compress.devices.cpus import CPUS
from compress.devices.session import open_emulated
from compress.measure.fidelity import FidelityMeter
from compress.quantize.dialects import DIALECTS
from compress.quantize.static import QuantizeSettings, quantize_static
from compress.runtimes import open_graph
from compress.steps import StepContext
from compress.store import Store
from compress.targets import DialectName, load_target


def add_pair(first: int, second: int, weights: tuple[int, int]) -> int:
    """Return what ``vpmaddubsw`` makes of two uint8 and two int8 values (Intel SDM: SaturateToSignedWord)."""
    return int(np.clip(first * weights[0] + second * weights[1], -(2**15), 2**15 - 1))


@pytest.mark.parametrize(("dialect", "saturates"), [("u8s8", True), ("u8s8-7bit", False)])
def test_only_full_range_weights_can_saturate(dialect: DialectName, saturates: bool) -> None:
    grid, activation = DIALECTS[dialect].weight, DIALECTS[dialect].activation
    extremes = [(a, b) for a in (grid.low, grid.high) for b in (grid.low, grid.high)]
    high = activation.high
    differs = [add_pair(high, high, pair) != high * pair[0] + high * pair[1] for pair in extremes]
    assert any(differs) == saturates


def test_targets_without_vnni_get_seven_bits_and_those_with_it_get_eight() -> None:
    assert load_target("x86-avx2").dialect == "u8s8-7bit"
    assert {load_target(name).dialect for name in ("x86-vnni", "x86-amx", "rpi5")} == {"u8s8"}


def measure_on_haswell(target: str, folder: Path) -> tuple[float, float]:
    """Return the SQNR in dB of a target's INT8 engine on an emulated Haswell, and of its graph as it is written.

    All products have one sign and are near the largest there are, as behind a ReLU6 with its values near six.
    """
    random = np.random.default_rng(0)
    weight = random.uniform(0.6, 1.0, (16, 256)).astype(np.float32)
    bias = np.zeros(16, np.float32)
    model = build([helper.make_node("Gemm", ["x", "w", "b"], ["y"], "gemm", transB=1)], {"w": weight, "b": bias},
                  ["batch", 256], ["y"])  # fmt: skip
    samples = FakeSamples(random.uniform(0.6, 1.0, (32, 256)).astype(np.float32))
    context = StepContext(load_target(target), samples, 1, 0, Store(folder / "store"), lambda *_: None, model)
    engine = folder / "model.onnx"
    plain = QuantizeSettings(observer="minmax", equalize=False, bias_correction="none")
    engine.write_bytes(quantize_static(model, plain, context).model.to_bytes())
    emulated, written = FidelityMeter(), FidelityMeter()
    with (
        open_graph(model.to_bytes(), threads=1) as original,
        open_graph(engine, threads=1, simulate=True) as graph,
        open_emulated(CPUS["haswell"], engine) as haswell,
    ):
        feed = {"x": samples.x}
        exact = original.run(feed)
        emulated.add(exact, haswell.run(feed), len(samples))
        written.add(exact, graph.run(feed), len(samples))
    found = emulated.result().sqnr_db, written.result().sqnr_db
    assert found[0] is not None
    assert found[1] is not None
    return found[0], found[1]


@pytest.mark.qemu
def test_a_cpu_without_vnni_spoils_the_dialect_of_vnni(tmp_path: Path) -> None:
    # Measured: 13.4 dB on the CPU, 74.7 dB as the graph is written.
    emulated, written = measure_on_haswell("x86-vnni", tmp_path)
    assert written > 60
    assert emulated < 20


@pytest.mark.qemu
def test_a_cpu_without_vnni_computes_its_own_dialect_as_it_is_written(tmp_path: Path) -> None:
    # Measured: 67.2 dB on the CPU, 67.2 dB as the graph is written.
    emulated, written = measure_on_haswell("x86-avx2", tmp_path)
    assert emulated > 60
    assert emulated == pytest.approx(written, abs=1.0)
