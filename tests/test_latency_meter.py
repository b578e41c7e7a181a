from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hand_coupled import context_of, wide_network

from compress.errors import UsageError
from compress.latency_meter import LatencyMeter, Timing, shape_digest
from compress.measure.cost import count_cost, sum_cost
from compress.measure.latency import measure_latency
from compress.model import Model
from compress.prune.coupling import analyse
from compress.prune.settings import PruneSettings
from compress.prune.step import prune
from compress.prune.surgery import cut
from compress.runtimes import Availability, Engine, Feed, null
from compress.runtimes.build_settings import DEFAULT, BuildSettings
from compress.steps import StepContext

MODEL = wide_network()
COUPLING = analyse(MODEL)


def macs(model: Model) -> int:
    return sum_cost(count_cost(model)).macs


class Board:
    """A runtime on which a call takes a tenth of a second for everything, and time for each MAC."""

    def __init__(self) -> None:
        self.now = 0.0
        self.built: list[Path] = []
        self.threads: set[int] = set()
        self.batches: set[int] = set()

    def available(self, target: object) -> Availability:
        return Availability(build=True, run=True, versions={"board": "1"})

    def build(self, model: Model, target: Any, folder: Path, settings: BuildSettings = DEFAULT) -> Engine:
        self.built.append(folder)
        return null.build(model, target, folder)

    def open(self, engine: Engine, *, threads: int) -> "Call":
        self.threads.add(threads)
        return Call(self, Model.from_bytes(engine.graph.read_bytes()))


class Call:
    def __init__(self, board: Board, model: Model) -> None:
        self.board, self.seconds = board, 0.1 + 0.9 * macs(model) / macs(MODEL)

    def run(self, feed: Feed) -> dict[str, Any]:
        self.board.now += self.seconds
        self.board.batches.add(len(feed["x"]))
        return {}

    def __enter__(self) -> "Call":
        return self

    def __exit__(self, *_: object) -> None:
        self.board.now += 0


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Iterator[Board]:
    found = Board()

    def measure(*calls: Any, **changes: Any) -> Any:
        return measure_latency(*calls, **changes, clock=lambda: found.now)

    monkeypatch.setattr("compress.latency_meter.load_runtime", lambda _: found)
    monkeypatch.setattr("compress.latency_meter.measure_latency", measure)
    yield found
    assert not any(folder.exists() for folder in found.built)


TIMING = Timing(threads=3, batch=2, seconds=20.0)


def smaller(count: int) -> Model:
    return cut(MODEL, COUPLING, {COUPLING.groups[0].name: tuple(range(count))})


def test_what_is_removed_is_the_share_of_the_median_latency(board: Board, tmp_path: Path) -> None:
    model = smaller(16)
    with LatencyMeter(MODEL, TIMING, context_of(MODEL, tmp_path)) as meter:
        assert meter.removed(model) == pytest.approx(0.9 * (1 - macs(model) / macs(MODEL)))
        assert meter.removed(MODEL) == pytest.approx(0.0)
    assert board.threads == {3}
    assert board.batches == {2}
    assert len(board.built) == 3


def test_what_was_measured_is_not_measured_again_whatever_the_weights(board: Board, tmp_path: Path) -> None:
    context = context_of(MODEL, tmp_path)
    with LatencyMeter(MODEL, TIMING, context) as meter:
        first = meter.removed(smaller(8))
    other = cut(MODEL, COUPLING, {COUPLING.groups[0].name: tuple(range(8, 16))})
    assert other.digest() != smaller(8).digest()
    with LatencyMeter(MODEL, TIMING, context) as meter:
        assert meter.removed(other) == first
    assert len(board.built) == 2
    with LatencyMeter(MODEL, Timing(1, 2, 20.0), context) as meter:
        meter.removed(other)
    assert len(board.built) == 4


def test_a_digest_of_shapes_sees_shapes_attributes_and_small_integers_only() -> None:
    assert shape_digest(MODEL) == shape_digest(wide_network())
    assert shape_digest(smaller(8)) != shape_digest(smaller(16))
    turned = MODEL.copy_graph()
    conv = next(node for node in turned.graph if node.name == "second")
    import onnx_ir as ir

    conv.attributes["strides"] = ir.AttrInt64s("strides", [1, 1])
    assert shape_digest(Model.from_ir(turned)) != shape_digest(MODEL)
    other = MODEL.copy_graph()
    import numpy as np

    other.graph.initializers["axes"].const_value = ir.tensor(np.array([3, 2]), name="axes")
    assert shape_digest(Model.from_ir(other)) != shape_digest(MODEL)


def test_a_target_that_cannot_run_here_cannot_be_a_goal_of_latency(tmp_path: Path) -> None:
    context = context_of(MODEL, tmp_path, name="far", runtime="tensorrt", compute_capability="8.7")
    with pytest.raises(UsageError, match="target far cannot be run on this machine") as caught:
        LatencyMeter(MODEL, TIMING, context)
    assert "40%macs" in str(caught.value.hint)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("percent", [30, 60])
def test_a_share_of_the_latency_is_removed_within_five_points(board: Board, tmp_path: Path, percent: int) -> None:
    settings = PruneSettings(
        amount=f"{percent}%latency", allocation="global", importance="l2", update="none", steps=0, multiple=4,
        latency_seconds=20.0,
    )  # fmt: skip
    context = context_of(MODEL, tmp_path)
    result = prune(MODEL, settings, context)
    saved = 0.9 * (1 - macs(result.model) / macs(MODEL))
    assert saved == pytest.approx(percent / 100, abs=0.05)
    assert result.metrics["removed"] == pytest.approx(saved)


def test_a_latency_out_of_reach_names_the_most_that_was_measured(board: Board, tmp_path: Path) -> None:
    settings = PruneSettings(amount="95%latency", allocation="global", importance="l2", latency_seconds=20.0)
    from compress.errors import PruneError

    with pytest.raises(PruneError, match=r"95%latency cannot be reached: .* is 8\d\.\d % of the latency"):
        prune(MODEL, settings, context_of(MODEL, tmp_path))


def test_a_result_depends_on_the_target_where_its_latency_decides(tmp_path: Path) -> None:
    contexts: list[StepContext] = [context_of(MODEL, tmp_path, name=name) for name in ("one", "two")]
    timed, counted = PruneSettings(amount="30%latency"), PruneSettings(amount="30%macs")
    assert timed.also_depends_on(contexts[0].target) != timed.also_depends_on(contexts[1].target)
    assert counted.also_depends_on(contexts[0].target) == counted.also_depends_on(contexts[1].target)
