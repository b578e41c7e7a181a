from small_reports import cpu_target, report

from compress.report.contest import contest_rows, state_finding
from compress.report.markdown import render_markdown
from compress.report.speed_record import Contest, Contestant


def contestant(how: str, outcome: str, ratio: float | None = None, **facts: object) -> Contestant:
    timed = {} if ratio is None else {"ratio": ratio, "interval": (ratio - 0.1, ratio + 0.1), "seconds": ratio / 1000}
    return Contestant.model_validate(
        {"graph": "compressed", "how": how, "options": {"threads": 1}, "outcome": outcome, **timed, **facts}
    )


WON = contestant("INT8 on A", "won", 1.0, sqnr_db=20.0)
SLOWER = contestant("INT8 on B", "slower", 1.5)
UNSURE = contestant("INT8 on C", "undecided", 1.2)
REFUSED = contestant("INT8 on D", "refused", reason="it refuses node `head`")


def contest(*settings: Contestant) -> Contest:
    engines = (WON, SLOWER, REFUSED)
    return Contest(
        engines=engines,
        settings=settings,
        absent=("OpenVINO: it is not installed.",),
        shipped="INT8 on A",
        finding=state_finding(engines, settings),
        threads=1,
        batch=1,
        seconds=3.0,
    )


def test_the_sentence_names_the_winner_and_the_nearest() -> None:
    assert state_finding((SLOWER, WON), ()) == (
        "INT8 on A is the fastest of 2 engines: INT8 on B took 1.50× its time (95 % interval 1.40× to 1.60×)."
    )


def test_a_race_that_was_too_short_says_so() -> None:
    found = state_finding((WON, SLOWER, UNSURE), ())
    assert "of 3 engines: INT8 on C took 1.20× its time" in found
    assert found.endswith("which the race was too short to be sure of.")


def test_the_only_engine_is_called_so() -> None:
    assert state_finding((WON, REFUSED), ()) == "INT8 on A was the only engine that could race."


def test_every_engine_has_a_row_and_the_winner_only_one() -> None:
    rows = contest_rows(contest(WON, contestant("INT8 on A, no memory arena", "as fast", 1.01)))
    assert [row[0] for row in rows] == ["INT8 on A", "INT8 on B", "INT8 on D", "INT8 on A, no memory arena"]
    assert rows[0] == ("INT8 on A", "1.00 ms", "", "20.0 dB", "won")
    assert rows[1] == ("INT8 on B", "1.50 ms", "1.50× (1.40× to 1.60×)", "", "slower")
    assert rows[2] == ("INT8 on D", "", "", "", "refused: it refuses node `head`")


def test_the_markdown_report_has_the_sentence_the_table_and_what_is_absent() -> None:
    target = cpu_target().model_copy(update={"contest": contest()})
    text = render_markdown(report(target))
    assert contest().finding in text
    assert "| INT8 on B | 1.50 ms | 1.50× (1.40× to 1.60×) |  | slower |" in text
    assert "- OpenVINO: it is not installed." in text
