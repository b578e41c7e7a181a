"""The explanation of an engine's speed, from a real engine to the record."""

from dataclasses import replace
from pathlib import Path

import pytest
from fake_engines import FakeSamples
from qdq_graphs import residual_net, samples
from small_graphs import build_residual

from compress import machine, speed
from compress.contest import choose_engine
from compress.data.metrics import load_metric
from compress.engines import Engines, build_engines, measure_engines
from compress.errors import TargetError
from compress.gate import Policy
from compress.measure.peaks import Rates
from compress.measured import Measured
from compress.model import Model
from compress.options import Plan, RunOptions
from compress.project import EngineTable, Project
from compress.recipe import load_recipe
from compress.runtimes import Availability
from compress.speed import Speed, explain_speed, rates_here
from compress.targets import Target, load_target

SAMPLES = FakeSamples(samples(4, 2, 8, 8))
RATES = Rates({"int8": 1e12, "float32": 1e12}, ((1 << 40, 1e12),), "a test")


def quiet(task: str, done: int, total: int) -> None:
    """Nobody watches."""


@pytest.fixture
def plan() -> Plan:
    return Plan(
        model=Path("model.onnx"),
        options=RunOptions(targets=("x86-vnni",), latency_seconds=0.05),
        project=Project(folder=Path(), engine=EngineTable(providers="cpu", seconds=0)),
        targets=(),
        recipe=load_recipe("float"),
        metric=load_metric("top1", Path()),
        policy=Policy(),
        out=Path("out"),
    )


def built(target: Target, folder: Path, plan: Plan, model: Model | None = None) -> tuple[Engines, Measured]:
    original = residual_net(dtype="int8", zero_point=0)
    compressed = model or residual_net(dtype="uint8", zero_point=128)
    engines = choose_engine(build_engines(original, compressed, target, folder / "engine", quiet), SAMPLES, plan, quiet)
    return engines, measure_engines(engines, SAMPLES, plan, quiet)


def test_an_engine_that_runs_here_is_attributed_and_bounded(
    tmp_path: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "detect_isa", lambda: "x86-vnni")
    monkeypatch.setattr(speed, "rates_here", lambda *_: RATES)
    engines, measured = built(load_target("x86-vnni"), tmp_path, plan)
    found = explain_speed(engines, measured, SAMPLES, plan, quiet)
    assert found.attribution is not None
    assert found.attribution.integer_layers == 1
    assert found.bound is not None
    assert found.roofline is not None
    assert measured.latency is not None
    assert found.bound.share_of_bound == pytest.approx(found.bound.seconds / measured.latency.compressed.p50)
    assert all(layer.seconds is not None for layer in found.roofline.layers)


def test_a_board_that_is_not_here_has_the_bound_of_its_file_and_no_share(tmp_path: Path, plan: Plan) -> None:
    engines, measured = built(load_target("raspberry-pi-5"), tmp_path, plan)
    found = explain_speed(engines, measured, SAMPLES, plan, quiet)
    assert found.attribution is None
    assert found.bound is not None
    assert found.bound.share_of_bound is None
    assert found.roofline is not None
    assert found.roofline.source.startswith("the file of target raspberry-pi-5: ")
    assert all(peak.source in found.roofline.source for peak in load_target("raspberry-pi-5").peaks)
    assert found.roofline.finding.startswith(
        "Roofline bound, not a latency: no engine of this graph can take less than"
    )


def test_without_peaks_and_without_the_device_nothing_is_said(tmp_path: Path, plan: Plan) -> None:
    engines, measured = built(load_target("raspberry-pi-4"), tmp_path, plan)
    assert explain_speed(engines, measured, SAMPLES, plan, quiet) == Speed()


def test_a_profile_that_fails_costs_the_explanation_and_not_the_run(
    tmp_path: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines, measured = built(load_target("raspberry-pi-5"), tmp_path, plan)
    here = replace(engines, available=Availability(build=True, run=True, versions={}))

    def fail(*_: object, **__: object) -> None:
        raise TargetError("no profile")

    monkeypatch.setattr("compress.runtimes.onnxruntime_variants.profile_engine", fail)
    assert explain_speed(here, measured, SAMPLES, plan, quiet) == Speed()


def test_rates_are_measured_once_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def measure(*_: object, **__: object) -> Rates:
        calls.append(1)
        return RATES

    monkeypatch.setattr(speed, "measure_rates", measure)
    rates_here.cache_clear()
    assert rates_here("onnxruntime", 1, "cpu") is rates_here("onnxruntime", 1, "cpu") is RATES
    assert len(calls) == 1
    assert rates_here("tensorrt", 1, "cpu") is None
    rates_here.cache_clear()


def test_sizes_of_named_dimensions_come_from_the_samples(tmp_path: Path, plan: Plan) -> None:
    engines = build_engines(build_residual(), build_residual(), load_target("raspberry-pi-5"), tmp_path / "e", quiet)
    assert speed._sizes(engines, {"x": samples(3, 3, 8, 8)}) == (3, {"batch": 3})
