import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from fake_engines import FakeSamples
from faulty_nets import build_faulty
from qat_models import make_context, quantized, random_samples, run_graph, sqnr_db
from small_graphs import build_residual

import compress.quantize.mixed.step as step_module
import compress.quantize.mixed.tryout as tryout_module
from compress.data.binding import bind_samples
from compress.errors import ConfigError, ModelError, TargetError, UsageError
from compress.model import Model
from compress.quantize.layers import find_layers
from compress.quantize.mixed.half import to_float16
from compress.quantize.mixed.settings import MixedSettings
from compress.quantize.mixed.step import mix_precision
from compress.quantize.mixed.units import find_units
from compress.quantize.qat.settings import QatSettings
from compress.quantize.qat.step import train_quantized
from compress.steps import StepContext
from compress.targets import DialectName


class CountedMeter:
    """Measures as a board would on which a layer takes a second in float and half of that in INT8."""

    runs = 0

    def __init__(self, baseline: Model, timing: object, context: StepContext) -> None:
        self.layers = sum(node.op_type in ("Conv", "Gemm") for node in baseline.graph.graph)
        self.dialect = context.target.dialect

    def removed(self, model: Model) -> float:
        CountedMeter.runs += 1
        return 0.5 * len([layer for layer in find_layers(model, self.dialect) if layer.weight]) / self.layers

    def __enter__(self) -> "CountedMeter":
        return self

    def __exit__(self, *_: object) -> None: ...


@pytest.fixture(autouse=True)
def board(monkeypatch: pytest.MonkeyPatch) -> None:
    CountedMeter.runs = 0
    monkeypatch.setattr(step_module, "LatencyMeter", CountedMeter)


def mixed(
    original: Model, folder: Path, dialect: DialectName = "u8s8", **settings: object
) -> tuple[Model, dict[str, object]]:
    model = quantized(original, folder, dialect)
    result = mix_precision(model, MixedSettings(**settings), make_context(original, folder, dialect))  # type: ignore[arg-type]
    return result.model, dict(result.metrics)


def test_exactly_the_layer_with_a_bad_weight_stays_float(tmp_path: Path) -> None:
    original = build_faulty("weight")
    model, metrics = mixed(original, tmp_path, min_sqnr_db=30.0)
    assert metrics["float_layers"] == ["conv1"]
    assert metrics["goal_met"] is True
    assert metrics["speedup"] == pytest.approx(1 / 0.6)
    x = random_samples()
    assert sqnr_db(run_graph(original, x), run_graph(model, x)) > 30


def test_a_bad_activation_takes_its_writer_and_its_reader(tmp_path: Path) -> None:
    _, metrics = mixed(build_faulty("activation"), tmp_path, min_sqnr_db=30.0)
    assert metrics["float_layers"] == ["conv1", "conv2"]


def test_where_layers_write_floats_only_the_reader_of_a_bad_activation_stays_float(tmp_path: Path) -> None:
    _, metrics = mixed(build_faulty("activation"), tmp_path, "s8s8-symmetric", min_sqnr_db=30.0)
    assert metrics["float_layers"] == ["conv2"]


def test_a_model_within_its_budget_stays_as_it_is(tmp_path: Path) -> None:
    original = build_residual()
    before = quantized(original, tmp_path)
    model, metrics = mixed(original, tmp_path, min_sqnr_db=20.0)
    assert metrics["float_layers"] == []
    assert model.to_bytes() == before.to_bytes()
    assert metrics["decided_by"] == "interval"


def test_with_a_speed_to_keep_the_engine_is_as_accurate_as_it_can_be(tmp_path: Path) -> None:
    original = build_faulty("activation")
    _, tight = mixed(original, tmp_path, min_speedup=1.6)
    _, loose = mixed(original, tmp_path, min_speedup=1.4)
    assert len(tight["float_layers"]) <= 1  # type: ignore[arg-type]
    assert isinstance(loose["float_layers"], list)
    assert set(loose["float_layers"]) >= {"conv1", "conv2"}
    assert loose["sqnr_db"] > tight["sqnr_db"] + 10  # type: ignore[operator]
    assert loose["goal"] == "speed-up of at least 1.4"


