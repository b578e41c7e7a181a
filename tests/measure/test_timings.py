import gc
from collections.abc import Callable

import numpy as np
import pytest
from fake_engines import FakeClock

from compress.measure.machine import Pressure
from compress.measure.timings import Limits, Timings, replay_timings, time_interleaved

Idle = Callable[[], Pressure]


def run(
    clock: FakeClock, idle: Idle, first: Callable[[int], float], second: Callable[[int], float], limits: Limits
) -> Timings:
    return time_interleaved(
        clock.taking(first), clock.taking(second), limits=limits, seed=0, clock=clock, pressure=idle
    )


def test_calls_alternate_in_order_from_round_to_round(clock: FakeClock, idle: Idle) -> None:
    log: list[str] = []
    first, second = clock.taking(lambda _: 0.001, log, "A"), clock.taking(lambda _: 0.001, log, "B")
    time_interleaved(first, second, limits=Limits(), seed=0, clock=clock, pressure=idle)
    assert "".join(log[:8]) == "ABBAABBA"
    assert log.count("A") == log.count("B")


def test_seconds_are_filed_under_the_engine_that_took_them(clock: FakeClock, idle: Idle) -> None:
    found = run(clock, idle, lambda _: 0.003, lambda _: 0.001, Limits())
    assert found.baseline == pytest.approx(np.full(len(found.baseline), 0.003))
    assert found.compressed == pytest.approx(np.full(len(found.compressed), 0.001))


def test_a_steady_engine_warms_up_for_two_blocks_of_five(clock: FakeClock, idle: Idle) -> None:
    found = run(clock, idle, lambda _: 0.001, lambda _: 0.001, Limits())
    assert found.steady
    assert found.warm_up.shape == (10, 2)


def test_the_warm_up_goes_on_until_the_medians_stand_still_and_is_kept_apart(clock: FakeClock, idle: Idle) -> None:
    found = run(clock, idle, lambda n: 0.010 * 0.8**n if n < 12 else 0.001, lambda _: 0.001, Limits())
    assert found.steady
    assert found.warm_up.shape == (20, 2)
    assert found.baseline.max() == pytest.approx(0.001)


def test_a_warm_up_that_never_settles_ends_after_a_quarter_of_the_time(clock: FakeClock, idle: Idle) -> None:
    found = run(clock, idle, lambda n: 0.01 * 1.1 ** (n % 60), lambda _: 0.001, Limits(seconds=2.0))
    assert not found.steady
    assert found.warm_up.sum() == pytest.approx(0.5, abs=0.2)


def test_measuring_ends_when_p99_is_bounded_and_the_ratio_is_known(clock: FakeClock, idle: Idle) -> None:
    found = run(clock, idle, lambda _: 0.001, lambda _: 0.0005, Limits(seconds=60.0))
    # 368 runs bound p99; the next look after that is at 50 * 1.25^k.
    assert 368 <= len(found.baseline) <= 460


def test_measuring_goes_on_while_the_ratio_is_not_known_well_enough(clock: FakeClock, idle: Idle) -> None:
    noise = np.random.default_rng(0).gamma(4, 0.00025, 20_000)
    loose, tight = (
        run(FakeClock(), idle, lambda n: noise[2 * n], lambda n: noise[2 * n + 1], Limits(seconds=60.0, width=width))
        for width in (0.5, 0.1)
    )
    assert len(loose.baseline) < len(tight.baseline)


def test_the_time_budget_ends_a_slow_run_but_never_below_five_rounds(clock: FakeClock, idle: Idle) -> None:
    slow = run(clock, idle, lambda _: 1.0, lambda _: 1.0, Limits(seconds=20.0))
    assert len(slow.warm_up) == 3
    assert len(slow.baseline) == 7
    slower = run(FakeClock(), idle, lambda _: 0.0, lambda _: 0.0, Limits(seconds=0.0))
    assert len(slower.baseline) == 5


def test_slow_engines_run_at_least_five_rounds(idle: Idle) -> None:
    clock = FakeClock()
    found = run(clock, idle, lambda _: 10.0, lambda _: 10.0, Limits(seconds=1.0))
    assert len(found.warm_up) == 1
    assert len(found.baseline) == 5


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_rests_meanwhile_and_is_as_before_afterwards(enabled: bool, idle: Idle) -> None:
    clock = FakeClock()
    seen: list[bool] = []

    def call() -> None:
        timed()
        seen.append(gc.isenabled())

    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        timed = clock.taking(lambda _: 0.001)
        time_interleaved(call, timed, limits=Limits(), seed=0, clock=clock, pressure=idle)
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()
    assert not any(seen)


def test_an_engine_that_fails_leaves_the_garbage_collector_as_it_was(clock: FakeClock, idle: Idle) -> None:
    def fail() -> None:
        raise RuntimeError("no")

    before = gc.isenabled()
    with pytest.raises(RuntimeError):
        time_interleaved(fail, fail, limits=Limits(), seed=0, clock=clock, pressure=idle)
    assert gc.isenabled() is before


def test_recorded_seconds_replay_as_rounds_of_the_shorter_record() -> None:
    found = replay_timings([0.1, 0.2, 0.3], [0.4, 0.5])
    assert found.baseline.tolist() == [0.1, 0.2]
    assert found.compressed.tolist() == [0.4, 0.5]
    assert (len(found.warm_up), found.steady) == (0, True)
