from collections.abc import Callable

import numpy as np
import pytest
from fake_engines import FakeClock

from compress.measure.race import (
    FEWEST_ROUNDS,
    WARM_UP_ROUNDS,
    RaceLimits,
    race_engines,
    surely_slower,
)

AMPLE = RaceLimits(seconds=1e9)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def noisy(clock: FakeClock, mean: float, seed: int, spread: float = 0.05) -> Callable[[], None]:
    """Return a call whose times have a long tail and, now and then, a spike."""
    generator = np.random.default_rng(seed)
    return clock.taking(
        lambda _: float(mean * (1 + spread * generator.exponential()) * (4 if generator.random() < 0.05 else 1))
    )


def test_the_fastest_wins_and_the_others_are_dropped_as_slower(clock: FakeClock) -> None:
    race = race_engines(
        [noisy(clock, mean, seed) for seed, mean in enumerate((1.3, 1.0, 1.2))], limits=AMPLE, clock=clock
    )
    assert race.winner == 1
    assert [lane.dropped for lane in race.lanes] == [True, False, True]
    ratio = race.ratio(0)
    assert ratio.low <= 1.3 <= ratio.high
    assert race.ratio(1).value == 1.0


def test_of_equals_the_first_wins(clock: FakeClock) -> None:
    race = race_engines([noisy(clock, 1.0, seed) for seed in range(3)], limits=AMPLE, clock=clock)
    assert race.winner == 0
    assert [lane.dropped for lane in race.lanes] == [False] * 3


def test_one_within_the_margin_is_preferred_to_the_fastest(clock: FakeClock) -> None:
    calls = [clock.taking(lambda _: 1.01), clock.taking(lambda _: 1.0), clock.taking(lambda _: 1.03)]
    race = race_engines(calls, limits=AMPLE, clock=clock)
    assert race.winner == 0
    assert [lane.dropped for lane in race.lanes] == [False, False, True]


def test_a_hopeless_engine_runs_no_more_than_a_few_rounds(clock: FakeClock) -> None:
    calls = [noisy(clock, 1.0, 0), clock.taking(lambda _: 50.0)]
    race = race_engines(calls, limits=AMPLE, clock=clock)
    assert (len(race.lanes[1].seconds), race.lanes[1].dropped) == (3, True)
    assert len(race.lanes[0].seconds) == FEWEST_ROUNDS


def test_the_budget_ends_the_race_undecided_and_the_faster_leads(clock: FakeClock) -> None:
    calls = [clock.taking(lambda _: 1.2), clock.taking(lambda _: 1.0)]
    race = race_engines(calls, limits=RaceLimits(seconds=1.0), clock=clock)
    assert race.winner == 1
    assert [len(lane.seconds) for lane in race.lanes] == [FEWEST_ROUNDS] * 2
    assert not race.lanes[0].dropped
    assert clock.now == pytest.approx((WARM_UP_ROUNDS + FEWEST_ROUNDS) * 2.2)


def test_equal_engines_are_almost_never_called_slower() -> None:
    wrong = 0
    for seed in range(60):
        clock = FakeClock()
        calls = [noisy(clock, 1.0, 10 * seed + index, spread=0.2) for index in range(4)]
        race = race_engines(calls, limits=AMPLE, seed=seed, clock=clock)
        wrong += any(lane.dropped for lane in race.lanes)
    assert wrong <= 60 * 0.05


def test_what_slows_the_machine_for_a_while_slows_all_alike() -> None:
    clock = FakeClock()
    slow = np.repeat(np.random.default_rng(1).choice([1.0, 3.0], size=80), 5)
    calls = [clock.taking(lambda n, mean=mean: mean * slow[n]) for mean in (1.0, 1.1)]  # type: ignore[misc]
    race = race_engines(calls, limits=AMPLE, clock=clock)
    assert [lane.dropped for lane in race.lanes] == [False, True]
    assert race.ratio(1).value == pytest.approx(1.1)


def test_the_order_within_a_round_changes(clock: FakeClock) -> None:
    log: list[str] = []
    calls = [clock.taking(lambda _: 1.0, log, name) for name in "ab"]
    race_engines(calls, limits=RaceLimits(seconds=40), clock=clock)
    rounds = {"".join(log[start : start + 2]) for start in range(0, len(log), 2)}
    assert rounds == {"ab", "ba"}


def test_a_race_of_one_is_won_by_it(clock: FakeClock) -> None:
    race = race_engines([clock.taking(lambda _: 1.0)], clock=clock)
    assert (race.winner, len(race.lanes[0].seconds)) == (0, FEWEST_ROUNDS)


def test_a_race_of_none_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        race_engines([])


def test_the_sign_test_counts_rounds_lost_by_more_than_the_margin() -> None:
    best = np.ones(10)
    assert surely_slower(best * 1.03, best, margin=0.02, level=2.0**-10)
    assert not surely_slower(best * 1.03, best, margin=0.02, level=2.0**-11)
    assert not surely_slower(best * 1.01, best, margin=0.02, level=0.5)


def test_the_first_wins_until_it_is_surely_beaten_where_the_limits_say_so(clock: FakeClock) -> None:
    calls = [clock.taking(lambda _: 1.2), clock.taking(lambda _: 1.0)]
    short = RaceLimits(seconds=1.0, first_until_beaten=True)
    assert race_engines(calls, limits=short, clock=clock).winner == 0
    ample = RaceLimits(seconds=1e9, first_until_beaten=True)
    assert race_engines(calls, limits=ample, clock=clock).winner == 1