def test_layers_can_be_kept_float_by_name(tmp_path: Path) -> None:
    model, metrics = mixed(build_residual(), tmp_path, min_sqnr_db=20.0, keep_float=("conv0",))
    assert "conv0" in metrics["float_layers"]  # type: ignore[operator]
    assert "conv0" not in {layer.name for layer in find_layers(model, "u8s8")}
    with pytest.raises(ConfigError, match="no INT8 layer is called `conv9`") as caught:
        mixed(build_residual(), tmp_path, keep_float=("conv9",))
    assert "conv0" in str(caught.value.hint)


def test_a_goal_that_nothing_meets_gives_the_nearest_and_says_so(tmp_path: Path) -> None:
    # Nobody remembers the float weights here, so that even all layers in float would not be the original.
    original = build_faulty("none")
    model = quantized(original, tmp_path / "elsewhere")
    settings = MixedSettings(min_sqnr_db=300.0)
    metrics = mix_precision(model, settings, make_context(original, tmp_path)).metrics
    assert metrics["goal_met"] is False
    assert metrics["float_layers"]


def test_the_frontier_is_in_the_metrics_and_trials_are_on_disk(tmp_path: Path) -> None:
    _, metrics = mixed(build_faulty("weight"), tmp_path, min_sqnr_db=30.0)
    frontier = metrics["frontier"]
    assert isinstance(frontier, list)
    assert [point["layers"] for point in frontier][:2] == [[], ["conv1"]]
    (file,) = tmp_path.glob("mixed-*/trials.jsonl")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert sum(line["kind"] == "trial" for line in lines) == metrics["trials"]


def test_a_search_goes_on_where_it_was_and_repeats_no_trial(tmp_path: Path) -> None:
    original = build_faulty("weight")
    first, before = mixed(original, tmp_path, min_sqnr_db=30.0)
    runs = CountedMeter.runs
    (file,) = tmp_path.glob("mixed-*/trials.jsonl")
    content = file.read_text()
    again, after = mixed(original, tmp_path, min_sqnr_db=30.0)
    assert again.to_bytes() == first.to_bytes()
    assert after["trials_from_before"] == before["trials"] == after["trials"]
    assert CountedMeter.runs == runs
    assert file.read_text() == content


def test_without_time_the_quantized_model_is_the_best_so_far(tmp_path: Path) -> None:
    _, metrics = mixed(build_faulty("weight"), tmp_path, min_sqnr_db=30.0, time_budget_seconds=1e-3)
    assert metrics["float_layers"] == []
    assert metrics["stopped"] == "time"
    assert metrics["goal_met"] is False


def test_without_a_device_layers_are_counted_and_a_speed_cannot_be_demanded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise UsageError("cannot be run")

    monkeypatch.setattr(step_module, "LatencyMeter", refuse)
    _, metrics = mixed(build_faulty("weight"), tmp_path, min_sqnr_db=30.0)
    assert (metrics["float_layers"], metrics["latency"], metrics["speedup"]) == (["conv1"], "counted", None)
    with pytest.raises(UsageError, match="cannot be run"):
        mixed(build_faulty("weight"), tmp_path, min_speedup=1.5)


def test_a_float_model_has_nothing_to_choose_from(tmp_path: Path) -> None:
    original = build_residual()
    with pytest.raises(ModelError, match="no layer of the model is INT8") as caught:
        mix_precision(original, MixedSettings(), make_context(original, tmp_path))
    assert "quantize" in str(caught.value.hint)


def test_goals_follow_the_outputs_and_what_is_stated(tmp_path: Path) -> None:
    _, metrics = mixed(build_residual(), tmp_path, max_drop=50.0)
    assert metrics["goal"] == "expected drop of at most 50 points"
    _, metrics = mixed(build_residual(), tmp_path, min_agreement=0.5)
    assert metrics["goal"] == "agreement of at least 50 %"
    _, metrics = mixed(build_residual(), tmp_path)
    assert metrics["goal"] == "SQNR of at least 20 dB"


def test_units_are_activations_with_writers_and_readers_and_single_layers(tmp_path: Path) -> None:
    model = quantized(build_residual(), tmp_path)
    units = {frozenset(unit.names) for unit in find_units(model, find_layers(model, "u8s8"), "u8s8")}
    assert frozenset({"conv0", "conv1", "add"}) in units  # r0 is read by the depthwise convolution and by the Add
    assert frozenset({"conv2", "add"}) in units
    assert frozenset({"gemm"}) in units


