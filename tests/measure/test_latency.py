from collections.abc import Callable

import numpy as np
import pytest
from fake_engines import FakeClock

from compress.measure.latency import measure_latency, summarize_timings
from compress.measure.machine import Pressure
from compress.measure.statistics import SESSION_SPREAD, Floats
from compress.measure.timings import Limits, Timings, replay_timings
from compress.report.record import Latency

Idle = Callable[[], Pressure]


def noise(seed: int, count: int = 400) -> Floats:
    return 0.002 * np.random.default_rng(seed).normal(1.0, 0.02, count)


def summarize(timings: Timings, limits: Limits | None = None) -> Latency:
    return summarize_timings(timings, threads=1, batch=1, limits=limits or Limits(), seed=0)


def test_an_engine_against_itself_has_a_ratio_of_one_within_its_interval(clock: FakeClock, idle: Idle) -> None:
    values = iter(np.concatenate([noise(seed) for seed in range(20)]))
    call = clock.taking(lambda _: float(next(values)))
    found = measure_latency(call, call, threads=2, batch=4, clock=clock, pressure=idle)
    assert found.interval[0] <= 1.0 <= found.interval[1]
    # Two sessions of one engine differ by more than the rounds of these two can tell.
    assert found.interval[1] - found.interval[0] == pytest.approx(2 * 1.96 * SESSION_SPREAD, rel=0.05)
    assert found.notes == ()
    assert (found.threads, found.batch) == (2, 4)


def test_the_speedup_is_the_ratio_of_the_medians_in_the_table(clock: FakeClock, idle: Idle) -> None:
    fast, slow = noise(1, 5000), noise(2, 5000) * 3
    found = measure_latency(
        clock.taking(lambda n: slow[n]),
        clock.taking(lambda n: fast[n]),
        threads=1,
        batch=1,
        clock=clock,
        pressure=idle,
    )
    assert found.speedup == pytest.approx(found.baseline.p50 / found.compressed.p50)
    assert found.interval[0] <= found.speedup <= found.interval[1]
    assert found.speedup == pytest.approx(3.0, rel=0.02)


def test_percentiles_come_with_their_intervals_and_run_count() -> None:
    seconds = noise(3)
    found = summarize(replay_timings(list(seconds), list(seconds))).compressed
    assert found.runs == 400
    assert (found.p50, found.p90, found.p99) == pytest.approx(tuple(np.quantile(seconds, [0.5, 0.9, 0.99])))
    for value, (low, high) in (
        (found.p50, found.p50_interval),
        (found.p90, found.p90_interval),
        (found.p99, found.p99_interval),
    ):
        assert high is not None
        assert low <= value <= high


def test_too_few_runs_leave_p99_without_an_upper_end() -> None:
    found = summarize(replay_timings([0.001] * 60, [0.001] * 60))
    assert found.compressed.p99_interval == (0.001, None)
    assert found.compressed.p50_interval == (0.001, 0.001)


def test_stable_timings_have_no_notes() -> None:
    assert summarize(replay_timings(list(noise(4)), list(noise(5)))).notes == ()


def test_drift_is_said_in_words_for_the_engine_that_drifts() -> None:
    rising = noise(4) * np.linspace(1.0, 1.2, 400)
    notes = summarize(replay_timings(list(rising), list(noise(5)))).notes
    assert notes[-1] == "The original engine became 13% slower during the run."
    falling = summarize(replay_timings(list(noise(5)), list(rising[::-1]))).notes
    assert falling[-1] == "The compressed engine became 11% faster during the run."


def test_two_groups_of_latencies_are_said_in_words() -> None:
    two = noise(6) * np.where(np.arange(400) % 3 == 0, 1.5, 1.0)
    notes = summarize(replay_timings(list(noise(7)), list(two))).notes
    assert "The compressed engine's latencies fall into two groups: its p50 may jump between them." in notes


@pytest.mark.parametrize("shape", ["normal", "uniform", "exponential", "gamma"])
def test_one_group_of_any_usual_shape_is_not_called_two(shape: str) -> None:
    generator = np.random.default_rng(8)
    draws = {
        "normal": lambda: generator.normal(1.0, 0.2, 500),
        "uniform": lambda: generator.uniform(0.5, 1.5, 500),
        "exponential": lambda: 1.0 + generator.exponential(0.5, 500),
        "gamma": lambda: generator.gamma(3.0, 1.0, 500),
    }
    for _ in range(20):
        notes = summarize(replay_timings(list(noise(7, 500)), list(draws[shape]()))).notes
        assert not any("two groups" in note for note in notes)


def test_few_rounds_an_unsteady_warm_up_and_a_wide_interval_are_said_in_words() -> None:
    generator = np.random.default_rng(0)
    timings = replay_timings(list(generator.gamma(4, 0.25, 10)), list(generator.gamma(4, 0.25, 10)))
    unsteady = Timings(timings.baseline, timings.compressed, timings.warm_up, steady=False, pressure=timings.pressure)
    notes = summarize(unsteady, Limits(seconds=3.0)).notes
    assert notes[0] == "The engines were still getting faster or slower when the time for warming up was over."
    assert notes[1] == "Only 10 rounds fitted into the time budget of 3 s."
    assert notes[2].startswith("The ratio is known to ")
    assert "not to the 2% wanted" in notes[2]


def test_a_busy_machine_and_a_greedy_hypervisor_are_said_in_words() -> None:
    timings = replay_timings(list(noise(4)), list(noise(5)))
    pressure = (Pressure(100.0, 50.0, 10.0, 1.0), Pressure(110.0, 58.0, 14.0, 1.5))
    loaded = Timings(timings.baseline, timings.compressed, timings.warm_up, steady=True, pressure=pressure)
    assert summarize(loaded).notes == (
        "Other programs used 40% of the CPU time of all cores during the run.",
        "The hypervisor gave 5.0% of the CPU time to others during the run.",
    )
