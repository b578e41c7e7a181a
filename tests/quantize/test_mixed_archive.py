from pathlib import Path

from compress.measure.sequential import Decision
from compress.quantize.mixed.archive import Archive, Trial, best_trial


def trial(
    *layers: str,
    latency: float | None = 0.5,
    sqnr: float | None = 20.0,
    decision: Decision | None = "accepted",
    **other: float,
) -> Trial:
    fields = {"excess": -0.1, "agreement": None, "samples": 64, "bytes": 1000, "seconds": 1.0, **other}
    return Trial(tuple(sorted(layers)), decision, sqnr_db=sqnr, latency=latency, **fields)  # type: ignore[arg-type]


def test_trials_and_gains_are_read_back(tmp_path: Path) -> None:
    archive = Archive.open(tmp_path / "search" / "trials.jsonl")
    first, second = trial("b", "a"), trial(latency=None, decision="rejected")
    archive.add_trial(first)
    archive.add_trial(second)
    archive.add_gain(frozenset({"a"}), 0.01, 2.0)
    again = Archive.open(archive.path)
    assert again.trials == {frozenset({"a", "b"}): first, frozenset(): second}
    assert again.gains == {frozenset({"a"}): 0.01}
    assert (again.spent, again.reused) == (4.0, 2)


def test_a_line_that_was_not_finished_is_dropped_and_the_next_one_is_whole(tmp_path: Path) -> None:
    archive = Archive.open(tmp_path / "trials.jsonl")
    archive.add_trial(trial("a"))
    with archive.path.open("a") as file:
        file.write('{"kind": "trial", "lay')
    again = Archive.open(archive.path)
    assert list(again.trials) == [frozenset({"a"})]
    again.add_trial(trial("b"))
    assert len(Archive.open(archive.path).trials) == 2


def test_the_frontier_is_what_nothing_beats(tmp_path: Path) -> None:
    archive = Archive.open(tmp_path / "trials.jsonl")
    fast, good, beaten = (
        trial(latency=0.5, sqnr=15.0),
        trial("a", latency=0.6, sqnr=20.0),
        trial("b", latency=0.7, sqnr=19.0),
    )
    small = trial("c", latency=0.8, sqnr=10.0, bytes=10)
    exact = trial("a", "b", latency=0.9, sqnr=None)
    unseen = trial("d", latency=0.1, sqnr=None, samples=0, decision=None)
    for each in (beaten, good, fast, small, exact, unseen, trial("e", latency=None)):
        archive.add_trial(each)
    assert archive.frontier() == (fast, good, small, exact)


def test_the_fastest_of_the_accurate_is_kept_and_of_equally_fast_ones_the_most_accurate() -> None:
    slow, fast = trial("a", latency=0.6), trial("b", latency=0.5, sqnr=20.0)
    as_fast = trial("c", latency=0.502, sqnr=25.0)
    cheap = trial("d", latency=0.1, decision="rejected", excess=0.2)
    assert best_trial([slow, fast, cheap], None) is fast
    assert best_trial([slow, fast, as_fast, cheap], None) is as_fast
    undecided = trial("e", latency=0.3, decision="undecided", excess=-0.01)
    assert best_trial([fast, undecided], None) is undecided


def test_where_none_is_accurate_enough_the_nearest_is_kept() -> None:
    far = trial(latency=0.4, decision="rejected", excess=0.3)
    near = trial("a", latency=None, decision="rejected", excess=0.1)
    assert best_trial([far, near], None) is near
    assert best_trial([], None) is None


def test_within_a_limit_of_latency_the_most_accurate_is_kept() -> None:
    quick, good = trial(latency=0.5, sqnr=15.0), trial("a", latency=0.6, sqnr=20.0)
    slow = trial("b", latency=0.8, sqnr=30.0)
    assert best_trial([quick, good, slow], 0.65) is good
    assert best_trial([quick, good, slow], 0.4) is quick
