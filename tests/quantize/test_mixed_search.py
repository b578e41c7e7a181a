"""The order of a search and its time, with trials that take no work."""

from pathlib import Path
from typing import Any, cast

import pytest

from compress.quantize.mixed.archive import Archive, Names, Trial
from compress.quantize.mixed.search import Limits, Search
from compress.quantize.mixed.units import Unit

LAYERS = tuple(f"layer{number:02}" for number in range(16))
BAD = frozenset({"layer03", "layer11"})


class FakeTryout:
    """Layers of one second a trial: float ones cost a hundredth of latency, bad ones all of the error."""

    def __init__(self, folder: Path) -> None:
        self.archive = Archive.open(folder / "trials.jsonl")
        self.longest = 0.0
        self.now = 0.0
        self.screened: list[Names] = []

    def run(self, names: Names, *, always_timed: bool = False) -> Trial:
        if names not in self.archive.trials:
            self.now += 1.0
            self.longest = 1.0
            left = len(BAD - names)
            trial = Trial(
                tuple(sorted(names)), "rejected" if left else "accepted", 0.1 * left - 0.05, 30.0 - 10 * left, None, 16,
                0.5 + len(names) / 100, 100, 1.0,
            )  # fmt: skip
            self.archive.add_trial(trial)
        return self.archive.trials[names]

    def screen(self, names: Names, count: int) -> float:
        if names not in self.archive.gains:
            self.now += 0.5
            self.screened.append(names)
            self.archive.add_gain(names, 0.1 * len(BAD - names) + 0.001, 0.5)
        return self.archive.gains[names]


def search(tryout: FakeTryout, seconds: float, latency: float | None = None) -> Search:
    units = [Unit(frozenset({name}), 1 / len(LAYERS)) for name in LAYERS]
    return Search(
        cast("Any", tryout),
        units,
        frozenset(),
        Limits(seconds, latency, 4),
        clock=lambda: tryout.now,
        started=tryout.now,
    )


def test_with_time_exactly_the_bad_layers_are_found(tmp_path: Path) -> None:
    tryout = FakeTryout(tmp_path)
    found = search(tryout, 100.0).run()
    assert found.layers == tuple(sorted(BAD))
    assert len(tryout.screened) == len(LAYERS) + 1


def test_with_little_time_what_was_not_screened_is_tried_in_the_order_of_suspicion(tmp_path: Path) -> None:
    tryout = FakeTryout(tmp_path)
    found = search(tryout, 12.0).run()
    assert len(tryout.screened) < len(LAYERS)
    assert set(found.layers) >= BAD
    assert found.within


@pytest.mark.parametrize("seconds", [1.5, 3.0, 8.0, 20.0])
def test_a_search_ends_in_time(tmp_path: Path, seconds: float) -> None:
    tryout = FakeTryout(tmp_path)
    search(tryout, seconds).run()
    assert tryout.now <= seconds + 1.0


def test_time_that_was_spent_before_counts(tmp_path: Path) -> None:
    first = FakeTryout(tmp_path)
    search(first, 6.0).run()
    again = FakeTryout(tmp_path)
    trials = len(again.archive.trials)
    assert trials
    found = search(again, 6.0)
    found.run()
    assert found.out_of_time
    assert len(again.archive.trials) <= trials + 1


def test_within_a_latency_the_bad_layers_come_first(tmp_path: Path) -> None:
    found = search(FakeTryout(tmp_path), 100.0, latency=0.525).run()
    assert found.layers == tuple(sorted(BAD))
