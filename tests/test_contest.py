"""The contest for the fastest engine, with engines whose speed and answers the test chooses."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from fake_engines import FakeClock, FakeSamples, FakeSession
from qdq_graphs import Sketch

from compress import contest, contestants
from compress.contest import choose_engine
from compress.data.metrics import load_metric
from compress.engines import Engines, Shipped, build_engines, measure_engines
from compress.errors import TargetError
from compress.gate import Policy
from compress.measure.race import race_engines
from compress.model import Model, StepRecord
from compress.options import Plan, RunOptions
from compress.project import EngineTable, Project
from compress.recipe import load_recipe
from compress.runtimes import Engine, Feed, Session, null
from compress.runtimes.engine_options import EngineOptions
from compress.runtimes.variants import Absent, InputShape, Providers, Variants
from compress.targets import Target

TARGET = Target(name="board", description="", runtime="null", precisions=("float32", "int8"))
CPU = EngineOptions()
OPENVINO = EngineOptions(provider="openvino")
BFLOAT16 = replace(OPENVINO, precision="bfloat16")
NO_ARENA = replace(CPU, arena=False)
X = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)

Key = tuple[str, EngineOptions]


def quiet(task: str, done: int, total: int) -> None:
    """Nobody watches."""


@dataclass
class FakeVariants:
    """Ways to run an engine; a call takes ``seconds`` of a clock and is off by ``noise``, by graph and options."""

    clock: FakeClock
    compressed: bytes
    seconds: Mapping[Key, float]
    noise: Mapping[Key, float] = field(default_factory=dict)
    broken: frozenset[Key] = frozenset()
    settings: tuple[EngineOptions, ...] = ()
    packed: list[tuple[Path, EngineOptions]] = field(default_factory=list)
    weighed: list[tuple[Path, EngineOptions, tuple[int, ...]]] = field(default_factory=list)
    unweighable: bool = False

    def list_variants(self, *, threads: int, providers: Providers) -> Variants:
        found = dict.fromkeys(options for _, options in self.seconds if options not in self.settings)
        if providers == "cpu":
            return Variants((CPU,), ())
        return Variants(tuple(found), (Absent("Abacus", "it is not installed"),))

    def list_settings(self, options: EngineOptions) -> tuple[EngineOptions, ...]:
        return self.settings

    def open_variant(self, graph: Path, options: EngineOptions, folder: Path) -> Session:
        key = ("compressed" if graph.read_bytes() == self.compressed else "original", replace(options, threads=1))
        if key in self.broken:
            raise TargetError("the provider refuses node `head`")
        off = self.noise.get(key, 0.1 if key[0] == "compressed" else 0.0)

        def compute(x: np.ndarray) -> dict[str, np.ndarray]:
            self.clock.now += self.seconds[key]
            signs = np.where(np.arange(x.size).reshape(x.shape) % 2, 1, -1)
            return {"y": (x + off * signs).astype(np.float32)}

        return FakeSession(compute)

    def pack_engine(
        self, engine: Engine, graph: Path, options: EngineOptions, inputs: Mapping[str, InputShape]
    ) -> Engine:
        assert inputs == {"x": InputShape("float32", (1, 3))}
        self.packed.append((graph, options))
        return engine

    def open_packed(self, engine: Engine, options: EngineOptions) -> Session:
        return self.open_variant(self.packed[-1][0], options, engine.folder)

    def measure_peak(self, engine: Engine, feed: Feed) -> int:
        if self.unweighable:
            raise TargetError("its process ended with code -9")
        options = next(options for graph, options in reversed(self.packed) if graph == engine.graph)
        self.weighed.append((engine.graph, options, feed["x"].shape))
        return 1000 * len(self.weighed)


def net(gain: float) -> Model:
    s = Sketch(["batch", 3])
    return s.finish(s.node("Mul", "x", s.constant(np.full(3, gain))), ["batch", 3])


def plan(seconds: float = 100.0, providers: Providers = "all") -> Plan:
    return Plan(
        model=Path("model.onnx"),
        options=RunOptions(targets=("board",)),
        project=Project(folder=Path(), engine=EngineTable(providers=providers, seconds=seconds)),
        targets=(TARGET,),
        recipe=load_recipe("float"),
        metric=load_metric("top1", Path()),
        policy=Policy(),
        out=Path("out"),
    )


@pytest.fixture
def built(tmp_path: Path) -> Engines:
    return build_engines(net(1.0), net(2.0), TARGET, tmp_path / "engine", quiet)


@dataclass
class Arranged:
    """A contest that is ready to be held."""

    engines: Engines
    runtime: FakeVariants

    def hold(self, its_plan: Plan | None = None) -> Engines:
        return choose_engine(self.engines, FakeSamples(X), its_plan or plan(), quiet)


@pytest.fixture
def arrange(built: Engines, monkeypatch: pytest.MonkeyPatch) -> partial[Arranged]:
    def ready(seconds: Mapping[Key, float], **kinds: object) -> Arranged:
        clock = FakeClock()
        runtime = FakeVariants(clock, built.model.to_bytes(), seconds, **kinds)  # type: ignore[arg-type]
        monkeypatch.setattr(contest, "load_variants", lambda _: runtime)
        monkeypatch.setattr("compress.engines.load_variants", lambda _: runtime)
        monkeypatch.setattr(contestants, "race_engines", partial(race_engines, clock=clock))
        return Arranged(built, runtime)

    return partial(ready)


FOUR = {("compressed", CPU): 1.0, ("compressed", OPENVINO): 2.0, ("original", CPU): 3.0, ("original", OPENVINO): 4.0}


def outcomes(engines: Engines) -> dict[str, str]:
    assert engines.contest is not None
    return {each.how: each.outcome for each in engines.contest.engines}


def test_the_fastest_engine_is_packed_and_the_runners_up_are_told(arrange: partial[Arranged]) -> None:
    arranged = arrange({**FOUR, ("compressed", OPENVINO): 0.5})
    chosen = arranged.hold()
    assert outcomes(chosen) == {
        "compressed on ONNX Runtime's own kernels": "slower",
        "compressed on OpenVINO": "won",
        "float32 original on ONNX Runtime's own kernels": "slower",
        "float32 original on OpenVINO": "slower",
    }
    assert chosen.shipped is not None
    assert (chosen.shipped.graph, chosen.shipped.options) == ("compressed", OPENVINO)
    assert arranged.runtime.packed == [(chosen.compressed.graph, OPENVINO)]
    assert chosen.contest is not None
    assert [each.ratio for each in chosen.contest.engines] == [2.0, 1.0, 6.0, 8.0]
    assert chosen.contest.absent == ("Abacus: it is not installed.",)
    assert chosen.contest.finding == (
        "Compressed on OpenVINO is the fastest of 4 engines: compressed on ONNX Runtime's own kernels took 2.00× its "
        "time (95 % interval 2.00× to 2.00×)."
    )


def test_the_original_is_shipped_where_it_is_faster_and_the_report_says_so(arrange: partial[Arranged]) -> None:
    chosen = arrange({**FOUR, ("original", OPENVINO): 0.8}).hold()
    assert chosen.shipped is not None
    assert chosen.shipped.graph == "original"
    assert chosen.shipped_model is chosen.original
    assert chosen.contest is not None
    assert (
        "The original graph is shipped: compressing it makes nothing faster on this machine" in chosen.contest.finding
    )
    assert chosen.contest.shipped == "float32 original on OpenVINO"


def test_the_original_may_not_race_where_it_is_larger_than_the_limit(arrange: partial[Arranged]) -> None:
    fast = {**FOUR, ("original", OPENVINO): 0.1}
    limited = replace(plan(), policy=Policy(max_size=1))
    chosen = arrange(fast).hold(limited)
    assert list(outcomes(chosen)) == ["compressed on ONNX Runtime's own kernels", "compressed on OpenVINO"]
    assert chosen.contest is not None
    size = chosen.baseline.size() if chosen.baseline else 0
    assert chosen.contest.absent[-1] == f"float32 original: it has {size} B, the limit is 1 B."
    roomy = arrange(fast).hold(replace(plan(), policy=Policy(max_size=size)))
    assert roomy.shipped is not None
    assert roomy.shipped.graph == "original"


def test_a_graph_that_was_made_small_is_not_given_up_for_a_faster_original(
    arrange: partial[Arranged], tmp_path: Path
) -> None:
    arranged = arrange({**FOUR, ("original", CPU): 0.1})
    record = StepRecord("weight-only", {}, 1.0, {}, "0" * 64, "1" * 64)
    small = net(2.0).with_record(record)
    arranged.engines = build_engines(net(1.0), small, TARGET, tmp_path / "small", quiet)
    chosen = arranged.hold()
    assert chosen.shipped is not None
    assert chosen.shipped.graph == "compressed"
    assert chosen.contest is not None
    assert chosen.contest.absent[-1] == ("float32 original: the step `weight-only` is there to save bytes, not time.")


def test_the_compressed_graph_wins_a_tie(arrange: partial[Arranged]) -> None:
    chosen = arrange(dict.fromkeys(FOUR, 1.0)).hold()
    assert chosen.shipped is not None
    assert (chosen.shipped.graph, chosen.shipped.options) == ("compressed", CPU)
    assert set(outcomes(chosen).values()) == {"won", "as fast"}


def test_an_engine_whose_answers_are_off_may_not_race_however_fast(arrange: partial[Arranged]) -> None:
    fast = {**FOUR, ("compressed", OPENVINO): 0.1, ("original", OPENVINO): 0.1}
    off = {("compressed", OPENVINO): 0.2, ("original", OPENVINO): 0.02}
    chosen = arrange(fast, noise=off).hold()
    assert chosen.contest is not None
    told = {each.how: each for each in chosen.contest.engines}
    assert [told[f"{graph} on OpenVINO"].outcome for graph in ("compressed", "float32 original")] == ["unfaithful"] * 2
    reason = told["float32 original on OpenVINO"].reason
    assert reason is not None
    assert reason.endswith("and 40.0 dB are the least")
    assert told["compressed on OpenVINO"].rounds == 0
    assert outcomes(chosen)["compressed on ONNX Runtime's own kernels"] == "won"


@pytest.mark.parametrize(("noise", "outcome"), [(0.05, "won"), (0.15, "unfaithful")])
def test_bfloat16_must_be_as_faithful_as_the_compressed_graph(
    arrange: partial[Arranged], noise: float, outcome: str
) -> None:
    seconds = {**FOUR, ("compressed", BFLOAT16): 5.0, ("original", BFLOAT16): 0.1}
    chosen = arrange(seconds, noise={("original", BFLOAT16): noise}).hold()
    assert outcomes(chosen)["float32 original on OpenVINO, bfloat16"] == outcome


def test_an_engine_that_is_refused_is_told_with_the_reason(arrange: partial[Arranged]) -> None:
    chosen = arrange(FOUR, broken=frozenset({("compressed", OPENVINO)})).hold()
    assert chosen.contest is not None
    refused = chosen.contest.engines[1]
    assert (refused.outcome, refused.reason) == ("refused", "the provider refuses node `head`")


def test_where_nothing_may_race_the_compressed_graph_is_shipped(arrange: partial[Arranged]) -> None:
    arranged = arrange(FOUR, noise={("original", CPU): np.nan})
    chosen = arranged.hold()
    assert set(outcomes(chosen).values()) == {"refused"}
    assert arranged.runtime.packed == [(chosen.compressed.graph, CPU)]
    assert chosen.contest is not None
    assert chosen.contest.finding.startswith("No engine could run in the contest")


def test_outputs_that_are_not_numbers_leave_the_race_to_the_others(arrange: partial[Arranged]) -> None:
    chosen = arrange(FOUR, noise={("compressed", CPU): np.nan}).hold()
    assert outcomes(chosen)["compressed on ONNX Runtime's own kernels"] == "refused"
    assert outcomes(chosen)["compressed on OpenVINO"] == "won"


def test_a_setting_is_changed_only_where_that_is_surely_faster(arrange: partial[Arranged]) -> None:
    seconds = {**FOUR, ("compressed", NO_ARENA): 0.9}
    changed = arrange(seconds, settings=(NO_ARENA,)).hold()
    assert changed.shipped is not None
    assert changed.shipped.options == NO_ARENA
    assert changed.contest is not None
    assert [each.outcome for each in changed.contest.settings] == ["slower", "won"]
    assert changed.contest.finding.endswith(
        "It runs with changed settings (compressed on ONNX Runtime's own kernels, no memory arena, 1.11× as fast)."
    )
    hurried = arrange(seconds, settings=(NO_ARENA,)).hold(plan(seconds=1.0))
    assert hurried.shipped is not None
    assert hurried.shipped.options == CPU


def test_only_own_kernels_are_tried_where_the_user_says_so(arrange: partial[Arranged]) -> None:
    chosen = arrange(FOUR).hold(plan(providers="cpu"))
    assert list(outcomes(chosen)) == [
        "compressed on ONNX Runtime's own kernels",
        "float32 original on ONNX Runtime's own kernels",
    ]


def test_a_graph_that_is_still_the_original_races_once_for_each_provider(
    arrange: partial[Arranged], tmp_path: Path
) -> None:
    arranged = arrange(FOUR)
    arranged.engines = build_engines(net(2.0), net(2.0), TARGET, tmp_path / "same", quiet)
    assert list(outcomes(arranged.hold())) == ["compressed on ONNX Runtime's own kernels", "compressed on OpenVINO"]


def test_without_time_for_it_there_is_no_contest_and_the_engine_is_packed(arrange: partial[Arranged]) -> None:
    arranged = arrange(FOUR)
    chosen = arranged.hold(plan(seconds=0.0))
    assert chosen.contest is None
    assert arranged.runtime.packed == [(chosen.compressed.graph, CPU)]


def test_a_runtime_with_one_way_to_run_an_engine_has_no_contest(built: Engines) -> None:
    assert choose_engine(built, FakeSamples(X), plan(), quiet) is built


def test_what_is_measured_is_the_chosen_engine(arrange: partial[Arranged]) -> None:
    arranged = arrange({**FOUR, ("compressed", OPENVINO): 0.5}, noise={("compressed", OPENVINO): 0.05})
    assert arranged.engines.baseline is not None
    null.record(arranged.engines.baseline, {"y": X})
    measured = measure_engines(arranged.hold(), FakeSamples(X), plan(), quiet)
    assert measured.fidelity.max_abs_error == pytest.approx(0.05, rel=1e-4)


def test_memory_is_that_of_both_engines_at_the_latencys_batch_and_threads(arrange: partial[Arranged]) -> None:
    fewer = replace(CPU, threads=2)
    arranged = arrange({**FOUR, ("compressed", CPU): 1.0}, settings=(fewer,))
    its_plan = replace(plan(), options=RunOptions(targets=("board",), threads=4, latency_seconds=0.01))
    engines = arranged.hold(its_plan)
    assert engines.shipped is not None
    measured = measure_engines(engines, FakeSamples(X), its_plan, quiet)
    assert engines.baseline is not None
    shape = (1, 3)
    assert arranged.runtime.weighed == [
        (engines.baseline.graph, EngineOptions(threads=4), shape),
        (engines.compressed.graph, engines.shipped.options, shape),
    ]
    assert measured.memory is not None
    assert (measured.memory.baseline_peak, measured.memory.compressed_peak) == (1000, 2000)
    assert "a process of its own" in measured.memory.method
    assert measured.notes == ()


def test_memory_that_cannot_be_measured_is_none_and_the_reason_is_told(arrange: partial[Arranged]) -> None:
    arranged = arrange(FOUR, unweighable=True)
    measured = measure_engines(arranged.hold(), FakeSamples(X), plan(), quiet)
    assert measured.memory is None
    assert measured.notes == ("Peak memory was not measured: its process ended with code -9.",)


def test_latency_is_measured_with_the_threads_that_the_engine_chose(
    arrange: partial[Arranged], monkeypatch: pytest.MonkeyPatch
) -> None:
    fewer = replace(CPU, threads=2)
    arranged = arrange({**FOUR, ("compressed", CPU): 1.0}, settings=(fewer,))
    engines = replace(arranged.hold(), shipped=Shipped("compressed", fewer))
    opened: list[int] = []
    known = arranged.runtime.open_variant

    def open_variant(graph: Path, options: EngineOptions, folder: Path) -> Session:
        opened.append(options.threads)
        return known(graph, options, folder)

    monkeypatch.setattr(arranged.runtime, "open_variant", open_variant)
    its_plan = replace(plan(), options=RunOptions(targets=("board",), threads=4, latency_seconds=0.01))
    measured = measure_engines(engines, FakeSamples(X), its_plan, quiet)
    assert opened[-1] == 2
    assert measured.latency is not None
    assert measured.latency.threads == 4