KILLED = """
import os, sys
from pathlib import Path
import compress.quantize.mixed.step as step
from compress.quantize.mixed.archive import Archive
import tests_of_mixed as support

step.LatencyMeter = support.CountedMeter
finished = Archive.add_trial
def add(self, trial):
    finished(self, trial)
    if len(self.trials) == 3:
        os.kill(os.getpid(), 9)
Archive.add_trial = add
support.mixed(support.build_faulty("weight"), Path(sys.argv[1]), min_sqnr_db=30.0)
"""


def test_a_search_that_is_killed_repeats_no_finished_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    support = Path(__file__).parent.parent / "support"
    (tmp_path / "tests_of_mixed.py").write_text(Path(__file__).read_text())
    paths = os.pathsep.join([str(support.parent.parent), str(support), str(tmp_path)])
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "store")],
        env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (file,) = (tmp_path / "store").glob("mixed-*/trials.jsonl")
    before = file.read_text()
    _, metrics = mixed(build_faulty("weight"), tmp_path / "store", min_sqnr_db=30.0)
    assert metrics["trials_from_before"] == 3
    assert metrics["float_layers"] == ["conv1"]
    after = file.read_text()
    assert after.startswith(before)
    tried = [json.dumps(line["layers"]) for line in map(json.loads, after.splitlines()) if line["kind"] == "trial"]
    assert len(tried) == len(set(tried))


def test_trials_compare_as_many_samples_as_it_takes(tmp_path: Path) -> None:
    mixed(build_faulty("weight"), tmp_path, min_sqnr_db=30.0)
    (file,) = tmp_path.glob("mixed-*/trials.jsonl")
    trials = [line for line in map(json.loads, file.read_text().splitlines()) if line["kind"] == "trial"]
    assert {line["decision"] for line in trials} >= {"accepted", "rejected"}
    assert min(line["samples"] for line in trials if line["decision"] == "rejected") == 16
    assert np.isfinite([line["excess"] for line in trials]).all()


def test_a_mixed_model_can_be_trained_and_its_float_layers_stay_float(tmp_path: Path) -> None:
    original = build_faulty("weight")
    x = np.random.default_rng(3).standard_normal((64, 3, 8, 8)).astype(np.float32)
    context = make_context(original, tmp_path, calibration=bind_samples(FakeSamples(x), original.inputs))
    model = mix_precision(quantized(original, tmp_path), MixedSettings(min_sqnr_db=30.0), context).model
    settings = QatSettings(steps=10, batch=8, evaluate_every=5, held_out_share=0.2)
    result = train_quantized(model, settings, context)
    assert result.metrics["weights"] == 4
    assert {layer.name for layer in find_layers(result.model, "u8s8")} == {"conv0", "conv2", "conv3", "gemm"}
    assert result.metrics["sqnr_db_after"] >= result.metrics["sqnr_db_before"]  # type: ignore[operator]


def test_a_candidate_that_cannot_be_built_does_not_end_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Picky(CountedMeter):
        def removed(self, model: Model) -> float:
            if "conv1" not in {layer.name for layer in find_layers(model, "u8s8")}:
                raise TargetError("the compiler refuses `conv1` in float")
            return super().removed(model)

    monkeypatch.setattr(step_module, "LatencyMeter", Picky)
    _, metrics = mixed(build_faulty("weight"), tmp_path, min_sqnr_db=30.0)
    assert metrics["goal_met"] is False
    assert "conv1" not in metrics["float_layers"]  # type: ignore[operator]


def test_a_model_that_cannot_be_run_at_all_is_the_users_to_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refuses(CountedMeter):
        def removed(self, model: Model) -> float:
            raise TargetError("the compiler refuses the INT8 model")

    monkeypatch.setattr(step_module, "LatencyMeter", Refuses)
    with pytest.raises(TargetError, match="refuses the INT8 model"):
        mixed(build_faulty("weight"), tmp_path, min_sqnr_db=30.0)


def test_outputs_that_overflow_are_a_candidate_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def overflow(model: Model, names: frozenset[str], magnitudes: dict[str, float]) -> Model:
        changed = to_float16(model, names, magnitudes)
        for name, value in changed.graph.graph.initializers.items():
            if name.endswith("_half") and value.const_value is not None:
                value.const_value = ir.tensor(np.full(value.const_value.numpy().shape, np.inf, np.float16))
        return changed

    monkeypatch.setattr(tryout_module, "to_float16", overflow)
    _, metrics = mixed(build_faulty("weight"), tmp_path, min_sqnr_db=30.0, float_type="float16")
    assert (metrics["goal_met"], metrics["float_layers"]) == (False, [])
